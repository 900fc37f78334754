"""Annotated images and where they come from: WIDER's layout, CSV, COCO, Pascal VOC or YOLO.

Must not import TensorFlow.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ssh_tf.data.annotations import (
    ATTRIBUTES,
    AnnotatedImage,
    refuse_duplicates,
    refuse_fractions,
)
from ssh_tf.data.image_files import (
    FolderImages,
    Images,
    ZipImages,
    images_by_stem,
    list_files,
    open_zip,
    read_file,
    read_zip,
)
from ssh_tf.data.readers.coco import read_coco
from ssh_tf.data.readers.csv import read_csv
from ssh_tf.data.readers.voc import read_voc
from ssh_tf.data.readers.wider import find_split, parse_annotations, split_layout
from ssh_tf.data.readers.wider_mat import read_mat_annotations
from ssh_tf.data.readers.yolo import CLASSES, read_yolo
from ssh_tf.errors import UserError
from ssh_tf.files import existing_file, existing_folder
from ssh_tf.imaging import pillow
from ssh_tf.imaging.header import orientation, stored_size, turned_size

BoxesOn = Literal["upright", "stored"]
Kind = Literal["wider", "csv", "coco", "voc", "yolo"]

# Images and faces of WIDER FACE's splits.
OFFICIAL_COUNTS = {"train": (12_880, 159_424), "val": (3_226, 39_708)}
# The most bytes of a file of annotations, and of one for a single image: COCO's has 2**28.7.
_MOST_BYTES, _MOST_LABEL_BYTES = 2**29, 2**24


@dataclass(frozen=True)
class Source:
    """Annotated images and where their files are.

    Attributes:
        name: What its shards are called: `wider_train`, `boxes`.
        split: `train`, `val`, ...
        annotations: Where the boxes are, for messages.
        sha256: Of the annotations' bytes.
        entries: The annotated images.
        images: Their files.
        boxes_on: Where an image's EXIF orientation turns it: whether the boxes are drawn on the
            `stored` pixels or on the `upright` image that viewers show. None: as in WIDER FACE,
            whose images are never turned.
    """

    name: str
    split: str
    annotations: Path
    sha256: str
    entries: list[AnnotatedImage]
    images: Images
    boxes_on: BoxesOn | None = None

    @property
    def follows_wider(self) -> bool:
        """Whether files and images are named as WIDER FACE names them."""
        named = self.annotations.name.startswith("wider_face_")
        return named and all(re.match(r"\d+--[\w-]+/", entry.name) for entry in self.entries)

    @property
    def official_counts(self) -> tuple[int, int] | None:
        """Images and faces that WIDER FACE's split of this name has, if this claims to be it."""
        return OFFICIAL_COUNTS.get(self.split) if self.follows_wider else None

    @property
    def given_attributes(self) -> list[str]:
        """The attributes that the annotations have for any image, in the order of `ATTRIBUTES`."""
        given = {name for entry in self.entries for name in entry.given}
        return [name for name in ATTRIBUTES if name in given]


def open_wider(root: Path, split: str) -> Source:
    """Opens a split of WIDER FACE, or of other data in its layout.

    Images are taken from `WIDER_<split>/images` or from `WIDER_<split>.zip`; annotations from
    `wider_face_split/` or `wider_face_split.zip`, as text (`wider_face_<split>_bbx_gt.txt`), or
    from `wider_face_<split>.mat` where there is no text.

    Args:
        root: The folder that holds them.
        split: `train`, `val` or the name of another split.

    Raises:
        UserError: If something is missing, malformed or damaged.
    """
    existing_folder(root, "WIDER FACE, or its archives")
    if not re.fullmatch(r"[\w.-]+", split):
        raise UserError(f"A split is named by letters, digits, `-`, `.`, `_`. Received: {split!r}.")
    layout, archive = split_layout(root, split), root / f"WIDER_{split}.zip"
    images: Images = FolderImages(layout.images_dir)
    if archive.is_file() and not layout.images_dir.is_dir():
        images = ZipImages(archive, f"WIDER_{split}/images/")
    elif not layout.images_dir.is_dir() or not any(layout.images_dir.iterdir()):
        find_split(root, split)  # says what is missing
    for file, content in _annotation_files(root, split):
        entries = _checked(_read_wider(content, file), file)
        return Source(f"wider_{split}", split, file, _sha256(content), entries, images)
    raise UserError(
        f"{layout.annotations} does not exist, nor wider_face_{split}.mat beside it or in "
        f"{root / 'wider_face_split.zip'}. Expected the annotations of split {split!r}."
    )


def open_annotations(
    path: Path,
    images: Path | None = None,
    *,
    kind: Kind | None = None,
    split: str = "train",
    label: str | None = None,
    boxes_on: BoxesOn = "upright",
) -> Source:
    """Opens annotations in any of the formats (`ssh_tf.data.readers`).

    Args:
        path: A CSV (`.csv`) or COCO (`.json`) file, WIDER's as text (`.txt`) or MATLAB file
            (`.mat`), or a folder of Pascal VOC's XML files or of YOLO's label files, or one that
            holds these as `Annotations` or `labels`.
        images: Folder that the images' names are relative to; by default that of the annotations.
            YOLO needs it, as its boxes are fractions of the images.
        kind: The format; by default the path tells it.
        split: What the set is used as.
        label: The class that is the face, of COCO, VOC and YOLO; by default `face`.
        boxes_on: See `Source`; of no meaning for WIDER's formats.

    Returns:
        The source. Its `entries` are as annotated: px of the image in the orientation `boxes_on`.

    Raises:
        UserError: If it can't be read or has none of these formats.
    """
    kind = kind or _kind(path)
    folder = path.parent if images is None else existing_folder(images, "the images")
    if kind == "wider":
        return _open_file(path, _read_wider, folder, split, None)
    if kind == "csv":
        return _open_file(path, read_csv, folder, split, boxes_on)
    if kind == "coco":
        read = functools.partial(read_coco, label=label)
        return _open_file(path, read, folder, split, boxes_on)
    if kind == "voc":
        names = None if images is None else images_by_stem(images)
        return _open_folder(
            path,
            functools.partial(read_voc, images=names, label=label),
            ("Annotations", ".xml"),
            *(folder, split, boxes_on),
        )
    if images is None:
        raise UserError(
            f"{path}: YOLO's boxes are fractions of the images. Name the images' folder, too."
        )
    size = functools.partial(annotated_size, FolderImages(images), boxes_on)
    return _open_folder(
        path,
        functools.partial(read_yolo, images=images_by_stem(images), size=size, label=label),
        ("labels", ".txt"),
        *(folder, split, boxes_on),
    )


