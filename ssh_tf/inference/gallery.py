"""Detects many image files: pictures with boxes, and the boxes as plain values."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssh_tf.errors import UserError
from ssh_tf.files import output_folder
from ssh_tf.imaging.draw import draw_boxes, save_picture
from ssh_tf.imaging.files import read_image
from ssh_tf.inference.contract import FaceDetector
from ssh_tf.inference.results import Detections
from ssh_tf.progress import Progress, silent

# What OpenCV writes; pictures of other images become PNG.
_PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")

_LOG = logging.getLogger(__name__)


def detect_files(
    detector: FaceDetector,
    images: Sequence[tuple[Path, Path]],
    out: Path,
    *,
    show_from: float = 0.5,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Writes one picture per image, under its own relative name (as PNG if it has another suffix).

    An image that can't be read is reported and passed over.

    Args:
        detector: What finds the faces.
        images: `find_images(...).images`.
        out: Folder of the pictures.
        show_from: Least score that is drawn.
        progress: See `ssh_tf.progress`.

    Returns:
        One entry per image, as in the JSON of `ssh-tf detect`: `image` (its path), `height`,
        `width` and `faces`, whatever their score; for one that can't be read `image` and `error`.

    Raises:
        UserError: If `out` can't be written, or a picture would overwrite an image or another
            picture.
    """
    pictures = _picture_paths(images, out)
    output_folder(out)
    tick = progress("detect", len(images))
    found = []
    for (path, _), picture_path in zip(images, pictures, strict=True):
        try:
            image = read_image(path)
        except UserError as error:
            _LOG.warning("%s It is passed over.", error)
            found.append({"image": str(path), "error": str(error)})
        else:
            result = detector.detect(image)
            save_picture(picture_path, picture_of(image, result, show_from))
            found.append({"image": str(path), **result.to_dict()})
        tick()
    return found


def _picture_paths(images: Sequence[tuple[Path, Path]], out: Path) -> list[Path]:
    """Names the picture of each image."""
    sources = {path.resolve() for path, _ in images}
    pictures: dict[Path, Path] = {}
    for path, name in images:
        picture = out / (name if name.suffix.lower() in _PICTURE_SUFFIXES else f"{name}.png")
        if picture.resolve() in sources:
            raise UserError(f"The picture {picture} would overwrite an image. Name another --out.")
        if picture in pictures:
            raise UserError(
                f"{pictures[picture]} and {path} would both become {picture}. "
                "Detect them into different folders."
            )
        pictures[picture] = path
    return list(pictures)


def picture_of(image: np.ndarray, found: Detections, show_from: float) -> np.ndarray:
    """Draws those faces whose score is at least `show_from`; see `draw_boxes`."""
    shown = found.scores >= show_from
    return draw_boxes(image, found.boxes[shown], found.scores[shown])
