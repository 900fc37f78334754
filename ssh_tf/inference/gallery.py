"""Detects many image files: pictures that mark or hide faces, crops, and the boxes as values."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssh_tf.config import Redaction
from ssh_tf.errors import UserError
from ssh_tf.imaging.draw import save_picture
from ssh_tf.imaging.files import read_image
from ssh_tf.imaging.redact import redact
from ssh_tf.inference.ahead import detect_ahead
from ssh_tf.inference.contract import FaceDetector
from ssh_tf.inference.items import finished, recorded
from ssh_tf.inference.journal import Journal
from ssh_tf.inference.results import Detections
from ssh_tf.inference.writers import Entry
from ssh_tf.progress import Progress, silent

# What pictures are written as; others become PNG.
_PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")

# Threads that draw and write pictures: a large PNG takes longer than a small network.
WRITERS = 2

ImageFile = Path | str  # a URL is no path


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What is made of images and videos beside their entries.

    Attributes:
        pictures: Folder of the pictures and videos; none are written without it.
        crops: Folder of the faces' crops; none are written without it.
        margin: What a crop adds on each side of its box, as a fraction of the box's side.
        show_from: Minimum score that is drawn, redacted or cropped.
        redaction: How faces are hidden instead of being marked.
        hold: For how many frames of a video a face that is not found again stays redacted.
        inputs: Resolved paths that must not be written to.
        show: Called with every picture, RGB, that is made.
    """

    pictures: Path | None = None
    crops: Path | None = None
    margin: float = 0.2
    show_from: float = 0.5
    redaction: Redaction | None = None
    hold: int = 5
    inputs: frozenset[Path] = frozenset()
    show: Callable[[np.ndarray], None] | None = None

    @property
    def folder(self) -> Path | None:
        """Where the journal of finished items is kept."""
        return self.pictures or self.crops

    def checked(self, path: Path) -> Path:
        """Returns the path of a result.

        Raises:
            UserError: If writing it would overwrite an input.
        """
        if path.resolve() in self.inputs:
            raise UserError(f"{path} would overwrite an input. Name another folder.")
        return path

    def work(self, detector: FaceDetector) -> str:
        """Returns one line that changes with anything that changes the files that are written."""
        return f"{self.settings()} {detector.fingerprint()}"

    def settings(self) -> str:
        """Returns the part of that line which is not the detector's."""
        return str(dataclasses.replace(self, show=None, inputs=frozenset()))


def detect_files(
    detector: FaceDetector,
    images: Sequence[tuple[ImageFile, Path]],
    outputs: Outputs,
    *,
    journal: Journal | None = None,
    progress: Progress = silent,
) -> Iterator[Entry]:
    """Detects images and writes what is asked for, under each image's own relative name.

    Args:
        detector: What finds the faces.
        images: `find_images(...).images`; URLs may be among the paths.
        outputs: What is written. Pictures whose format can't be written become PNG.
        journal: Of finished images, which are not detected again.
        progress: See `ssh_tf.progress`.

    Yields:
        One entry per image, as in the JSON of `ssh-tf detect`: `image` (its path), `height`,
        `width` and `faces`, whatever their score; for one that failed `image` and `error`.

    Raises:
        UserError: If a picture would overwrite an image or another picture: before any work.
        UnavailableError: If a server is gone.
        OSError: If the disk is full or read-only.
    """
    check_pictures(images, outputs)
    tick = progress("detect", len(images))
    files = [
        _File(path, name) for (path, _), name in zip(images, _picture_names(images), strict=True)
    ]
    done = [_finished(file, journal, outputs) is not None for file in files]
    todo = [file for file, is_done in zip(files, done, strict=True) if not is_done]
    finish = functools.partial(_finish, outputs=outputs)
    stream = detect_ahead(detector, todo, _pixels, finish, finishers=WRITERS)
    with contextlib.closing(stream):
        for file, is_done in zip(files, done, strict=True):
            if is_done:
                yield from _finished(file, journal, outputs) or ()
            else:
                work = functools.partial(_entries, next(stream)[1], outputs)
                yield from recorded({"image": str(file.path)}, work, journal)
            tick()


