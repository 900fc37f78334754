"""What is finished of a long job, so that the same command continues it."""

import dataclasses
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ssh_tf.files import atomic_path
from ssh_tf.inference.writers import Entry

JOURNAL_FILE = ".detections.jsonl"

_END = b'{"end": '


@dataclasses.dataclass(frozen=True)
class _Block:
    """Where the lines of a finished item stand, and what its last line says of its source."""

    start: int
    stop: int
    stamp: list[int]


class Journal:
    """The entries of a folder's items as JSON lines, each item closed by a line of its own.

    An item is finished if its closing line was written, which happens after its results were, if
    the lines before it have the checksum stated there, if the work was the same (model, settings),
    and if the size and the time of change of its source are. Everything else is detected anew, and
    its lines leave the file when it is opened.

    Args:
        folder: Of the results; the file in it is `JOURNAL_FILE`. One process at a time may use it.
        work: One line that another model or other settings would change.
    """

    def __init__(self, folder: Path, work: str) -> None:
        self._path, self._work = folder / JOURNAL_FILE, zlib.crc32(work.encode())
        self._blocks = self._compact()

    def entries(self, source: Path) -> Iterator[Entry] | None:
        """Returns the entries of an item, or `None` if it is not finished."""
        block, stamp = self._blocks.get(str(source)), _stamp(source)
        if block is None or not stamp or block.stamp != stamp:
            return None
        return self._read(block)

    def record(self, source: Path, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Yields an item's entries and writes them down as they pass."""
        stamp, checksum, failed = _stamp(source), 0, False
        with self._path.open("ab") as file:
            for entry in entries:
                checksum = _append(file, entry, checksum)
                failed = failed or "error" in entry
                yield entry
            end = {"end": str(source), "finished": not failed, "stamp": stamp}
            _append(file, {**end, "work": self._work, "crc32": checksum}, 0)

    def _read(self, block: _Block) -> Iterator[Entry]:
        with self._path.open("rb") as file:
            file.seek(block.start)
            while file.tell() < block.stop:
                line = file.readline()
                if not line.startswith(_END):
                    yield json.loads(line)

    def _compact(self) -> dict[str, _Block]:
        """Rewrites the file with the finished items alone and returns where they stand."""
        if not self._path.is_file():
            return {}
        blocks: dict[str, _Block] = {}
        with self._path.open("rb") as old, atomic_path(self._path) as temporary:
            found = _finished(old, self._work)
            with temporary.open("wb") as new:
                for source, block in found.items():
                    start = new.tell()
                    old.seek(block.start)
                    while old.tell() < block.stop:
                        new.write(old.readline())
                    blocks[source] = _Block(start, new.tell(), block.stamp)
        return blocks


def _append(file: BinaryIO, entry: Entry, checksum: int) -> int:
    line = json.dumps(entry).encode() + b"\n"
    file.write(line)
    file.flush()
    return zlib.crc32(line, checksum)


def _finished(file: BinaryIO, work: int) -> dict[str, _Block]:
    """Finds the finished items of one work."""
    blocks: dict[str, _Block] = {}
    start = stop = checksum = 0
    for line in file:
        stop += len(line)
        if not line.startswith(_END):
            checksum = zlib.crc32(line, checksum)
            continue
        end = _parse(line)
        if end.get("finished") and (end.get("work"), end.get("crc32")) == (work, checksum):
            blocks[str(end["end"])] = _Block(start, stop, end.get("stamp", []))
        start, checksum = stop, 0
    return blocks


def _parse(line: bytes) -> dict[str, Any]:
    """Returns a closing line's object, or an empty one if the line is damaged or torn."""
    try:
        return dict(json.loads(line)) if line.endswith(b"\n") else {}
    except ValueError:
        return {}


def _stamp(source: Path) -> list[int]:
    """Returns the size in bytes and the time of change in ns; nothing for what is not there."""
    try:
        status = source.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]
