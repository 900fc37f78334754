"""A folder of versions of a served model, and what counts as one: the one rule for all."""

import re
from pathlib import Path

from ssh_tf.signature import SAVED_MODEL

# TensorFlow Serving takes leading zeros; its protocol carries numbers of 63 bits.
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)


def find_versions(folder: Path) -> dict[int, Path]:
    """Returns the subfolders whose names are numbers, by number, the newest first.

    Args:
        folder: The model's folder. What else is in it is ignored. Of `7` and `007` the shorter
            name counts.

    Raises:
        OSError: If it can't be read.
    """
    names = [path.name for path in folder.iterdir() if _NUMBER.fullmatch(path.name)]
    by_number = {int(name): folder / name for name in sorted(names, key=len, reverse=True)}
    return dict(sorted(by_number.items(), reverse=True))


def is_saved_model(folder: Path) -> bool:
    """Returns whether a folder is itself a SavedModel."""
    return (folder / SAVED_MODEL).is_file()
