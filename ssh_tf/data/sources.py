"""Where a split comes from: a folder in WIDER's layout, its downloaded archives, or a CSV file.

Must not import TensorFlow.
"""

import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ssh_tf.data.annotations import AnnotatedImage
from ssh_tf.data.readers.csv import read_csv
from ssh_tf.data.readers.wider import find_split, parse_annotations, split_layout
from ssh_tf.data.readers.wider_mat import read_mat_annotations
from ssh_tf.errors import UserError
from ssh_tf.files import existing_file, existing_folder

# Images and faces of WIDER FACE's own splits.
OFFICIAL_COUNTS = {"train": (12_880, 159_424), "val": (3_226, 39_708)}
# Larger than any photo; what claims more is not unpacked.
_LARGEST_BYTES = 2**29


class Images(Protocol):
    """Image files by name."""

    def size(self, name: str) -> int | None:
        """Returns the file's bytes, or None where there is no such image."""

    def read(self, name: str) -> bytes:
        """Returns the file."""

    def describe(self, name: str) -> str:
        """Returns what the file is called in errors."""


@dataclass(frozen=True)
class FolderImages:
    """Images below a folder."""

    folder: Path

    def size(self, name: str) -> int | None:
        """Returns the file's bytes, or None where there is no such image."""
        path = self.folder / name
        return path.stat().st_size if path.is_file() else None

    def read(self, name: str) -> bytes:
        """Returns the file.

        Raises:
            UserError: If it can't be read.
        """
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise UserError(f"{self.folder / name} can't be read ({error.strerror}).") from error

    def describe(self, name: str) -> str:
        """Returns the file's path."""
        return str(self.folder / name)


class ZipImages:
    """Images inside an archive, read in place.

    Args:
        path: The archive.
        prefix: What stands before the images' names in it.

    Raises:
        UserError: If it is no whole archive.
    """

    def __init__(self, path: Path, prefix: str) -> None:
        self._path, self._prefix, self._archive = path, prefix, _open_zip(path)

    def size(self, name: str) -> int | None:
        """Returns the file's bytes, or None where there is no such image."""
        try:
            return self._archive.getinfo(self._prefix + name).file_size
        except KeyError:
            return None

    def read(self, name: str) -> bytes:
        """Returns the file. Several threads may read at a time."""
        return _read_zip(self._archive, self._prefix + name, self._path)

    def describe(self, name: str) -> str:
        """Returns the archive's path with the name inside."""
        return f"{self._path}/{self._prefix}{name}"


@dataclass(frozen=True)
class Source:
    """A split and where its images are.

    Attributes:
        split: Its name.
        annotations: Where the boxes stand, for messages.
        sha256: Of the annotations' bytes.
        entries: The annotated images.
        images: Their files.
    """

    split: str
    annotations: Path
    sha256: str
    entries: list[AnnotatedImage]
    images: Images

    @property
    def official_counts(self) -> tuple[int, int] | None:
        """Images and faces that WIDER FACE's split of this name has, if this claims to be it."""
        named = self.annotations.name.startswith("wider_face_")
        ours = named and all(re.match(r"\d+--[\w-]+/", entry.name) for entry in self.entries)
        return OFFICIAL_COUNTS.get(self.split) if ours else None


def open_wider(root: Path, split: str) -> Source:
    """Opens a split of WIDER FACE, or of own data in its layout.

    Images are taken from `WIDER_<split>/images` or from `WIDER_<split>.zip`; annotations from
    `wider_face_split/` or `wider_face_split.zip`, as text (`wider_face_<split>_bbx_gt.txt`), or
    from `wider_face_<split>.mat` where there is no text.

    Args:
        root: The folder that holds them.
        split: `train`, `val` or the name of one's own split.

    Raises:
        UserError: If something is missing, malformed or damaged.
    """
    existing_folder(root, "WIDER FACE, or its archives")
    layout, archive = split_layout(root, split), root / f"WIDER_{split}.zip"
    images: Images = FolderImages(layout.images_dir)
    if archive.is_file() and not layout.images_dir.is_dir():
        images = ZipImages(archive, f"WIDER_{split}/images/")
    elif not layout.images_dir.is_dir() or not any(layout.images_dir.iterdir()):
        find_split(root, split)  # says what is missing
    for file, content in _annotation_files(root, split):
        read = read_mat_annotations if file.suffix == ".mat" else parse_annotations
        sha256 = hashlib.sha256(content).hexdigest()
        return Source(split, file, sha256, read(content, file), images)
    raise UserError(
        f"{layout.annotations} does not exist, nor wider_face_{split}.mat beside it or in "
        f"{root / 'wider_face_split.zip'}. Expected the annotations of split {split!r}."
    )


def open_csv(file: Path, images: Path, split: str) -> Source:
    """Opens own boxes: a CSV file (`ssh_tf.data.readers.csv`) and the folder of the images."""
    existing_file(file, "a CSV file of boxes")
    existing_folder(images, "the images that the CSV file names")
    content = file.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    return Source(split, file, sha256, read_csv(content, file), FolderImages(images))


def missing(source: Source) -> Iterable[str]:
    """Yields the names of the images that the annotations name and that are not there."""
    return (entry.name for entry in source.entries if source.images.size(entry.name) is None)


def _annotation_files(root: Path, split: str) -> Iterator[tuple[Path, bytes]]:
    """Yields the files with a split's annotations: text before MATLAB, folder before archive."""
    folder, archive = root / "wider_face_split", root / "wider_face_split.zip"
    opened = _open_zip(archive) if archive.is_file() else None
    for name in (f"wider_face_{split}_bbx_gt.txt", f"wider_face_{split}.mat"):
        if (folder / name).is_file():
            yield folder / name, (folder / name).read_bytes()
        inside = f"wider_face_split/{name}"
        if opened is not None and inside in opened.namelist():
            yield archive / inside, _read_zip(opened, inside, archive)


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path} is not a whole archive ({error}). Download it again.") from error


def _read_zip(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    size = archive.getinfo(name).file_size
    if size > _LARGEST_BYTES:
        raise UserError(f"{path}: {name} claims to be {size:,} bytes long, which no image is.")
    try:
        return archive.read(name)
    # RuntimeError: encrypted, or a compression that Python does not know.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: {name} can't be read ({reason}). Download it again.") from error
