"""Image files by name, in a folder or inside an archive. Must not import TensorFlow."""

import os
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ssh_tf.errors import UserError
from ssh_tf.imaging.folders import find_images, walk_files
from ssh_tf.imaging.header import stored_size

# Larger than any photo; what claims more is not unpacked.
_LARGEST_BYTES = 2**29
_HEAD_BYTES = 2**18  # EXIF's thumbnail and color profiles come before the size


class Images(Protocol):
    """Image files by name."""

    def size(self, name: str) -> int | None:
        """Returns the file's bytes, or None where there is no such image."""

    def read(self, name: str) -> bytes:
        """Returns the file."""

    def describe(self, name: str) -> str:
        """Returns what the file is called in errors."""

    def similar(self, name: str) -> str | None:
        """Returns an image whose name differs in letters' case or in their encoding alone."""


@dataclass(frozen=True)
class FolderImages:
    """Images below a folder."""

    folder: Path

    def size(self, name: str) -> int | None:
        """Returns the file's bytes, or None where there is no such image."""
        path = self.folder / name
        # Not `path.is_file()`: it raises for a name that is too long for any file.
        return os.path.getsize(path) if os.path.isfile(path) else None

    def read(self, name: str) -> bytes:
        """Returns the file.

        Raises:
            UserError: If it can't be read, or is larger than any photo.
        """
        return read_file(self.folder / name, _LARGEST_BYTES)

    def read_head(self, name: str) -> bytes:
        """Returns as much of the file as holds the headers of a photo, or all of it."""
        try:
            with (self.folder / name).open("rb") as file:
                head = file.read(_HEAD_BYTES)
                return head if stored_size(head) else head + file.read()
        except OSError as error:
            raise UserError(f"{self.folder / name} can't be read ({error.strerror}).") from error

    def describe(self, name: str) -> str:
        """Returns the file's path."""
        return str(self.folder / name)

    def similar(self, name: str) -> str | None:
        """Returns an image whose name differs in letters' case or in their encoding alone."""
        parent = (self.folder / name).parent
        beside = sorted(os.listdir(parent)) if os.path.isdir(parent) else []
        return _similar(Path(name).name, beside)


class ZipImages:
    """Images inside an archive, read in place.

    Args:
        path: The archive.
        prefix: What their names begin with in it.

    Raises:
        UserError: If it is no whole archive.
    """

    def __init__(self, path: Path, prefix: str) -> None:
        self._path, self._prefix, self._archive = path, prefix, open_zip(path)

    def size(self, name: str) -> int | None:
        """Returns the file's bytes, or None where there is no such image."""
        try:
            return self._archive.getinfo(self._prefix + name).file_size
        except KeyError:
            return None

    def read(self, name: str) -> bytes:
        """Returns the file. Several threads may read at a time."""
        return read_zip(self._archive, self._prefix + name, self._path)

    def describe(self, name: str) -> str:
        """Returns the archive's path with the name inside."""
        return f"{self._path}/{self._prefix}{name}"

    def similar(self, name: str) -> str | None:
        """Returns an image whose name differs in letters' case or in their encoding alone."""
        return _similar(self._prefix + name, self._archive.namelist())


def _similar(name: str, others: Iterable[str]) -> str | None:
    def plain(text: str) -> str:
        return unicodedata.normalize("NFC", text).casefold()

    return next((other for other in others if plain(other) == plain(name) and other != name), None)


def images_by_stem(folder: Path) -> dict[str, str]:
    """Returns path without suffix to path, of the images in a folder.

    Raises:
        UserError: If two of them differ in the suffix alone, or there is none.
    """
    found: dict[str, str] = {}
    for _, path in find_images([folder]).images:
        name, stem = path.as_posix(), path.with_suffix("").as_posix()
        if found.setdefault(stem, name) != name:
            raise UserError(
                f"{folder} holds {found[stem]} and {name}: expected one image for each name, as "
                "annotations belong to names without suffix. Rename one, with its annotations."
            )
    return found


def read_file(path: Path, most: int) -> bytes:
    """Returns a file of at most `most` bytes.

    Raises:
        UserError: If it is larger or can't be read.
    """
    try:
        if path.stat().st_size > most:
            raise UserError(f"{path} is larger than {most:,} bytes, as no such file should be.")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}).") from error


def list_files(folder: Path) -> list[str]:
    """Returns the paths of all files in a folder and below, with `/`, sorted; see `walk_files`."""
    return sorted(path.relative_to(folder).as_posix() for path in walk_files(folder, []))


def open_zip(path: Path) -> zipfile.ZipFile:
    """Opens an archive.

    Raises:
        UserError: If it is no whole archive.
    """
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path} is not a whole archive ({error}). Download it again.") from error


def read_zip(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    """Returns a file of an archive.

    Args:
        archive: The open archive.
        name: Of the file in it.
        path: Of the archive, for the error.

    Raises:
        UserError: If it is too large for an image, damaged or encrypted.
    """
    size = archive.getinfo(name).file_size
    if size > _LARGEST_BYTES:
        raise UserError(f"{path}: {name} claims to be {size:,} bytes long, which no image is.")
    try:
        return archive.read(name)
    # RuntimeError: encrypted, or a compression that Python does not know.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: {name} can't be read ({reason}). Download it again.") from error
