"""Draws a cartoon face data set in WIDER FACE's own layout, so that everything runs without it.

Pure drawing with seeded generators. Must not import TensorFlow.

A picture is a background, things that look a bit like faces, then people from far to near, then
the camera (tint, blur, noise). Heads are drawn in face units: the origin is the middle of the
face, `v` runs from -1 at the hairline to 1 at the chin, `u` from -0.8 to 0.8 cheek to cheek.
"""

import colorsys
import math
import os
import re
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from ssh_tf.data.wider import ATTRIBUTES, WiderImage, split_layout, write_annotations
from ssh_tf.errors import UserError
from ssh_tf.files import output_folder

SMALLEST_SIDE_PX = 64
SMALLEST_FACE_PX = 12
LARGEST_FACE_PX = 400

_Colour = tuple[float, float, float]
_T = TypeVar("_T")

_EVENTS = ("Group", "Crowd", "Portrait", "Scenery")
_EMPTY_SHARE, _CROWD_SHARE = 0.08, 0.08
_CROWD_FROM = 15  # Faces in a picture of the event "Crowd".
_HALF_WIDTH = 0.8  # Face units; the half height is 1, which makes height / width 1.25.

_SKINS: tuple[_Colour, ...] = (
    (250, 224, 204),
    (240, 200, 172),
    (229, 184, 143),
    (210, 158, 118),
    (186, 130, 90),
    (150, 100, 68),
    (112, 74, 52),
    (78, 52, 40),
)
_HAIRS: tuple[_Colour, ...] = (
    (22, 18, 18),
    (46, 32, 26),
    (84, 56, 36),
    (128, 84, 46),
    (204, 168, 104),
    (160, 70, 36),
    (140, 138, 136),
    (222, 220, 214),
    (120, 60, 130),
)


@dataclass(frozen=True, slots=True)
class _Look:
    """What a person looks like; all lengths in face units, angles in radians."""

    skin: _Colour
    hair: _Colour
    shirt: _Colour
    hair_style: str
    mouth: str
    accessory: str
    beard: bool
    jaw: float
    eye: float
    tilt: float
    yaw: float  # -1 to 1: how far the features are shifted to a side.


