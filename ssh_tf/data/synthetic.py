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
SMALLEST_MEAN_SIDE_PX = 96  # Times exp(-0.35), the most that a side shrinks, is above the smallest.
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
        points = _outline(self.look) @ _rotation(self.look.tilt).T * self.unit
        x1, y1 = (points.min(axis=0) + (self.x, self.y)).tolist()
        width, height = np.ptp(points, axis=0).tolist()
        return x1, y1, width, height


@dataclass(frozen=True, slots=True)
class _Scene:
    """A picture in the making.

    Attributes:
        image: `[H, W, 3]` uint8 RGB, drawn on in place.
        owner: `[H, W]` int16, the index of the person whose face shows there, else -1.
        light: Direction of the light in radians.
        blur_px: Sigma of the camera's blur.
        dim: Brightness that the camera gives the picture.
    """

    image: np.ndarray
    owner: np.ndarray
    light: float
    blur_px: float
    dim: float


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
        fixed: np.ndarray = np.rint(pixels * 16).astype(np.int32)
        return fixed


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
            sigma and covered share. A face covered by more than 70 % is flagged invalid, one by
            more than 90 % is not listed.
    """
    scene = _Scene(
        image=_background(rng, height, width),
        owner=np.full((height, width), -1, np.int16),
        light=float(rng.uniform(0, 2 * math.pi)),
        blur_px=float(rng.uniform(0.4, 1.3)) if rng.random() < 0.1 else 0.0,
        dim=float(rng.uniform(0.3, 0.45) if rng.random() < 0.05 else rng.uniform(0.8, 1.1)),
    )
    _draw_distractors(rng, scene.image)
    people = _place_people(rng, height, width)
    rows, areas = [], []
    for index, person in enumerate(people):
        area, sigma_px, extreme = _draw_person(rng, scene, person, index)
        if rng.random() < 0.14:
            _draw_occluder(rng, scene, person)
        areas.append(area)
        rows.append(_attributes(person, math.hypot(sigma_px, scene.blur_px), extreme))
    attributes = np.array(rows, np.int64).reshape(-1, len(ATTRIBUTES))
    boxes = np.array([_whole_box(p, height, width) for p in people], np.float32).reshape(-1, 4)
    covered = _covered_shares(scene.owner, areas)
    # WIDER calls occlusion partial from 1 % and heavy from 30 % on.
    attributes[:, ATTRIBUTES.index("occlusion")] = np.digitize(covered, (0.01, 0.3))
    attributes[:, ATTRIBUTES.index("invalid")] = covered > 0.7
    shown = covered <= 0.9
    return _camera(rng, scene), boxes[shown], attributes[shown]


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
        if _crowding(np.array(person.box()), others) <= 0.12:
            return person
    return None


def _crowding(box: np.ndarray, others: np.ndarray) -> float:
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
    softness = sigma_px / person.unit
    look = person.look
    values = {
        "blur": int(softness > 0.03) + int(softness > 0.08),
        "expression": int(look.mouth == "shout"),
        "illumination": int(extreme_light),
        "pose": int(abs(look.tilt) > math.radians(25) or abs(look.yaw) > 0.7),
    }
    return [values.get(name, 0) for name in ATTRIBUTES]


def _covered_shares(owner: np.ndarray, areas: Sequence[int]) -> np.ndarray:
    """Returns the share `[F]` of each face that something lies over, 0 to 1."""
    seen = np.bincount(owner[owner >= 0].ravel(), minlength=len(areas))
    shares: np.ndarray = 1 - seen / np.maximum(np.array(areas, np.int64), 1)
    return shares


# --- People: drawing ----------------------------------------------------------------------------


def _draw_person(
    rng: np.random.Generator, scene: _Scene, person: _Person, index: int
) -> tuple[int, float, bool]:
    """Draws a person and enters the visible part of the face in `scene.owner`.

    Returns:
        The face's area in px, the sigma of its blur in px and whether its light is extreme.
    """
    rows, columns = _window(person, scene.owner.shape)
    high, wide = rows.stop - rows.start, columns.stop - columns.start
    # Small faces are drawn larger and averaged: lines of less than a pixel become grey levels.
    zoom = 4 if person.unit < 20 else 2 if person.unit < 60 else 1
    canvas = np.zeros((high * zoom, wide * zoom, 4), np.uint8)
    x, y = person.x - columns.start, person.y - rows.start
    to_pixels = np.array([[person.unit, 0, x], [0, person.unit, y]])
    covers = _paint_person(_Pen(canvas, to_pixels * zoom), person.look)
    # Colours drawn on zeros with their coverage as fourth channel are premultiplied by it.
    layer = cv2.resize(canvas, (wide, high), interpolation=cv2.INTER_AREA).astype(np.float32)
    u = ((np.arange(wide, dtype=np.float32) + 0.5 - x) / person.unit)[None, :]
    v = ((np.arange(high, dtype=np.float32) + 0.5 - y) / person.unit)[:, None]
    gain, extreme = _shade(rng, u, v, scene.light)
    layer[..., :3] = np.minimum(layer[..., :3] * gain[..., None], layer[..., 3:])
    layer, sigma_px = _blur_layer(rng, layer, person.unit)
    view = scene.image[rows, columns]
    view[:] = np.rint(view * (1 - layer[..., 3:] / 255) + layer[..., :3])

    owner = scene.owner[rows, columns]
    owner[layer[..., 3] > 127] = -1
    face = _covered(owner.shape, to_pixels, person.look, [_outline(person.look)], inner=False)
    owner[face] = index
    owner[_covered(owner.shape, to_pixels, person.look, covers, inner=True)] = -1
    return int(face.sum()), sigma_px, extreme or scene.dim < 0.5


def _window(person: _Person, shape: Sequence[int]) -> tuple[slice, slice]:
    """Returns the rows and columns that a person with hair and shoulders can touch."""
    x1, x2 = person.x - 2.2 * person.unit, person.x + 2.2 * person.unit
    y1, y2 = person.y - 2.1 * person.unit, person.y + 8 * person.unit
    rows = slice(max(0, math.floor(y1)), min(shape[0], math.ceil(y2)))
    return rows, slice(max(0, math.floor(x1)), min(shape[1], math.ceil(x2)))


def _covered(
    shape: Sequence[int],
    to_pixels: np.ndarray,
    look: _Look,
    polygons: Sequence[np.ndarray],
    *,
    inner: bool,
) -> np.ndarray:
    """Returns the `[h, w]` bool mask of polygons given in head units (`inner`: feature units)."""
    pen = _Pen(np.zeros(shape, np.uint8), to_pixels).mapped(_tilted(look))
    pen = pen.mapped(_turned(look)) if inner else pen
    for points in polygons:
        pen.fill(points, (255, 255, 255))
    return pen.canvas > 127


def _shade(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray, light: float
) -> tuple[np.ndarray, bool]:
    """Returns the brightness `[h, w]` at the face units `u`, `v` and whether it is extreme."""
    side = math.cos(light) * u + math.sin(light) * v
    roundness = 1.04 - 0.2 * np.minimum(np.hypot(u / 0.9, v / 1.15), 1.3) ** 2
    kind = rng.random()
    if kind < 0.06:
        return roundness * rng.uniform(0.28, 0.45), True
    if kind < 0.12:
        return roundness * np.clip(0.75 + rng.uniform(0.8, 1.2) * side, 0.12, 1.35), True
    return roundness * np.clip(1 + rng.uniform(0, 0.25) * side, 0.6, 1.2), False


def _blur_layer(
    rng: np.random.Generator, layer: np.ndarray, unit: float
) -> tuple[np.ndarray, float]:
    if rng.random() > 0.2:
        return layer, 0.0
    sigma = unit * float(rng.uniform(0.04, 0.08) if rng.random() < 0.6 else rng.uniform(0.08, 0.14))
    return _blur(layer, sigma), sigma


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blurs by about `sigma` px; wide blurs on a shrunk copy, since a wide kernel is slow."""
    shrink = max(1, int(sigma / 2))
    size = image.shape[1], image.shape[0]
    small = tuple(max(1, side // shrink) for side in size)
    blurred = cv2.GaussianBlur(
        cv2.resize(image, small, interpolation=cv2.INTER_AREA), (0, 0), sigma / shrink
    )
    return cv2.resize(blurred, size, interpolation=cv2.INTER_LINEAR)


def _paint_person(pen: _Pen, look: _Look) -> list[np.ndarray]:
    """Paints body and head; returns the polygons, in feature units, that cover the face."""
    head = pen.mapped(_tilted(look))
    inner = head.mapped(_turned(look))
    _paint_back_hair(head, look)
    _paint_body(pen, look)
    _paint_skull(head, look)
    if look.beard:
        _paint_beard(head, look)
    _paint_eyes(inner, look)
    _paint_nose(inner, look)
    _paint_mouth(inner, look)
    _paint_front_hair(head, look)
    if look.accessory in ("hat", "cap"):
        _paint_headgear(head, look)
        return []
    return _paint_on_face(inner, look)


def _paint_back_hair(pen: _Pen, look: _Look) -> None:
    dark = _times(look.hair, 0.8)
    if look.hair_style == "long":
        pen.fill(_blob(0, 0.1, 1.08, 1.4), dark)
        pen.fill(np.array([[-1.05, 0], [1.05, 0], [1.1, 1.7], [-1.1, 1.7]]), dark)
    elif look.hair_style == "afro":
        pen.fill(_blob(0, -0.35, 1.3, 1.2), look.hair)
    elif look.hair_style == "bun":
        pen.fill(_blob(0, -1.4, 0.42, 0.4), dark)


def _paint_body(pen: _Pen, look: _Look) -> None:
    x, y = _rotation(look.tilt) @ [0, 0.6]
    neck = np.array([[x - 0.42, y], [x + 0.42, y], [0.5, 1.6], [-0.5, 1.6]])
    for side in (-1, 1):
        leg = np.array([[0, 5.4], [side * 1.5, 5.4], [side * 1.3, 8.0], [side * 0.4, 8.0]])
        pen.fill(leg, _times(look.shirt[::-1], 0.6))
    pen.fill(_blob(0, 3.1, 2.1, 1.75), look.shirt)
    pen.fill(np.array([[-2.1, 3.1], [2.1, 3.1], [1.6, 5.8], [-1.6, 5.8]]), look.shirt)
    pen.fill(_blob(0, 1.42, 0.6, 0.25), _times(look.shirt, 0.8))
    pen.fill(neck, _times(look.skin, 0.78))


def _paint_skull(pen: _Pen, look: _Look) -> None:
    outline = _outline(look)
    for side in (-1, 1):
        if side * look.yaw > -0.4:  # The far ear hides when the head turns.
            pen.fill(_blob(side * -0.8, 0.02, 0.13, 0.22), _times(look.skin, 0.85))
    temples = look.skin if look.hair_style == "bald" else look.hair
    pen.fill(_blob(0, -0.45, 0.8, 0.6), temples)
    pen.fill(outline, _times(look.skin, 0.86))
    pen.fill(outline * [0.95, 0.96] - [0, 0.015], look.skin)


def _paint_beard(pen: _Pen, look: _Look) -> None:
    outline = _outline(look)
    jaw = outline[outline[:, 1] > 0.15]
    low = jaw[np.argsort(-jaw[:, 0])]
    pen.fill(np.concatenate([low, [[-0.4, 0.42], [0, 0.3], [0.4, 0.42]]]), look.hair)


def _paint_eyes(pen: _Pen, look: _Look) -> None:
    dark = _times(look.skin, 0.25)
    for side in (-1, 1):
        x, y, size = side * 0.34, -0.13, look.eye
        pen.fill(_blob(x, y, 0.25, 0.17), _times(look.skin, 0.8))
        pen.fill(_blob(x, y, 0.17 * size, 0.1 * size), (238, 236, 232))
        pen.fill(_blob(x + 0.05 * look.yaw, y, 0.09 * size, 0.1 * size), (62, 44, 36))
        pen.fill(_blob(x + 0.05 * look.yaw, y, 0.045 * size, 0.05 * size), (10, 8, 8))
        pen.stroke(_arc(x, y + 0.02, 0.18 * size, 0.13 * size, 1.08, 1.92), dark, 0.035)
        brow = _arc(x + side * 0.02, y - 0.02, 0.24, 0.24, 1.18, 1.82)
        pen.stroke(brow, _times(look.hair, 0.75), 0.075)


def _paint_nose(pen: _Pen, look: _Look) -> None:
    side = 1 if look.yaw >= 0 else -1
    bridge = np.array([[0, -0.15], [side * 0.15, 0.24], [0, 0.28]])
    pen.fill(bridge, _times(look.skin, 0.82))
    for x in (-0.075, 0.075):
        pen.fill(_blob(x, 0.25, 0.045, 0.03), _times(look.skin, 0.4))


def _paint_mouth(pen: _Pen, look: _Look) -> None:
    lips: _Colour = (0.75 * look.skin[0], 0.45 * look.skin[1], 0.45 * look.skin[2])
    inside: _Colour = (70, 20, 24)
    if look.mouth == "closed":
        pen.fill(_blob(0, 0.55, 0.28, 0.075), lips)
        pen.stroke(np.array([[-0.27, 0.55], [0.27, 0.55]]), _times(lips, 0.6), 0.03)
    elif look.mouth == "smile":
        pen.stroke(_arc(0, 0.4, 0.34, 0.22, 0.08, 0.92), _times(lips, 0.75), 0.08)
    elif look.mouth == "teeth":
        pen.fill(_arc(0, 0.44, 0.37, 0.27, 0, 1), lips)
        pen.fill(_arc(0, 0.47, 0.3, 0.18, 0, 1), (244, 242, 236))
    else:
        size = 1.0 if look.mouth == "open" else 1.75
        pen.fill(_blob(0, 0.58, 0.22 * math.sqrt(size), 0.14 * size), lips)
        pen.fill(_blob(0, 0.58, 0.17 * math.sqrt(size), 0.1 * size), inside)


def _paint_front_hair(pen: _Pen, look: _Look) -> None:
    """Paints the hair on top of the skull, its lower edge about at the hairline."""
    if look.hair_style == "bald":
        return
    rise = {"buzz": 0.06, "afro": 0.5, "long": 0.3}.get(look.hair_style, 0.22)
    dips = {"side": (0.12, 0.5), "fringe": (0.42, 0.42), "buzz": (0.12, 0.12)}
    left, right = dips.get(look.hair_style, (0.15, 0.15))
    crown = _arc(0, -0.3, 0.88, 0.86 + rise, 1, 2, 24)
    edge = np.array([[0.82, -0.1], [0.7, -0.62], [0.35, right - 1.0], [0, -1.02]])
    edge[3, 1] = (left + right) / 2 - 1.05
    mirrored = edge[:3][::-1] * [-1, 1]
    mirrored[0, 1] = left - 1.0
    pen.fill(np.concatenate([crown, edge, mirrored]), look.hair)


def _paint_headgear(pen: _Pen, look: _Look) -> None:
    colour = _times(look.shirt, 0.7 if sum(look.shirt) > 300 else 1.4)
    pen.fill(_arc(0, -0.8, 0.92, 0.8, 1, 2, 24), colour)
    if look.accessory == "hat":
        pen.fill(_blob(0, -0.83, 1.5, 0.17), _times(colour, 0.8))
    else:
        pen.fill(_arc(0.25 * look.yaw, -0.85, 0.75, 0.26, 0, 1), _times(colour, 0.65))


def _paint_on_face(pen: _Pen, look: _Look) -> list[np.ndarray]:
    """Paints glasses or a mask; returns what hides skin, glass one can see through does not."""
    lenses = [_blob(side * 0.35, -0.1, 0.27, 0.22) for side in (-1, 1)]
    if look.accessory == "mask":
        mask = np.array([[-0.8, 0.1], [0, 0.0], [0.8, 0.1], [0.7, 0.6], [0.3, 1.0], [-0.3, 1.0]])
        mask = np.concatenate([mask, [[-0.7, 0.6]]])
        cloth: _Colour = (186, 208, 222)
        pen.fill(mask, cloth)
        for y in (0.3, 0.55):
            pen.stroke(np.array([[-0.6, y], [0.6, y]]), _times(cloth, 0.85), 0.03)
        return [mask]
    if look.accessory in ("glasses", "sunglasses"):
        for lens in lenses:
            if look.accessory == "sunglasses":
                pen.fill(lens, (24, 24, 30))
            pen.stroke(np.concatenate([lens, lens[:1]]), (30, 26, 26), 0.05)
        pen.stroke(np.array([[-0.08, -0.12], [0.08, -0.12]]), (30, 26, 26), 0.05)
    return lenses if look.accessory == "sunglasses" else []


def _draw_occluder(rng: np.random.Generator, scene: _Scene, person: _Person) -> None:
    """Draws something that reaches over one side of the face."""
    angle = rng.uniform(0, 2 * math.pi)
    # The thing is about a disc of radius 1 here; its rim reaches `depth` into the face.
    size = rng.uniform(0.6, 1.2)
    depth = rng.uniform(0.15, 0.95)
    away = np.array([math.cos(angle) * _HALF_WIDTH, math.sin(angle)])
    away *= 1 + (size - depth) / np.linalg.norm(away)
    x, y = np.array([person.x, person.y]) + away * person.unit
    to_pixels = _placed(x, y, size * person.unit, rng.uniform(-0.5, 0.5))
    shapes = _pick(rng, (_board, _pole, _balloon, _hand, _leaves))(rng)
    mask = np.zeros(scene.owner.shape, np.uint8)
    for points, colour in shapes:
        _Pen(scene.image, to_pixels).fill(points, colour)
        _Pen(mask, to_pixels).fill(points, (255, 255, 255))
    scene.owner[mask > 127] = -1


# --- Things: each a list of polygons within about the unit disc, painted in order -----------------

_Shapes = list[tuple[np.ndarray, _Colour]]


def _board(rng: np.random.Generator) -> _Shapes:
    colour = _muted(rng, 0.6)
    width, height = rng.uniform(0.5, 1.0, 2)
    return [
        (_rectangle(-width, -height, width, height), _times(colour, 0.7)),
        (_rectangle(-width * 0.9, -height * 0.9, width * 0.9, height * 0.9), colour),
    ]


def _pole(rng: np.random.Generator) -> _Shapes:
    colour = _muted(rng, 0.4)
    width = rng.uniform(0.15, 0.4)
    return [
        (_rectangle(-width, -6, width, 6), colour),
        (_rectangle(width * 0.3, -6, width * 0.9, 6), _times(colour, 0.75)),
    ]


def _balloon(rng: np.random.Generator) -> _Shapes:
    colour = _muted(rng, 0.8)
    return [
        (_blob(0, 0, 0.9, 1.0), colour),
        (_blob(-0.3, -0.4, 0.16, 0.22), _times(colour, 1.35)),
    ]


def _hand(rng: np.random.Generator) -> _Shapes:
    skin = _jitter(rng, _pick(rng, _SKINS), 10)
    shapes: _Shapes = [(_rectangle(-0.32, 0.2, 0.32, 1.8), _times(skin, 0.9))]
    for finger in range(4):
        x = -0.42 + 0.28 * finger
        tip = -1.0 + 0.12 * abs(finger - 1.5)
        shapes.append((_rectangle(x - 0.12, tip, x + 0.12, 0.1), _times(skin, 0.95)))
        shapes.append((_blob(x, tip, 0.12, 0.12), _times(skin, 0.95)))
    shapes.append((_blob(0, 0.2, 0.55, 0.5), skin))
    shapes.append((_blob(0.6, 0.05, 0.3, 0.14), _times(skin, 0.92)))
    return shapes


def _leaves(rng: np.random.Generator) -> _Shapes:
    green = _hsv(rng.uniform(0.18, 0.38), rng.uniform(0.3, 0.7), rng.uniform(0.25, 0.6))
    places = rng.normal(0, 0.45, (14, 2))
    sizes = rng.uniform(0.15, 0.4, (14, 2))
    tones = rng.uniform(0.7, 1.3, 14)
    return [
        (_blob(x, y, a, b, 12), _times(green, tone))
        for (x, y), (a, b), tone in zip(places, sizes, tones, strict=True)
    ]


def _disc(rng: np.random.Generator) -> _Shapes:
    colour = _pick(rng, (_muted(rng, 0.7), _jitter(rng, _pick(rng, _SKINS), 10)))
    return [(_blob(0, 0, rng.uniform(0.65, 1), 1), colour)]


def _ball(rng: np.random.Generator) -> _Shapes:
    colour, stripe = _muted(rng, 0.7), _muted(rng, 0.7)
    shapes: _Shapes = [(_blob(0, 0, 1, 1), colour)]
    for x in (-0.45, 0.45):
        shapes.append((_blob(x, 0, 0.16, 0.8), stripe))
    shapes.append((_blob(-0.35, -0.45, 0.2, 0.15), _times(colour, 1.3)))
    return shapes


def _clock(rng: np.random.Generator) -> _Shapes:
    rim = _muted(rng, 0.3)
    shapes: _Shapes = [(_blob(0, 0, 1, 1), _times(rim, 0.5)), (_blob(0, 0, 0.88, 0.88), (236,) * 3)]
    for angle in np.linspace(0, 2 * math.pi, 12, endpoint=False):
        shapes.append((_blob(0.75 * math.cos(angle), 0.75 * math.sin(angle), 0.06, 0.06), rim))
    for length, angle in zip((0.45, 0.68), rng.uniform(0, 2 * math.pi, 2), strict=True):
        hand = _rectangle(-0.04, -0.04, length, 0.04) @ _rotation(angle).T
        shapes.append((hand, (20, 20, 24)))
    return shapes


def _one_dot(rng: np.random.Generator) -> _Shapes:
    colour = _jitter(rng, _pick(rng, _SKINS), 10)
    x, y = rng.uniform(-0.35, 0.35, 2)
    return [(_blob(0, 0, 0.8, 1), colour), (_blob(x, y, 0.14, 0.12), _times(colour, 0.25))]


def _socket(rng: np.random.Generator) -> _Shapes:
    plate = _hsv(0.1, 0.08, rng.uniform(0.6, 0.95))
    shapes: _Shapes = [(_rectangle(-0.85, -0.85, 0.85, 0.85), _times(plate, 0.8))]
    shapes.append((_blob(0, 0, 0.65, 0.65), plate))
    shapes.extend((_blob(x, 0, 0.1, 0.1), (30, 30, 30)) for x in (-0.28, 0.28))
    return shapes


def _back_of_head(rng: np.random.Generator) -> _Shapes:
    hair = _jitter(rng, _pick(rng, _HAIRS), 8)
    skin = _jitter(rng, _pick(rng, _SKINS), 10)
    shirt = _muted(rng, 0.7)
    shapes: _Shapes = [(_blob(0, 2.3, 1.6, 1.3), shirt)]
    shapes.append((_rectangle(-0.35, 0.5, 0.35, 1.25), _times(skin, 0.8)))
    shapes.extend((_blob(x, 0.05, 0.12, 0.2), skin) for x in (-0.78, 0.78))
    shapes.append((_blob(0, 0, 0.78, 1), hair))
    shapes.append((_blob(0.1, -0.2, 0.5, 0.6), _times(hair, 1.2)))
    return shapes


def _draw_distractors(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draws things that share one cue with a face: its shape, colour, size, dots or body."""
    if rng.random() < 0.25:
        return
    height, width = image.shape[:2]
    kinds = (_disc, _ball, _clock, _one_dot, _socket, _hand, _back_of_head, _balloon)
    for _ in range(int(rng.integers(1, 8))):
        radius = math.exp(rng.uniform(math.log(5), math.log(0.22 * min(height, width))))
        place = _placed(rng.uniform(0, width), rng.uniform(0, height), radius, rng.normal(0, 0.25))
        for points, colour in _pick(rng, kinds)(rng):
            _Pen(image, place).fill(points, colour)


# --- Background and camera ----------------------------------------------------------------------


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draws a scene without people, `[height, width, 3]` uint8."""
    top, bottom = np.array(_muted(rng, 0.4)), np.array(_muted(rng, 0.4))
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    plain = np.broadcast_to(top * (1 - ramp) + bottom * ramp, (height, width, 3))
    image = np.ascontiguousarray(plain, np.uint8)
    # Units of the shorter side, the origin at the upper left corner.
    unit = min(height, width)
    pen = _Pen(image, np.eye(2, 3) * unit)
    _pick(rng, (_city, _garden, _room, _pattern, _plain))(rng, pen, width / unit, height / unit)
    if rng.random() < 0.5:
        image = _blur(image, unit * rng.uniform(0.002, 0.02))
    fine = int(rng.integers(8, 60))
    clouds = _noise(rng, image.shape, 4) * 50 + _noise(rng, image.shape, fine) * rng.uniform(0, 40)
    return np.clip(image + clouds, 0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator, shape: Sequence[int], cells: int) -> np.ndarray:
    """Returns smooth noise `[H, W, 1]` float32, about -0.5 to 0.5, with `cells` bumps a side."""
    grid = rng.random((cells, cells), np.float32) - 0.5
    return cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)[..., None]


def _city(rng: np.random.Generator, pen: _Pen, width: float, height: float) -> None:
    """Houses with windows on a street."""
    for _ in range(int(rng.integers(3, 9))):
        x, wide = rng.uniform(-0.1, width), rng.uniform(0.15, 0.5)
        roof = rng.uniform(0.05, 0.7) * height
        wall = _muted(rng, 0.35)
        pen.fill(_rectangle(x, roof, x + wide, height), wall)
        lit = _times(wall, _pick(rng, (0.5, 1.5)))
        step = rng.uniform(0.06, 0.12)
        for wx in np.arange(x + step / 2, x + wide - step / 2, step):
            for wy in np.arange(roof + step / 2, height - step, step * 1.3):
                pen.fill(_rectangle(wx, wy, wx + step * 0.5, wy + step * 0.7), lit)
    street = height * rng.uniform(0.8, 0.98)
    pen.fill(_rectangle(0, street, width, height), _muted(rng, 0.1))


def _garden(rng: np.random.Generator, pen: _Pen, width: float, height: float) -> None:
    """Grass, trunks and many leaves."""
    pen.fill(_rectangle(0, height * rng.uniform(0.4, 0.9), width, height), _hsv(0.27, 0.4, 0.45))
    for _ in range(int(rng.integers(0, 4))):
        x, trunk = rng.uniform(0, width), rng.uniform(0.02, 0.08)
        pen.fill(_rectangle(x, 0, x + trunk, height), _hsv(0.08, 0.4, rng.uniform(0.2, 0.45)))
    for _ in range(int(rng.integers(6, 18))):
        place = _placed(rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.06, 0.25), 0)
        for points, colour in _leaves(rng):
            pen.mapped(place).fill(points, colour)


def _room(rng: np.random.Generator, pen: _Pen, width: float, height: float) -> None:
    """A floor, furniture, frames and a striped wall now and then."""
    if rng.random() < 0.4:
        stripe, step = _muted(rng, 0.3), rng.uniform(0.04, 0.15)
        for x in np.arange(0, width, 2 * step):
            pen.fill(_rectangle(x, 0, x + step, height), stripe)
    floor = height * rng.uniform(0.65, 0.95)
    pen.fill(_rectangle(0, floor, width, height), _muted(rng, 0.4))
    for _ in range(int(rng.integers(2, 7))):
        x, y = rng.uniform(-0.1, width), rng.uniform(0, height)
        high, wide = rng.uniform(0.1, 0.6, 2)
        pen.fill(_rectangle(x, y, x + wide, y + high), _muted(rng, 0.5))
        inset = 0.08 * min(high, wide)
        inner = _rectangle(x + inset, y + inset, x + wide - inset, y + high - inset)
        pen.fill(inner, _muted(rng, 0.5))


def _pattern(rng: np.random.Generator, pen: _Pen, width: float, height: float) -> None:
    """Lines and discs in all directions."""
    reach = [width, height]
    for _ in range(int(rng.integers(6, 30))):
        pen.stroke(rng.uniform(0, 1, (2, 2)) * reach, _muted(rng, 0.5), rng.uniform(0.004, 0.05))
    for _ in range(int(rng.integers(0, 14))):
        x, y = rng.uniform(0, 1, 2) * reach
        pen.fill(_blob(x, y, *rng.uniform(0.02, 0.15, 2)), _muted(rng, 0.5))


def _plain(rng: np.random.Generator, pen: _Pen, width: float, height: float) -> None:
    """A wall with one edge, no more."""
    corners = [[0, height], [width, height]]
    edge = [[width, rng.uniform(0.3, 1) * height], [0, rng.uniform(0.3, 1) * height]]
    pen.fill(np.array(corners + edge), _muted(rng, 0.4))


def _camera(rng: np.random.Generator, scene: _Scene) -> np.ndarray:
    """Returns the picture as taken: blurred, tinted or grey, dimmed and noisy."""
    image = scene.image if scene.blur_px == 0 else _blur(scene.image, scene.blur_px)
    if rng.random() < 0.05:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        tint = np.ones(3, np.float32)
    else:
        tint = rng.normal(1, 0.035, 3).astype(np.float32)
    grain = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0.5, 6))
    taken: np.ndarray = np.clip(image * (tint * np.float32(scene.dim)) + grain, 0, 255)
    return taken.astype(np.uint8)


