"""Detects many image files: pictures with boxes, and the boxes as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssh_tf.errors import UserError
from ssh_tf.files import output_folder, write_text
from ssh_tf.inference.detector import IMAGE_SUFFIXES, Detector, read_image
from ssh_tf.inference.draw import draw_boxes, save_picture
from ssh_tf.inference.graph import Detections
from ssh_tf.progress import Progress, silent


def detect_files(
    detector: Detector,
    images: Sequence[tuple[Path, Path]],
    out: Path,
    *,
    json_path: Path | None = None,
    show_from: float = 0.5,
    progress: Progress = silent,
) -> int:
    """Writes one picture per image, under its own relative name (as PNG if it has another suffix).

    Args:
        detector: What finds the faces.
        images: `(path, name)` from `find_images`.
        out: Folder of the pictures.
        json_path: File for all boxes of all images, whatever their score; by default none.
        show_from: Least score that is drawn.
        progress: See `ssh_tf.progress`.

    Returns:
        The number of faces drawn.

    Raises:
        UserError: If an image can't be read, `out` can't be written, or a picture would overwrite
            an image or another picture.
    """
    pictures = _picture_paths(images, out)
    output_folder(out)
    if json_path is not None:
        output_folder(json_path.parent)
    tick = progress("detect", len(images))
    found, drawn = [], 0
    for (path, _), picture_path in zip(images, pictures, strict=True):
        image = read_image(path)
        result = detector.detect(image)
        shown = result.scores >= show_from
        picture = draw_boxes(image, result.boxes[shown], result.scores[shown])
        save_picture(picture_path, picture)
        found.append(_entry(path, image.shape[:2], result))
        drawn += int(shown.sum())
        tick()
    if json_path is not None:
        write_text(json_path, json.dumps(found, indent=1) + "\n")
    return drawn


def _picture_paths(images: Sequence[tuple[Path, Path]], out: Path) -> list[Path]:
    """Names the picture of each image."""
    sources = {path.resolve() for path, _ in images}
    pictures: dict[Path, Path] = {}
    for path, name in images:
        picture = out / (name if name.suffix.lower() in IMAGE_SUFFIXES else f"{name}.png")
        if picture.resolve() in sources:
            raise UserError(f"The picture {picture} would overwrite an image. Name another --out.")
        if picture in pictures:
            raise UserError(
                f"{pictures[picture]} and {path} would both become {picture}. "
                "Detect them into different folders."
            )
        pictures[picture] = path
    return list(pictures)


def _entry(path: Path, size: tuple[int, ...], found: Detections) -> dict[str, Any]:
    faces = [
        {"box": [round(float(x), 2) for x in box], "score": round(float(score), 6)}
        for box, score in zip(found.boxes, found.scores, strict=True)
    ]
    return {"image": str(path), "height": size[0], "width": size[1], "faces": faces}
