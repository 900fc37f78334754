"""Things as lists of polygons: what hides faces, and distractors that share a cue with one."""

import math

import numpy as np

from ssh_tf.data.synthetic.colors import HAIRS, SKINS, Color, hsv, jitter, muted, pick, scaled
from ssh_tf.data.synthetic.shapes import Pen, blob, placed, rectangle, rotation

Shapes = list[tuple[np.ndarray, Color]]
"""Polygons `[K, 2]` within about the unit disc, painted in order."""


def draw_distractors(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draws things that share one cue with a face: its shape, color, size, dots or body."""
    if rng.random() < 0.25:
        return
    height, width = image.shape[:2]
    kinds = (_disc, _ball, _clock, _one_dot, _socket, _hand, _back_of_head, _balloon)
    for _ in range(int(rng.integers(1, 8))):
        radius = math.exp(rng.uniform(math.log(5), math.log(0.22 * min(height, width))))
        place = placed(rng.uniform(0, width), rng.uniform(0, height), radius, rng.normal(0, 0.25))
        for points, color in pick(rng, kinds)(rng):
            Pen(image, place).fill(points, color)


def occluder(rng: np.random.Generator) -> Shapes:
    """Draws one of the things that may reach over a face."""
    return pick(rng, (_board, _pole, _balloon, _hand, leaves))(rng)


def _board(rng: np.random.Generator) -> Shapes:
    color = muted(rng, 0.6)
    width, height = rng.uniform(0.5, 1.0, 2)
    return [
        (rectangle(-width, -height, width, height), scaled(color, 0.7)),
        (rectangle(-width * 0.9, -height * 0.9, width * 0.9, height * 0.9), color),
    ]


def _pole(rng: np.random.Generator) -> Shapes:
    color = muted(rng, 0.4)
    width = rng.uniform(0.15, 0.4)
    return [
        (rectangle(-width, -6, width, 6), color),
        (rectangle(width * 0.3, -6, width * 0.9, 6), scaled(color, 0.75)),
    ]


def _balloon(rng: np.random.Generator) -> Shapes:
    color = muted(rng, 0.8)
    return [
        (blob(0, 0, 0.9, 1.0), color),
        (blob(-0.3, -0.4, 0.16, 0.22), scaled(color, 1.35)),
    ]


def _hand(rng: np.random.Generator) -> Shapes:
    skin = jitter(rng, pick(rng, SKINS), 10)
    shapes: Shapes = [(rectangle(-0.32, 0.2, 0.32, 1.8), scaled(skin, 0.9))]
    for finger in range(4):
        x = -0.42 + 0.28 * finger
        tip = -1.0 + 0.12 * abs(finger - 1.5)
        shapes.append((rectangle(x - 0.12, tip, x + 0.12, 0.1), scaled(skin, 0.95)))
        shapes.append((blob(x, tip, 0.12, 0.12), scaled(skin, 0.95)))
    shapes.append((blob(0, 0.2, 0.55, 0.5), skin))
    shapes.append((blob(0.6, 0.05, 0.3, 0.14), scaled(skin, 0.92)))
    return shapes


def leaves(rng: np.random.Generator) -> Shapes:
    """Draws foliage."""
    green = hsv(rng.uniform(0.18, 0.38), rng.uniform(0.3, 0.7), rng.uniform(0.25, 0.6))
    places = rng.normal(0, 0.45, (14, 2))
    sizes = rng.uniform(0.15, 0.4, (14, 2))
    tones = rng.uniform(0.7, 1.3, 14)
    return [
        (blob(x, y, a, b, 12), scaled(green, tone))
        for (x, y), (a, b), tone in zip(places, sizes, tones, strict=True)
    ]


def _disc(rng: np.random.Generator) -> Shapes:
    color = pick(rng, (muted(rng, 0.7), jitter(rng, pick(rng, SKINS), 10)))
    return [(blob(0, 0, rng.uniform(0.65, 1), 1), color)]


def _ball(rng: np.random.Generator) -> Shapes:
    color, stripe = muted(rng, 0.7), muted(rng, 0.7)
    shapes: Shapes = [(blob(0, 0, 1, 1), color)]
    for x in (-0.45, 0.45):
        shapes.append((blob(x, 0, 0.16, 0.8), stripe))
    shapes.append((blob(-0.35, -0.45, 0.2, 0.15), scaled(color, 1.3)))
    return shapes


def _clock(rng: np.random.Generator) -> Shapes:
    rim = muted(rng, 0.3)
    shapes: Shapes = [(blob(0, 0, 1, 1), scaled(rim, 0.5)), (blob(0, 0, 0.88, 0.88), (236,) * 3)]
    for angle in np.linspace(0, 2 * math.pi, 12, endpoint=False):
        shapes.append((blob(0.75 * math.cos(angle), 0.75 * math.sin(angle), 0.06, 0.06), rim))
    for length, angle in zip((0.45, 0.68), rng.uniform(0, 2 * math.pi, 2), strict=True):
        hand = rectangle(-0.04, -0.04, length, 0.04) @ rotation(angle).T
        shapes.append((hand, (20, 20, 24)))
    return shapes


def _one_dot(rng: np.random.Generator) -> Shapes:
    color = jitter(rng, pick(rng, SKINS), 10)
    x, y = rng.uniform(-0.35, 0.35, 2)
    return [(blob(0, 0, 0.8, 1), color), (blob(x, y, 0.14, 0.12), scaled(color, 0.25))]


def _socket(rng: np.random.Generator) -> Shapes:
    plate = hsv(0.1, 0.08, rng.uniform(0.6, 0.95))
    shapes: Shapes = [(rectangle(-0.85, -0.85, 0.85, 0.85), scaled(plate, 0.8))]
    shapes.append((blob(0, 0, 0.65, 0.65), plate))
    shapes.extend((blob(x, 0, 0.1, 0.1), (30, 30, 30)) for x in (-0.28, 0.28))
    return shapes


def _back_of_head(rng: np.random.Generator) -> Shapes:
    hair = jitter(rng, pick(rng, HAIRS), 8)
    skin = jitter(rng, pick(rng, SKINS), 10)
    shirt = muted(rng, 0.7)
    shapes: Shapes = [(blob(0, 2.3, 1.6, 1.3), shirt)]
    shapes.append((rectangle(-0.35, 0.5, 0.35, 1.25), scaled(skin, 0.8)))
    shapes.extend((blob(x, 0.05, 0.12, 0.2), skin) for x in (-0.78, 0.78))
    shapes.append((blob(0, 0, 0.78, 1), hair))
    shapes.append((blob(0.1, -0.2, 0.5, 0.6), scaled(hair, 1.2)))
    return shapes