# --- Points, colours, choices -------------------------------------------------------------------


def _outline(look: _Look) -> np.ndarray:
    """Returns the face's edge `[K, 2]` in face units: an ellipse that narrows to the chin."""
    points = _blob(0, 0, _HALF_WIDTH, 1, 48)
    points[:, 0] *= 1 - look.jaw * np.maximum(points[:, 1], 0) ** 2
    return points


def _tilted(look: _Look) -> np.ndarray:
    return np.concatenate([_rotation(look.tilt), np.zeros((2, 1))], axis=1)


def _turned(look: _Look) -> np.ndarray:
    """Returns the `[2, 3]` map of the features of a head that is turned to a side."""
    return np.array([[1 - 0.2 * abs(look.yaw), 0, 0.26 * look.yaw], [0, 1, 0]])


def _rotation(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _placed(x: float, y: float, size: float, angle: float) -> np.ndarray:
    """Returns the `[2, 3]` map that scales, turns and then moves the origin to `x, y`."""
    return np.concatenate([_rotation(angle) * size, [[x], [y]]], axis=1)


def _blob(
    x: float, y: float, half_width: float, half_height: float, points: int = 28
) -> np.ndarray:
    angles = np.linspace(0, 2 * math.pi, points, endpoint=False)
    return np.stack([x + half_width * np.cos(angles), y + half_height * np.sin(angles)], axis=1)


def _arc(
    x: float,
    y: float,
    half_width: float,
    half_height: float,
    start: float,
    stop: float,
    points: int = 14,
) -> np.ndarray:
    """Returns part of an ellipse; angles in half turns, 0 right, 0.5 down, 1 left, 1.5 up."""
    angles = math.pi * np.linspace(start, stop, points)
    return np.stack([x + half_width * np.cos(angles), y + half_height * np.sin(angles)], axis=1)


def _rectangle(x1: float, y1: float, x2: float, y2: float) -> np.ndarray:
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])


def _hsv(hue: float, saturation: float, value: float) -> _Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def _muted(rng: np.random.Generator, most_saturated: float) -> _Colour:
    hue, saturation, value = rng.random(3).tolist()
    return _hsv(hue, most_saturated * saturation, 0.15 + 0.75 * value)


def _times(colour: _Colour, factor: float) -> _Colour:
    red, green, blue = (min(255.0, factor * channel) for channel in colour)
    return red, green, blue


def _jitter(rng: np.random.Generator, colour: _Colour, spread: float) -> _Colour:
    red, green, blue = np.clip(
        np.array(colour) + rng.normal(0, spread) + rng.normal(0, 3, 3), 0, 255
    ).tolist()
    return red, green, blue


def _pick(
    rng: np.random.Generator, items: Sequence[_T], weights: Sequence[float] | None = None
) -> _T:
    """Returns one of `items`; quicker than `rng.choice`, which makes arrays of them."""
    if weights is None:
        return items[int(rng.integers(len(items)))]
    bounds = np.cumsum(weights)
    return items[int(np.searchsorted(bounds, rng.random() * bounds[-1], side="right"))]