def annotated_size(images: FolderImages, boxes_on: BoxesOn, name: str) -> tuple[int, int] | None:
    """Returns height and width of an image, px, in the orientation that its boxes are drawn in.

    None stands for an image that can't be read; who reads its pixels says why.
    """
    try:
        encoded = images.read_head(name)
        size = stored_size(encoded)
        if size is None:  # neither JPEG nor PNG
            pixels = pillow.decode(images.read(name), name, upright=boxes_on == "upright")
            return pixels.shape[0], pixels.shape[1]
    except UserError:
        return None
    return turned_size(size, orientation(encoded)) if boxes_on == "upright" else size


def missing(source: Source) -> Iterable[str]:
    """Yields the names of the images that the annotations name and that are not there."""
    return (entry.name for entry in source.entries if source.images.size(entry.name) is None)


def describe_missing(source: Source, name: str) -> str:
    """Says that an image is not there, and what is there that looks like it."""
    path = source.images.describe(name)
    alike = source.images.similar(name)
    hint = f" There is {alike!a}, which differs in its bytes." if alike else ""
    return f"{path} does not exist. Expected an image that {source.annotations} names.{hint}"


def _kind(path: Path) -> Kind:
    """Tells the format of annotations by the path."""
    if path.is_dir():
        return "voc" if any(name.endswith(".xml") for name in list_files(path)) else "yolo"
    existing_file(path, "a file of boxes (.csv, .json, .txt, .mat) or a folder of .xml or .txt")
    kinds: dict[str, Kind] = {".csv": "csv", ".json": "coco"}
    return kinds.get(path.suffix.lower(), "wider")


def _read_wider(content: bytes, file: Path) -> list[AnnotatedImage]:
    read = read_mat_annotations if file.suffix.lower() == ".mat" else parse_annotations
    return read(content, file)


def _open_file(
    path: Path,
    read: Callable[[bytes, Path], list[AnnotatedImage]],
    images: Path,
    split: str,
    boxes_on: BoxesOn | None,
) -> Source:
    content = read_file(existing_file(path, "a file of boxes"), _MOST_BYTES)
    entries = _checked(read(content, path), path)
    images_of = FolderImages(images)
    return Source(_set_name(path), split, path, _sha256(content), entries, images_of, boxes_on)


def _open_folder(
    path: Path,
    read: Callable[[Iterator[tuple[Path, bytes]], Path], list[AnnotatedImage]],
    form: tuple[str, str],
    images: Path,
    split: str,
    boxes_on: BoxesOn,
) -> Source:
    """Opens a folder of label files; `form` is the usual inner folder and the files' suffix."""
    inner, suffix = form
    existing_folder(path, f"*{suffix} files, one for each image")
    labels = path / inner if (path / inner).is_dir() else path
    files = [name for name in list_files(labels) if name.endswith(suffix) and name != CLASSES]
    if not files:
        raise UserError(f"{labels} holds no *{suffix} file. Expected one for each image.")
    digest = hashlib.sha256()
    entries = _checked(read(_contents(labels, files, digest), labels), path)
    name, images_of = _set_name(path), FolderImages(images)
    return Source(name, split, path, digest.hexdigest(), entries, images_of, boxes_on)


def _set_name(path: Path) -> str:
    """Returns what shards are called: as the annotations are, without odd characters."""
    return re.sub(r"[^\w-]+", "_", path.resolve().stem).strip("_") or "faces"


def _checked(entries: list[AnnotatedImage], path: Path) -> list[AnnotatedImage]:
    if not entries:
        raise UserError(f"{path} names no image. Expected annotated images.")
    refuse_duplicates(entries, path)
    refuse_fractions(entries, path)
    return entries


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _contents(
    folder: Path, files: list[str], digest: "hashlib._Hash"
) -> Iterator[tuple[Path, bytes]]:
    """Yields path and content of each file, and notes both in `digest`."""
    for name in files:
        content = read_file(folder / name, _MOST_LABEL_BYTES)
        digest.update(f"{name}\0{len(content)}\0".encode(errors="surrogateescape") + content)
        yield folder / name, content


def _annotation_files(root: Path, split: str) -> Iterator[tuple[Path, bytes]]:
    """Yields the files with a split's annotations: text before MATLAB, folder before archive."""
    folder, archive = root / "wider_face_split", root / "wider_face_split.zip"
    opened = open_zip(archive) if archive.is_file() else None
    for name in (f"wider_face_{split}_bbx_gt.txt", f"wider_face_{split}.mat"):
        if (folder / name).is_file():
            yield folder / name, read_file(folder / name, _MOST_BYTES)
        inside = f"wider_face_split/{name}"
        if opened is not None and inside in opened.namelist():
            yield archive / inside, read_zip(opened, inside, archive)
