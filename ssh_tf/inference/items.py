"""Per item, keep going: the one rule for what happens to a long job when an item of it fails."""

import errno
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2

from ssh_tf.errors import UnavailableError, UserError, explain
from ssh_tf.inference.journal import Journal
from ssh_tf.inference.writers import Entry

_LOG = logging.getLogger(__name__)

# What one file can cause: unreadable, refused, too large for memory or for an image library.
_OF_ONE_ITEM = (UserError, OSError, MemoryError, cv2.error)
# What no further item would be spared.
_OF_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def keep_going(label: Entry, work: Callable[[], Iterator[Entry]]) -> Iterator[Entry]:
    """Yields the entries of one item; if it fails, those up to there and one with the error.

    Args:
        label: `image` or `video` with the item's path: the start of the entry with the error.
        work: Yields the entries.

    Raises:
        UnavailableError: If a server is gone, which concerns all further items.
        OSError: If the disk is full or read-only, for the same reason.
    """
    try:
        yield from work()
    except UnavailableError:
        raise
    except _OF_ONE_ITEM as error:
        if getattr(error, "errno", None) in _OF_ALL:
            raise
        (name,) = label.values()
        message = _message(error, str(name))
        _LOG.warning("Failed: %s", message)
        yield {**label, "error": message}


def finished(
    name: str, journal: Journal | None, results: Callable[[Entry], list[Path]]
) -> Iterator[Entry] | None:
    """Returns what an earlier call found of an item, or None if that is not complete.

    Args:
        name: The item's path.
        journal: Of earlier calls, if there is one.
        results: The files that belong to an entry. An item that lacks one is done again.
    """
    entries = None if journal is None else journal.entries(Path(name))
    if journal is None or entries is None:
        return None
    whole = all(path.exists() for entry in entries for path in results(entry))
    return journal.entries(Path(name)) if whole else None


def recorded(
    label: Entry, work: Callable[[], Iterator[Entry]], journal: Journal | None
) -> Iterator[Entry]:
    """Does what `keep_going` does, and writes the entries into the journal, if there is one.

    Args:
        label: As in `keep_going`.
        work: As in `keep_going`.
        journal: Where `finished` finds them.

    Raises:
        UnavailableError: As in `keep_going`.
        OSError: As in `keep_going`.
    """
    (name,) = label.values()
    entries = keep_going(label, work)
    return entries if journal is None else journal.record(Path(name), entries)


def _message(error: Exception, name: str) -> str:
    """Returns what names the item and the reason, as in the item's entry."""
    if isinstance(error, OSError):
        text = explain(error)
    elif isinstance(error, MemoryError):
        text = "it needs more memory than there is."
    elif isinstance(error, UserError):
        text = str(error)
    else:
        text = " ".join(str(error).split())  # OpenCV's messages have several lines.
    return text if name in text else f"{name}: {text}"
