"""Who is in a picture: what people look like and where they stand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssh_tf.data.synthetic.colors import HAIRS, SKINS, Color, jitter, muted, pick
from ssh_tf.data.synthetic.shapes import blob, rotation

SMALLEST_FACE_PX = 12
LARGEST_FACE_PX = 400
HALF_WIDTH = 0.8  # Face units; the half height is 1, which makes height / width 1.25.

_EMPTY_SHARE, _CROWD_SHARE = 0.08, 0.08


@dataclass(frozen=True, slots=True)
class Look:
    """What a person looks like; all lengths in face units, angles in radians."""

    skin: Color
    hair: Color
    shirt: Color
    hair_style: str
    mouth: str
    accessory: str
    beard: bool
    jaw: float
    eye: float
    tilt: float
    yaw: float  # -1 to 1: how far the features are shifted to a side.


@dataclass(frozen=True, slots=True)
class Person:
    """A look at a place: the middle of the face and the size of a face unit, in px."""

    look: Look
    x: float
    y: float
    unit: float

    def box(self) -> tuple[float, float, float, float]:
        """Returns the tight `x, y, w, h` of the face in px, unrounded."""
        points = face_outline(self.look) @ rotation(self.look.tilt).T * self.unit
        x1, y1 = np.add(points.min(axis=0), (self.x, self.y)).tolist()
        width, height = np.ptp(points, axis=0).tolist()
        return x1, y1, width, height


def place_people(
    rng: np.random.Generator, height: int, width: int, smallest_px: int
) -> list[Person]:
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
        sizes = np.maximum(smallest_px, middle * rng.uniform(0.8, 1.25, count))
    else:
        count = int(rng.integers(1, 7)) if rng.random() < 0.92 else int(rng.integers(7, 15))
        sizes = np.exp(rng.uniform(math.log(smallest_px), math.log(largest), count))
    people: list[Person] = []
    for size in sorted(sizes.tolist(), reverse=True):
        person = _try_place(rng, size, (height, width), people)
        if person is not None:
            people.append(person)
    return sorted(people, key=lambda p: p.box()[1] + p.box()[3])


def _try_place(
    rng: np.random.Generator, size: float, shape: tuple[int, int], people: Sequence[Person]
) -> Person | None:
    look = _draw_look(rng)
    _, top, wide, high = Person(look, 0.0, 0.0, 1.0).box()
    # A tilted face may be wider than high: `size` is its height, but the width must fit too.
    unit = min(size / high, 0.95 * shape[1] / wide)
    others = np.array([p.box() for p in people]).reshape(-1, 4)
    for _ in range(30):
        x = rng.uniform(0, shape[1] - wide * unit) + wide * unit / 2
        y = rng.uniform(0, shape[0] - high * unit) - top * unit
        person = Person(look, x, y, unit)
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


def _draw_look(rng: np.random.Generator) -> Look:
    skin = jitter(rng, pick(rng, SKINS), 10)
    styles = ("short", "side", "fringe", "long", "afro", "bun", "buzz", "bald")
    return Look(
        skin=skin,
        hair=jitter(rng, pick(rng, HAIRS, (8, 7, 5, 4, 4, 2, 3, 2, 0.7)), 8),
        shirt=muted(rng, 0.7),
        hair_style=pick(rng, styles, (6, 4, 3, 6, 2, 2, 2, 1.5)),
        mouth=pick(rng, ("closed", "smile", "teeth", "open", "shout"), (5, 4, 3, 1.5, 1)),
        accessory=pick(
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


def face_outline(look: Look) -> np.ndarray:
    """Returns the face's edge `[K, 2]` in face units: an ellipse that narrows to the chin."""
    points = blob(0, 0, HALF_WIDTH, 1, 48)
    points[:, 0] *= 1 - look.jaw * np.maximum(points[:, 1], 0) ** 2
    return points
