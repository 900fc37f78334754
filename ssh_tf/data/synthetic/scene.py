"""Composes a picture: background, distractors, people from far to near, the camera."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ssh_tf.data.annotations import ATTRIBUTES
from ssh_tf.data.synthetic.backgrounds import draw_background
from ssh_tf.data.synthetic.heads import paint_person, tilted, turned
from ssh_tf.data.synthetic.people import (
    HALF_WIDTH,
    SMALLEST_FACE_PX,
    Look,
    Person,
    face_outline,
    place_people,
)
from ssh_tf.data.synthetic.shapes import Pen, blur, placed
from ssh_tf.data.synthetic.things import draw_distractors, occluder

SMALLEST_SIDE_PX = 64


@dataclass(frozen=True, slots=True)
class Scene:
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


def draw_image(
    rng: np.random.Generator, height: int, width: int, smallest_px: int = SMALLEST_FACE_PX
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws one picture.

    About 8 % of the pictures have no face and 8 % are crowds; most others have 1 to 6 faces.
    Boxes are tight around the face without hair, lie inside the picture, and are `smallest_px` to
    400 px high, at most 0.9 of the shorter side.

    Args:
        rng: Source of all randomness.
        height: Picture height in px, from `SMALLEST_SIDE_PX`.
        width: Picture width in px, from `SMALLEST_SIDE_PX`.
        smallest_px: Minimum face height, px.

    Returns:
        `(rgb, boxes, attributes)`: `[height, width, 3]` uint8; `[F, 4]` float32, whole `x, y, w, h`
        in px, `F` may be 0; `[F, 6]` int64 in `ATTRIBUTES` order: blur and occlusion follow the
        true sigma and covered share. A face covered by more than 70 % is flagged invalid, one by
        more than 90 % is not listed.
    """
    scene = Scene(
        image=draw_background(rng, height, width),
        owner=np.full((height, width), -1, np.int16),
        light=float(rng.uniform(0, 2 * math.pi)),
        blur_px=float(rng.uniform(0.4, 1.3)) if rng.random() < 0.1 else 0.0,
        dim=float(rng.uniform(0.3, 0.45) if rng.random() < 0.05 else rng.uniform(0.8, 1.1)),
    )
    draw_distractors(rng, scene.image)
    people = place_people(rng, height, width, smallest_px)
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


def _whole_box(person: Person, height: int, width: int) -> tuple[float, float, float, float]:
    x, y, w, h = person.box()
    x1, y1 = max(0, round(x)), max(0, round(y))
    return x1, y1, min(width, round(x + w)) - x1, min(height, round(y + h)) - y1


def _attributes(person: Person, sigma_px: float, extreme_light: bool) -> list[int]:
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


def _draw_person(
    rng: np.random.Generator, scene: Scene, person: Person, index: int
) -> tuple[int, float, bool]:
    """Draws a person and enters the visible part of the face in `scene.owner`.

    Returns:
        The face's area in px, the sigma of its blur in px and whether its light is extreme.
    """
    rows, columns = _window(person, scene.owner.shape)
    high, wide = rows.stop - rows.start, columns.stop - columns.start
    # Small faces are drawn larger and averaged: lines of less than a pixel become gray levels.
    zoom = 4 if person.unit < 20 else 2 if person.unit < 60 else 1
    canvas = np.zeros((high * zoom, wide * zoom, 4), np.uint8)
    x, y = person.x - columns.start, person.y - rows.start
    to_pixels = np.array([[person.unit, 0, x], [0, person.unit, y]])
    covers = paint_person(Pen(canvas, to_pixels * zoom), person.look)
    # Colors drawn on zeros with their coverage as fourth channel are premultiplied by it.
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
    face = _covered(owner.shape, to_pixels, person.look, [face_outline(person.look)], inner=False)
    owner[face] = index
    owner[_covered(owner.shape, to_pixels, person.look, covers, inner=True)] = -1
    return int(face.sum()), sigma_px, extreme or scene.dim < 0.5


def _window(person: Person, shape: Sequence[int]) -> tuple[slice, slice]:
    """Returns the rows and columns that a person with hair and shoulders can touch."""
    x1, x2 = person.x - 2.2 * person.unit, person.x + 2.2 * person.unit
    y1, y2 = person.y - 2.1 * person.unit, person.y + 8 * person.unit
    rows = slice(max(0, math.floor(y1)), min(shape[0], math.ceil(y2)))
    return rows, slice(max(0, math.floor(x1)), min(shape[1], math.ceil(x2)))


def _covered(
    shape: Sequence[int],
    to_pixels: np.ndarray,
    look: Look,
    polygons: Sequence[np.ndarray],
    *,
    inner: bool,
) -> np.ndarray:
    """Returns the `[h, w]` bool mask of polygons given in head units (`inner`: feature units)."""
    pen = Pen(np.zeros(shape, np.uint8), to_pixels).mapped(tilted(look))
    pen = pen.mapped(turned(look)) if inner else pen
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
    return blur(layer, sigma), sigma


def _draw_occluder(rng: np.random.Generator, scene: Scene, person: Person) -> None:
    """Draws something that reaches over one side of the face."""
    angle = rng.uniform(0, 2 * math.pi)
    # The thing is about a disc of radius 1 here; its rim reaches `depth` into the face.
    size = rng.uniform(0.6, 1.2)
    depth = rng.uniform(0.15, 0.95)
    away = np.array([math.cos(angle) * HALF_WIDTH, math.sin(angle)])
    away *= 1 + (size - depth) / np.linalg.norm(away)
    x, y = np.array([person.x, person.y]) + away * person.unit
    to_pixels = placed(x, y, size * person.unit, rng.uniform(-0.5, 0.5))
    mask = np.zeros(scene.owner.shape, np.uint8)
    for points, color in occluder(rng):
        Pen(scene.image, to_pixels).fill(points, color)
        Pen(mask, to_pixels).fill(points, (255, 255, 255))
    scene.owner[mask > 127] = -1


def _camera(rng: np.random.Generator, scene: Scene) -> np.ndarray:
    """Returns the picture as taken: blurred, tinted or gray, dimmed and noisy."""
    image = scene.image if scene.blur_px == 0 else blur(scene.image, scene.blur_px)
    if rng.random() < 0.05:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        tint = np.ones(3, np.float32)
    else:
        tint = rng.normal(1, 0.035, 3).astype(np.float32)
    grain = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0.5, 6))
    taken: np.ndarray = np.clip(image * (tint * np.float32(scene.dim)) + grain, 0, 255)
    return taken.astype(np.uint8)