@dataclass(frozen=True, slots=True)
class _Person:
    """A look at a place: the middle of the face and the size of a face unit, in px."""

    look: _Look
    x: float
    y: float
    unit: float

    def box(self) -> tuple[float, float, float, float]:
        """Returns the tight `x, y, w, h` of the face in px, unrounded."""
        points = _outline(self.look) @ _rotation(self.look.tilt).T * self.unit + [self.x, self.y]
        (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
        return x1, y1, x2 - x1, y2 - y1


@dataclass(frozen=True, slots=True)
class _Pen:
    """A canvas `[h, w, C]` uint8 and the `[2, 3]` map from drawing units to its pixels."""

    canvas: np.ndarray
    matrix: np.ndarray

    def fill(self, points: np.ndarray, colour: _Colour) -> None:
        """Fills a polygon `[K, 2]` with anti-aliased edges."""
        cv2.fillPoly(self.canvas, [self._fixed(points)], (*colour, 255), cv2.LINE_AA, shift=4)

    def stroke(self, points: np.ndarray, colour: _Colour, width: float) -> None:
        """Draws a polyline `[K, 2]` of the given width in drawing units."""
        scale = math.sqrt(abs(float(np.linalg.det(self.matrix[:, :2]))))
        thick = max(1, round(width * scale))
        cv2.polylines(
            self.canvas, [self._fixed(points)], False, (*colour, 255), thick, cv2.LINE_AA, 4
        )

    def mapped(self, matrix: np.ndarray) -> "_Pen":
        """Returns a pen whose units are first mapped by `[2, 3]` `matrix`."""
        linear = self.matrix[:, :2]
        moved = linear @ matrix[:, 2:] + self.matrix[:, 2:]
        return _Pen(self.canvas, np.concatenate([linear @ matrix[:, :2], moved], axis=1))

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        # cv2 puts pixel centres at whole numbers; edges are whole numbers everywhere else.
        pixels = points @ self.matrix[:, :2].T + self.matrix[:, 2] - 0.5
        return np.rint(pixels * 16).astype(np.int32)


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


def draw_image(
    rng: np.random.Generator, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws one picture.

    About 8 % of the pictures have no face and 8 % are crowds; most others have 1 to 6 faces.
    Boxes are tight around the face without hair, lie inside the picture, and are 12 to 400 px
    high, at most 0.9 of the shorter side.

    Args:
        rng: Source of all randomness.
        height: Picture height in px, from `SMALLEST_SIDE_PX`.
        width: Picture width in px, from `SMALLEST_SIDE_PX`.

    Returns:
        rgb: `[height, width, 3]` uint8.
        boxes: `[F, 4]` float32, whole `x, y, w, h` in px. `F` may be 0.
        attributes: `[F, 6]` int64 in `ATTRIBUTES` order: blur and occlusion follow the true
            sigma and covered share; a face that is covered almost wholly is flagged invalid.
    """
    image = _background(rng, height, width)
    _draw_distractors(rng, image)
    people = _place_people(rng, height, width)
    owner = np.full((height, width), -1, np.int16)
    blur_px = float(rng.uniform(0.4, 1.3)) if rng.random() < 0.1 else 0.0
    dim = float(rng.uniform(0.2, 0.4)) if rng.random() < 0.05 else float(rng.uniform(0.8, 1.1))
    light = float(rng.uniform(0, 2 * math.pi))
    rows, areas = [], []
    for index, person in enumerate(people):
        area, sigma_px, extreme = _draw_person(rng, image, owner, person, light)
        if rng.random() < 0.18:
            _draw_occluder(rng, image, owner, person)
        areas.append(area)
        owner[owner == _NEW] = index
        rows.append(_attributes(person, math.hypot(sigma_px, blur_px), extreme or dim < 0.5))
    attributes = np.array(rows, np.int64).reshape(-1, len(ATTRIBUTES))
    _set_occlusion(attributes, owner, areas)
    boxes = np.array([_whole_box(p, height, width) for p in people], np.float32).reshape(-1, 4)
    return _camera(rng, image, blur_px, dim), boxes, attributes


_NEW = -2  # The owner of face pixels that are being drawn.


def _check_settings(images: int, seed: int, split: str, width: int, height: int) -> None:
    if images < 1:
        raise UserError(f"--images must be at least 1. Received: {images}.")
    if seed < 0:
        raise UserError(f"--seed must be 0 or more. Received: {seed}.")
    if min(width, height) < 2 * SMALLEST_SIDE_PX:
        raise UserError(
            f"--width and --height must be at least {2 * SMALLEST_SIDE_PX} px. "
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


# --- People: who stands where -------------------------------------------------------------------


def _place_people(rng: np.random.Generator, height: int, width: int) -> list[_Person]:
    """Places people so that heads hardly overlap; from the highest chin to the lowest.

    In this order the body of a later person never hides an earlier face.
    """
    kind = rng.random()
    largest = min(LARGEST_FACE_PX, 0.9 * min(height, width))
    if kind < _EMPTY_SHARE:
        return []
    if kind < _EMPTY_SHARE + _CROWD_SHARE:
        count = int(rng.integers(20, 61))
        middle = rng.uniform(14, max(16, 0.09 * min(height, width)))
        sizes = np.maximum(SMALLEST_FACE_PX, middle * rng.uniform(0.8, 1.25, count))
    else:
        count = int(rng.integers(1, 7)) if rng.random() < 0.92 else int(rng.integers(7, 15))
        sizes = np.exp(rng.uniform(math.log(SMALLEST_FACE_PX), math.log(largest), count))
    people: list[_Person] = []
    for size in sorted(sizes.tolist(), reverse=True):
        person = _try_place(rng, size, (height, width), people)
        if person is not None:
            people.append(person)
    return sorted(people, key=lambda p: p.box()[1] + p.box()[3])


def _try_place(
    rng: np.random.Generator, size: float, shape: tuple[int, int], people: Sequence[_Person]
) -> _Person | None:
    look = _draw_look(rng)
    _, top, wide, high = _Person(look, 0.0, 0.0, 1.0).box()
    # A tilted face may be wider than high: `size` is its height, but the width must fit too.
    unit = min(size / high, 0.95 * shape[1] / wide)
    others = np.array([p.box() for p in people]).reshape(-1, 4)
    for _ in range(30):
        x = rng.uniform(0, shape[1] - wide * unit) + wide * unit / 2
        y = rng.uniform(0, shape[0] - high * unit) - top * unit
        person = _Person(look, x, y, unit)
        if _covered_share(np.array(person.box()), others) <= 0.12:
            return person
    return None


def _covered_share(box: np.ndarray, others: np.ndarray) -> float:
    """Returns the largest intersection over the smaller area, with room for hair around `box`."""
    if len(others) == 0:
        return 0.0
    room = np.array([0.15, 0.2]) * box[2:]
    low = np.maximum(box[:2] - room, others[:, :2])
    high = np.minimum(box[:2] + box[2:] + room, others[:, :2] + others[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=1)
    return float((shared / np.minimum(box[2] * box[3], others[:, 2] * others[:, 3])).max())


def _draw_look(rng: np.random.Generator) -> _Look:
    skin = _jitter(rng, _pick(rng, _SKINS), 10)
    styles = ("short", "side", "fringe", "long", "afro", "bun", "buzz", "bald")
    return _Look(
        skin=skin,
        hair=_jitter(rng, _pick(rng, _HAIRS, (8, 7, 5, 4, 4, 2, 3, 2, 0.7)), 8),
        shirt=_muted(rng, 0.7),
        hair_style=_pick(rng, styles, (6, 4, 3, 6, 2, 2, 2, 1.5)),
        mouth=_pick(rng, ("closed", "smile", "teeth", "open", "shout"), (5, 4, 3, 1.5, 1)),
        accessory=_pick(
            rng,
            ("none", "glasses", "sunglasses", "hat", "cap", "mask"),
            (14, 2.5, 0.9, 0.9, 1.2, 0.8),
        ),
        beard=rng.random() < 0.13,
        jaw=float(rng.uniform(0.02, 0.3)),
        eye=float(rng.uniform(0.8, 1.25)),
        tilt=math.radians(float(np.clip(rng.normal(0, 12), -35, 35))),
        yaw=float(np.clip(rng.normal(0, 0.35), -1, 1)),
    )


def _whole_box(person: _Person, height: int, width: int) -> tuple[float, float, float, float]:
    x, y, w, h = person.box()
    x1, y1 = max(0, round(x)), max(0, round(y))
    return x1, y1, min(width, round(x + w)) - x1, min(height, round(y + h)) - y1


def _attributes(person: _Person, sigma_px: float, extreme_light: bool) -> list[int]:
    sharpness = sigma_px / person.unit
    look = person.look
    values = {
        "blur": int(sharpness > 0.05) + int(sharpness > 0.12),
        "expression": int(look.mouth == "shout"),
        "illumination": int(extreme_light),
        "pose": int(abs(look.tilt) > math.radians(25) or abs(look.yaw) > 0.7),
    }
    return [values.get(name, 0) for name in ATTRIBUTES]


def _set_occlusion(attributes: np.ndarray, owner: np.ndarray, areas: Sequence[int]) -> None:
    """Sets occlusion (WIDER: partial from 1 %, heavy from 30 %) and invalid in place."""
    if not areas:
        return
    seen = np.bincount(owner[owner >= 0].ravel(), minlength=len(areas))
    covered = 1 - seen / np.maximum(areas, 1)
    attributes[:, ATTRIBUTES.index("occlusion")] = np.digitize(covered, (0.01, 0.3))
    attributes[:, ATTRIBUTES.index("invalid")] = covered > 0.85


# --- People: drawing ----------------------------------------------------------------------------


def _draw_person(
    rng: np.random.Generator,
    image: np.ndarray,
    owner: np.ndarray,
    person: _Person,
    light: float,
) -> tuple[int, float, bool]:
    """Draws a person onto `image` and marks the visible face as `_NEW` in `owner`.

    Returns:
        The face's area in px, the sigma of its blur in px and whether its light is extreme.
    """
    window = _window(person, image.shape)
    if window is None:
        return 0, 0.0, False
    rows, columns = window
    zoom = 4 if person.unit < 20 else 2 if person.unit < 60 else 1
    high, wide = rows.stop - rows.start, columns.stop - columns.start
    canvas = np.zeros((high * zoom, wide * zoom, 4), np.uint8)
    offset = person.x - columns.start, person.y - rows.start
    upright = _Pen(canvas, np.array([[1, 0, offset[0]], [0, 1, offset[1]]]) * zoom)
    upright = upright.mapped(np.eye(2, 3) * person.unit)
    covers = _paint_person(upright, person.look)
    layer = cv2.resize(canvas, (wide, high), interpolation=cv2.INTER_AREA).astype(np.float32)
    extreme = _light_up(rng, layer, offset, person.unit, light)
    sigma_px = _blur_layer(rng, layer, person.unit)
    view = image[rows, columns]
    view[:] = np.rint(view * (1 - layer[..., 3:] / 255) + layer[..., :3])
    area = _mark(owner[rows, columns], layer[..., 3] > 127, upright, person, covers)
    return area, sigma_px, extreme