class _File(NamedTuple):
    """An image file, and the name of its picture below the folder of pictures."""

    path: ImageFile
    name: Path


def _finished(file: _File, journal: Journal | None, outputs: Outputs) -> Iterator[Entry] | None:
    pictures = [] if outputs.pictures is None else [outputs.pictures / file.name]
    return finished(str(file.path), journal, lambda entry: pictures + crops_of(entry))


def _pixels(file: _File) -> np.ndarray:
    return read_image(file.path)


def _finish(file: _File, found: Detections, outputs: Outputs) -> tuple[Entry, np.ndarray | None]:
    return finish_image(str(file.path), file.name, found, outputs)


def finish_image(
    source: str, name: Path, found: Detections, outputs: Outputs
) -> tuple[Entry, np.ndarray | None]:
    """Writes what is asked for of one image.

    Args:
        source: What the image is called in its entry.
        name: Of its picture; see `picture_name`.
        found: Its faces.
        outputs: What is written.

    Returns:
        The entry, and the picture if one was made.

    Raises:
        UserError: If a result would overwrite an input.
        OSError: If one can't be written.
    """
    entry = {"image": source, **found.to_dict(), **write_crops(found, name, outputs)}
    if outputs.pictures is None and outputs.show is None:
        return entry, None
    picture = picture_of(found, outputs)
    if outputs.pictures is not None:
        save_picture(outputs.checked(outputs.pictures / name), picture)
    return entry, picture


def _entries(
    result: Callable[[], tuple[Entry, np.ndarray | None]], outputs: Outputs
) -> Iterator[Entry]:
    entry, picture = result()
    if outputs.show is not None and picture is not None:
        outputs.show(picture)
    yield entry


def check_pictures(images: Sequence[tuple[ImageFile, Path]], outputs: Outputs) -> None:
    """Refuses pictures that would overwrite an input or each other.

    Raises:
        UserError: Naming them.
    """
    if outputs.folder is None:
        return
    firsts: dict[Path, ImageFile] = {}
    for (path, _), name in zip(images, _picture_names(images), strict=True):
        if firsts.setdefault(name, path) is not path:
            raise UserError(
                f"{firsts[name]} and {path} would both become {name}. "
                "Detect them into different folders."
            )
        if outputs.pictures is not None:
            outputs.checked(outputs.pictures / name)


def _picture_names(images: Sequence[tuple[ImageFile, Path]]) -> list[Path]:
    """Names the picture of each image, relative to the pictures' folder."""
    return [picture_name(name) for _, name in images]


def picture_name(name: Path) -> Path:
    """Returns the name of an image's picture: its own, or a PNG's for formats not written."""
    return name if name.suffix.lower() in _PICTURE_SUFFIXES else name.with_name(f"{name.name}.png")


def write_crops(found: Detections, name: Path, outputs: Outputs) -> Entry:
    """Writes the crops of confident faces, best first: `<stem>_1`, `<stem>_2`, ...

    Args:
        found: Of one image.
        name: Of its picture, relative to a folder.
        outputs: Where crops go, if anywhere.

    Returns:
        `crops`, their paths, for the image's entry; nothing if none are asked for.
    """
    if outputs.crops is None:
        return {}
    paths = []
    for i, crop in enumerate(found.filter(outputs.show_from).crops(outputs.margin), start=1):
        paths.append(outputs.checked(outputs.crops / name.with_stem(f"{name.stem}_{i}")))
        save_picture(paths[-1], crop)
    return {"crops": [str(path) for path in paths]}


def crops_of(entry: Entry) -> list[Path]:
    """Returns the files that `write_crops` wrote for an entry."""
    return [Path(path) for path in entry.get("crops", ())]


def picture_of(found: Detections, outputs: Outputs) -> np.ndarray:
    """Marks the faces above the minimum score of an image, or hides them."""
    confident = found.filter(outputs.show_from)
    if outputs.redaction is not None:
        return redact(found.image, confident.boxes, outputs.redaction)
    return confident.draw()
