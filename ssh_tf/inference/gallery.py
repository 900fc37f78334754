"""Detects many image files: pictures that mark or hide faces, crops, and the boxes as values."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ssh_tf.config import Redaction
from ssh_tf.errors import UserError
from ssh_tf.imaging.draw import draw_boxes, save_picture
from ssh_tf.imaging.files import read_image
from ssh_tf.imaging.redact import redact
from ssh_tf.inference.graph import Detections
from ssh_tf.inference.items import continued
from ssh_tf.inference.journal import Journal
from ssh_tf.inference.writers import Entry
from ssh_tf.progress import Progress, silent

# What pictures are written as; others become PNG.
_PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


class FaceFinder(Protocol):
    """Anything that finds faces: a `Detector`, an `ExportedDetector`, a server's client."""

    def detect(self, image: np.ndarray) -> Detections:
        """Finds the faces of `[H, W, 3]` uint8 RGB."""

    def fingerprint(self) -> str:
        """Returns one line that another model or another setting would change."""


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What is made of images and videos beside their entries.

    Attributes:
        pictures: Folder of the pictures and videos; none are written without it.
        crops: Folder of the faces' crops; none are written without it.
        margin: What a crop adds on each side of its box, as a fraction of the box's side.
        show_from: Least score that is drawn, redacted or cropped.
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

    def work(self, detector: FaceFinder) -> str:
        """Returns one line that changes with anything that changes the files that are written."""
        settings = dataclasses.replace(self, show=None, inputs=frozenset())
        return f"{settings} {detector.fingerprint()}"


def detect_files(
    detector: FaceFinder,
    images: Sequence[tuple[Path, Path]],
    outputs: Outputs,
    *,
    journal: Journal | None = None,
    progress: Progress = silent,
) -> Iterator[Entry]:
    """Detects images and writes what is asked for, under each image's own relative name.

    Args:
        detector: What finds the faces.
        images: `(path, name)` from `find_images`.
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
    for (path, _), name in zip(images, _picture_names(images), strict=True):
        work = functools.partial(_detect_file, detector, path, name, outputs)
        results = functools.partial(_results, name=name, outputs=outputs)
        yield from continued({"image": str(path)}, work, journal, results)
        tick()


def _detect_file(detector: FaceFinder, path: Path, name: Path, outputs: Outputs) -> Iterator[Entry]:
    image = read_image(path)
    found = detector.detect(image)
    entry = {"image": str(path), **faces_entry(image.shape[:2], found)}
    if outputs.pictures is not None or outputs.show is not None:
        picture = picture_of(image, found, outputs)
        if outputs.pictures is not None:
            save_picture(outputs.checked(outputs.pictures / name), picture)
        if outputs.show is not None:
            outputs.show(picture)
    write_crops(image, entry, name, outputs)
    yield entry


def _results(entry: Entry, name: Path, outputs: Outputs) -> list[Path]:
    pictures = [] if outputs.pictures is None else [outputs.pictures / name]
    return pictures + list(crop_paths(entry, name, outputs))


def check_pictures(images: Sequence[tuple[Path, Path]], outputs: Outputs) -> None:
    """Refuses pictures that would overwrite an image or each other.

    Raises:
        UserError: Naming them.
    """
    firsts: dict[Path, Path] = {}
    for (path, _), name in zip(images, _picture_names(images), strict=True):
        if firsts.setdefault(name, path) is not path:
            raise UserError(
                f"{firsts[name]} and {path} would both become {name}. "
                "Detect them into different folders."
            )
        if outputs.pictures is not None:
            outputs.checked(outputs.pictures / name)


def _picture_names(images: Sequence[tuple[Path, Path]]) -> list[Path]:
    """Names the picture of each image, relative to the pictures' folder."""
    return [
        name if name.suffix.lower() in _PICTURE_SUFFIXES else name.with_name(f"{name.name}.png")
        for _, name in images
    ]


def crop_paths(entry: Entry, name: Path, outputs: Outputs) -> dict[Path, list[float]]:
    """Names the crops of an image, best face first.

    Args:
        entry: Of the image.
        name: Of its picture, relative to a folder.
        outputs: Where crops go, if anywhere, and which faces get one.

    Returns:
        File -> box.
    """
    if outputs.crops is None:
        return {}
    boxes = [face["box"] for face in entry["faces"] if face["score"] >= outputs.show_from]
    return {
        outputs.crops / name.with_stem(f"{name.stem}_{i}"): box
        for i, box in enumerate(boxes, start=1)
    }


def write_crops(image: np.ndarray, entry: Entry, name: Path, outputs: Outputs) -> None:
    """Writes the crops that `crop_paths` names."""
    for path, box in crop_paths(entry, name, outputs).items():
        save_picture(outputs.checked(path), crop(image, np.array(box), outputs.margin))


def crop(image: np.ndarray, box: np.ndarray, margin: float) -> np.ndarray:
    """Cuts a face out, with a margin, as far as the image reaches: at least one px."""
    height, width = image.shape[:2]
    wider = margin * (box[2:] - box[:2])
    x1, y1 = np.clip(np.floor(box[:2] - wider), 0, (width - 1, height - 1)).astype(int)
    x2, y2 = np.clip(np.ceil(box[2:] + wider), (x1 + 1, y1 + 1), (width, height)).astype(int)
    return image[y1:y2, x1:x2]


def picture_of(image: np.ndarray, found: Detections, outputs: Outputs) -> np.ndarray:
    """Marks the faces that are sure enough, or hides them."""
    shown = found.scores >= outputs.show_from
    if outputs.redaction is not None:
        return redact(image, found.boxes[shown], outputs.redaction)
    return draw_boxes(image, found.boxes[shown], found.scores[shown])


def faces_entry(size: tuple[int, ...], found: Detections) -> dict[str, Any]:
    """Returns one image's `height`, `width` and `faces` as plain values for JSON."""
    faces = [
        {"box": [round(float(x), 2) for x in box], "score": round(float(score), 6)}
        for box, score in zip(found.boxes, found.scores, strict=True)
    ]
    return {"height": size[0], "width": size[1], "faces": faces}
