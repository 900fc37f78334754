"""Which images a folder holds: the one rule of all commands."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ssh_tf.errors import UserError

IMAGE_SUFFIXES = (
    ".avif",
    ".bmp",
    ".gif",
    ".heic",
    ".heif",
    ".jfif",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".png",
    ".tif",
    ".tiff",
    ".webp",
)


class FoundImages(NamedTuple):
    """What `find_images` found.

    Attributes:
        images: `(path, name)` of each image: the name is relative to the folder it was found in.
        skipped: Files that are no images, folders that are empty or can't be read, and all that is
            hidden.
    """

    images: list[tuple[Path, Path]]
    skipped: list[Path]


def find_images(paths: Sequence[str | Path]) -> FoundImages:
    """Expands files and folders to images, folders in depth and in sorted order; see `walk_files`.

    Args:
        paths: Files, which are images whatever their name is, or folders.

    Raises:
        UserError: If a path does not exist or a folder holds no image.
    """
    found = FoundImages([], [])
    for text in paths:
        path = Path(text)
        if os.path.isdir(path):
            _add_folder(found, path)
        elif os.path.isfile(path):
            found.images.append((path, Path(path.name)))
        else:
            raise UserError(f"{text} does not exist. Name an image or a folder of images.")
    return found


def _add_folder(found: FoundImages, folder: Path) -> None:
    before = len(found.images)
    for file in walk_files(folder, found.skipped):
        if is_image_file(file):
            found.images.append((file, file.relative_to(folder)))
        else:
            found.skipped.append(file)
    if len(found.images) == before:
        raise no_image(folder)


def is_image_file(path: Path) -> bool:
    """Whether a file of a folder is an image, by its name."""
    return path.suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(path)


def no_image(folder: object) -> UserError:
    """Returns the error of a folder in which there is no image."""
    return UserError(f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)}).")


def walk_files(
    folder: Path, skipped: list[Path], entered: frozenset[str] = frozenset()
) -> Iterator[Path]:
    """Yields the files of a folder and those below, sorted by path.

    Names that begin with a dot are skipped: `.ipynb_checkpoints`, and macOS puts `._a.jpg` beside
    `a.jpg`. Linked folders are entered, but none of the folders that lead to them.

    Args:
        folder: Where to look.
        skipped: Receives what is left out: hidden names, folders that are empty or can't be read.
        entered: The real paths of the folders on the way: a link to one of them is a loop.
    """
    real = os.path.realpath(folder)
    try:
        entries = [] if real in entered else sorted(folder.iterdir())
    except OSError:  # No permission, or gone meanwhile.
        entries = []
    if not entries:
        skipped.append(folder)
    for entry in entries:
        if entry.name.startswith("."):
            skipped.append(entry)
        elif os.path.isdir(entry):
            yield from walk_files(entry, skipped, entered | {real})
        else:
            yield entry
