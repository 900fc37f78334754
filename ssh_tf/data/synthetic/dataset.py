"""Writes drawn pictures and their annotations in WIDER FACE's layout."""

import math
import os
import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from ssh_tf.data.synthetic.scene import draw_image
from ssh_tf.data.wider import WiderImage, split_layout, write_annotations
from ssh_tf.errors import UserError
from ssh_tf.files import output_folder

SMALLEST_MEAN_SIDE_PX = 96  # Times exp(-0.35), the most that a side shrinks, is above the smallest.
_EVENTS = ("Group", "Crowd", "Portrait", "Scenery")
_CROWD_FROM = 15  # Faces in a picture of the event "Crowd".


def generate(
    out: Path,
    *,
    images: int,
    seed: int,
    split: str = "train",
    width: int = 640,
    height: int = 480,
    on_image: Callable[[int], None] | None = None,
) -> None:
    """Draws a data set into `out/WIDER_<split>` and `out/wider_face_split`.

    Picture `i` depends on `seed`, `split`, `i` and the size alone, not on how many are drawn.
    The split is drawn aside and renamed when complete; its annotations are written last.

    Args:
        out: Root folder of the data set; made if absent. Other splits in it stay.
        images: Number of pictures, from 1.
        seed: From 0. The same seed gives the same bytes.
        split: Letters, digits, `-` and `_`.
        width: Mean picture width in px; pictures vary around it in size and aspect ratio.
        height: Mean picture height in px.
        on_image: Called with each index after its picture is written.

    Raises:
        UserError: If the split exists already, `out` is not writable or a setting is unusable.
    """
    _check_settings(images, seed, split, width, height)
    root = output_folder(out)
    layout = split_layout(root, split)
    final = layout.images_dir.parent
    for taken in (final, layout.annotations):
        if taken.exists():
            raise UserError(
                f"{taken} exists already; expected a new split. Remove it or name another --split."
            )
    aside = root / f".{final.name}.{os.getpid()}.tmp"
    entries = []
    try:
        for index in range(images):
            rng = np.random.default_rng([seed, zlib.crc32(split.encode()), index])
            entries.append(_write_image(aside / "images", index, rng, height, width))
            if on_image is not None:
                on_image(index)
        aside.rename(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    layout.annotations.parent.mkdir(exist_ok=True)
    write_annotations(layout.annotations, entries)


def _check_settings(images: int, seed: int, split: str, width: int, height: int) -> None:
    if images < 1:
        raise UserError(f"--images must be at least 1. Received: {images}.")
    if seed < 0:
        raise UserError(f"--seed must be 0 or more. Received: {seed}.")
    if min(width, height) < SMALLEST_MEAN_SIDE_PX:
        raise UserError(
            f"--width and --height must be at least {SMALLEST_MEAN_SIDE_PX} px. "
            f"Received: {width} x {height}."
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]+", split):
        raise UserError(f"--split must be letters, digits, `-` and `_`. Received: {split!r}.")


def _write_image(
    folder: Path, index: int, rng: np.random.Generator, height: int, width: int
) -> WiderImage:
    """Draws and writes one picture of about the given size."""
    stretch, scale = math.exp(rng.uniform(-0.25, 0.25)), math.exp(rng.uniform(-0.1, 0.1))
    rgb, boxes, attributes = draw_image(
        rng, round(height * scale / stretch), round(width * scale * stretch)
    )
    event = _event(len(boxes))
    name = f"{event}--{_EVENTS[event]}/{event}_{_EVENTS[event]}_{event}_{index}.jpg"
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 96))]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), quality)
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encoded.tobytes())
    return WiderImage(name, boxes, attributes)


def _event(faces: int) -> int:
    if faces == 0:
        return _EVENTS.index("Scenery")
    if faces >= _CROWD_FROM:
        return _EVENTS.index("Crowd")
    return _EVENTS.index("Portrait" if faces == 1 else "Group")
