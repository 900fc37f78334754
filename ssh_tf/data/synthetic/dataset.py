"""Writes drawn pictures and their annotations in WIDER FACE's layout."""

import math
import re
import zlib
from pathlib import Path

import cv2
import numpy as np

from ssh_tf.data.annotations import AnnotatedImage
from ssh_tf.data.readers.wider import split_layout, write_annotations
from ssh_tf.data.synthetic.people import SMALLEST_FACE_PX
from ssh_tf.data.synthetic.scene import draw_image
from ssh_tf.errors import UserError
from ssh_tf.files import atomic_folder, output_folder
from ssh_tf.progress import Progress, silent

LARGEST_MEAN_SIDE_PX = 5000  # Times exp(0.35), the most that a side grows, is below MAX_PIXELS.
SMALLEST_MEAN_SIDE_PX = 96  # Times exp(-0.35), the most that a side shrinks, is above the smallest.
_EVENTS = ("Group", "Crowd", "Portrait", "Scenery")
_CROWD_FROM = 15  # Faces in a picture of the event "Crowd".


def generate(
    out: Path,
    *,
    images: int,
    seed: int,
    split: str = "train",
    size: tuple[int, int] = (480, 640),
    smallest_px: int = SMALLEST_FACE_PX,
    progress: Progress = silent,
) -> None:
    """Draws a data set into `out/WIDER_<split>` and `out/wider_face_split`.

    Picture `i` depends on `seed`, `split`, `i` and the size alone, not on how many are drawn.
    The split is renamed to its place when it is complete; its annotations are written last.

    Args:
        out: Root folder of the data set; made if absent. Other splits in it stay.
        images: Number of pictures, from 1.
        seed: From 0. The same seed gives the same bytes.
        split: Letters, digits, `-` and `_`.
        size: Mean height and width of the pictures, px; they vary around it in size and aspect.
        smallest_px: Minimum face height, px, from `SMALLEST_FACE_PX` to half of the smaller side.
        progress: See `ssh_tf.progress`.

    Raises:
        UserError: If the split exists already, `out` is not writable or a setting is unusable.
    """
    _check_settings(images, seed, split, size, smallest_px)
    root = output_folder(out)
    layout = split_layout(root, split)
    split_folder = layout.images_dir.parent
    for taken in (split_folder, layout.annotations):
        if taken.exists():
            raise UserError(
                f"{taken} exists already; expected a new split. Remove it or name another split."
            )
    entries = []
    tick = progress(f"draw {split}", images)
    # Of two calls at once the second can't rename.
    with atomic_folder(split_folder) as temporary:
        for index in range(images):
            rng = np.random.default_rng([seed, zlib.crc32(split.encode()), index])
            picture = _draw(rng, size, smallest_px)
            entries.append(_write_image(temporary / "images", index, *picture))
            tick()
    layout.annotations.parent.mkdir(exist_ok=True)
    write_annotations(layout.annotations, entries)


def _check_settings(
    images: int, seed: int, split: str, size: tuple[int, int], smallest_px: int
) -> None:
    if images < 1:
        raise UserError(f"images must be at least 1. Received: {images}.")
    if seed < 0:
        raise UserError(f"seed must be 0 or more. Received: {seed}.")
    if min(size) < SMALLEST_MEAN_SIDE_PX or max(size) > LARGEST_MEAN_SIDE_PX:
        raise UserError(
            f"width and height must be at least {SMALLEST_MEAN_SIDE_PX} and at most "
            f"{LARGEST_MEAN_SIDE_PX} px. "
            f"Received: {size[1]} x {size[0]}."
        )
    if not SMALLEST_FACE_PX <= smallest_px <= min(size) // 2:
        raise UserError(
            f"smallest_px must be from {SMALLEST_FACE_PX} to {min(size) // 2}, half of the "
            f"smaller side. Received: {smallest_px}."
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]+", split):
        raise UserError(f"split must be letters, digits, `-` and `_`. Received: {split!r}.")


def _draw(
    rng: np.random.Generator, size: tuple[int, int], smallest_px: int
) -> tuple[bytes, np.ndarray, np.ndarray]:
    """Draws one picture of about the given size: JPEG bytes, boxes and attributes."""
    stretch, scale = math.exp(rng.uniform(-0.25, 0.25)), math.exp(rng.uniform(-0.1, 0.1))
    rgb, boxes, attributes = draw_image(
        rng, round(size[0] * scale / stretch), round(size[1] * scale * stretch), smallest_px
    )
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 96))]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), quality)
    return encoded.tobytes(), boxes, attributes


def _write_image(
    folder: Path, index: int, encoded: bytes, boxes: np.ndarray, attributes: np.ndarray
) -> AnnotatedImage:
    event = _event(len(boxes))
    name = f"{event}--{_EVENTS[event]}/{event}_{_EVENTS[event]}_{event}_{index}.jpg"
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encoded)
    return AnnotatedImage(name, boxes, attributes)


def _event(faces: int) -> int:
    if faces == 0:
        return _EVENTS.index("Scenery")
    if faces >= _CROWD_FROM:
        return _EVENTS.index("Crowd")
    return _EVENTS.index("Portrait" if faces == 1 else "Group")
