"""What `ssh-tf detect` is given, and what it leaves out."""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

_LISTED = 10  # skipped files that are named; the others are counted


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What is detected.

    Attributes:
        images: `(path or URL, name)`; the name is relative to the folder it was found in.
        videos: Files, or a camera's number.
    """

    images: Sequence[tuple[Path | str, Path]]
    videos: Sequence[Path | int]

    def paths(self) -> frozenset[Path]:
        """Returns the files that must stay as they are, resolved."""
        sources = [*(source for source, _ in self.images), *self.videos]
        return frozenset(path.resolve() for path in sources if isinstance(path, Path))


def result_filter(paths: Sequence[Path], arguments: argparse.Namespace) -> Callable[[Path], bool]:
    """Returns what knows the results of an earlier call inside of folders that are looked through.

    A file that is named itself is none.
    """
    folders = [path.resolve() for path in paths if path.is_dir()]
    given = (arguments.out, arguments.crops, arguments.parquet)
    results = [path.resolve() for path in given if path is not None]
    inner = [path for path in results if any(folder in path.parents for folder in folders)]
    named = {path for path in paths if not path.is_dir()}

    def is_result(path: Path) -> bool:
        if not inner or path in named:
            return False
        return any(folder in path.resolve().parents for folder in inner)

    return is_result


def skipped_line(paths: Sequence[Path]) -> str:
    """Says which files of folders are no images."""
    more = f" and {len(paths) - _LISTED} more" if len(paths) > _LISTED else ""
    listed = ", ".join(str(path) for path in paths[:_LISTED])
    return f"Skipped {len(paths)} that are no images: {listed}{more}"
