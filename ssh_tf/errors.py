"""The errors that reach a user, and what an operating system's error means to them."""

import errno
import os

# What to do about an error of the operating system, by its name in `errno`.
_ADVICE = {
    "ENOSPC": "Free some space, or name another folder.",
    "EDQUOT": "Your quota is used up: free some space, or name another folder.",
    "EFBIG": "The file system or a limit (`ulimit -f`) does not allow files of this size.",
    "EACCES": "Check the permissions, or name another path.",
    "EPERM": "Check the permissions, or name another path.",
    "EROFS": "Name a path on a file system that can be written to.",
    "EEXIST": "Name another.",
    "ENOTEMPTY": "Name another.",
    "ENOENT": "Check the path.",
    "ENOTDIR": "A part of the path is a file, not a folder. Check the path.",
    "EISDIR": "Name a file.",
    "ENAMETOOLONG": "Use a shorter name.",
    "ELOOP": "It is a symbolic link where none is followed, or links form a circle.",
    "EMFILE": "Raise the limit of open files: `ulimit -n`.",
    "ENFILE": "The machine has too many open files.",
    "ENOMEM": "Free some memory, or use smaller inputs.",
    "EIO": "The disk or the network file system reports a fault.",
    "ESTALE": "The network file system has lost the file. Mount it again.",
    "ENXIO": "The device is not there.",
    "ENODEV": "The device is not there.",
    "EBUSY": "Another program uses it.",
    "EINVAL": "The file system does not allow such a name or operation.",
    "EADDRINUSE": "Another program listens there. Name another port.",
    "EADDRNOTAVAIL": "This machine has no such address. Name another host.",
    "ECONNREFUSED": "Nothing listens there. Check the address and the port.",
}
_KNOWN = {getattr(errno, name): text for name, text in _ADVICE.items() if hasattr(errno, name)}


class UserError(Exception):
    """A mistake in what the user gave: a path, a file's content, a setting.

    The message is one line that names the thing, what was expected, what was received and what to
    do. The command line prints it without a traceback and exits with 1.
    """


class UnavailableError(UserError):
    """What every item of a long job needs is gone, such as a server: no further item is tried."""


class CrashedError(UserError):
    """The process that worked on an item died of it. The item is lost, the others are not."""


class InterruptedRunError(Exception):
    """A signal stopped a run after it saved its work.

    Attributes:
        number: Of the signal.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


def explain(error: Exception) -> str:
    """Says in one line what failed, why, and what to do about it.

    Args:
        error: An `OSError`, or the error of a library whose text names one, such as
            TensorFlow's `OpError` and HDF5's errors: what is advised depends on the cause alone.

    Returns:
        Path, reason and advice as one line, without the parts that are not known.
    """
    code = error_code(error)
    filename = getattr(error, "filename", None)
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
    parts = [f"{os.fsdecode(filename)}: " if isinstance(filename, str | bytes) else "", reason]
    advice = _KNOWN.get(code) if code else None
    return "".join(parts).rstrip(".") + (f". {advice}" if advice else ".")


def error_code(error: Exception) -> int | None:
    """Returns the `errno` of an error, or the one that its text names; None if there is none."""
    code = getattr(error, "errno", None)
    if code is None:
        text = str(error)
        code = next((known for known in _KNOWN if os.strerror(known) in text), None)
    return code
