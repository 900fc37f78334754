"""Scenes without people: streets, gardens, rooms, patterns, walls."""

from collections.abc import Sequence

import cv2
import numpy as np

from ssh_tf.data.synthetic.colors import hsv, muted, pick, scaled
from ssh_tf.data.synthetic.shapes import Pen, blob, blur, placed, rectangle
from ssh_tf.data.synthetic.things import leaves


def draw_background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draws a scene without people, `[height, width, 3]` uint8."""
    top, bottom = np.array(muted(rng, 0.4)), np.array(muted(rng, 0.4))
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    plain = np.broadcast_to(top * (1 - ramp) + bottom * ramp, (height, width, 3))
    image = np.ascontiguousarray(plain, np.uint8)
    # Units of the shorter side, the origin at the upper left corner.
    unit = min(height, width)
    pen = Pen(image, np.eye(2, 3) * unit)
    pick(rng, (_city, _garden, _room, _pattern, _plain))(rng, pen, width / unit, height / unit)
    if rng.random() < 0.5:
        image = blur(image, unit * rng.uniform(0.002, 0.02))
    fine = int(rng.integers(8, 60))
    clouds = _noise(rng, image.shape, 4) * 50 + _noise(rng, image.shape, fine) * rng.uniform(0, 40)
    return np.clip(image + clouds, 0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator, shape: Sequence[int], cells: int) -> np.ndarray:
    """Returns smooth noise `[H, W, 1]` float32, about -0.5 to 0.5, with `cells` bumps a side."""
    grid = rng.random((cells, cells), np.float32) - 0.5
    return cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)[..., None]


def _city(rng: np.random.Generator, pen: Pen, width: float, height: float) -> None:
    """Houses with windows on a street."""
    for _ in range(int(rng.integers(3, 9))):
        x, wide = rng.uniform(-0.1, width), rng.uniform(0.15, 0.5)
        roof = rng.uniform(0.05, 0.7) * height
        wall = muted(rng, 0.35)
        pen.fill(rectangle(x, roof, x + wide, height), wall)
        lit = scaled(wall, pick(rng, (0.5, 1.5)))
        step = rng.uniform(0.06, 0.12)
        for wx in np.arange(x + step / 2, x + wide - step / 2, step):
            for wy in np.arange(roof + step / 2, height - step, step * 1.3):
                pen.fill(rectangle(wx, wy, wx + step * 0.5, wy + step * 0.7), lit)
    street = height * rng.uniform(0.8, 0.98)
    pen.fill(rectangle(0, street, width, height), muted(rng, 0.1))


def _garden(rng: np.random.Generator, pen: Pen, width: float, height: float) -> None:
    """Grass, trunks and many leaves."""
    pen.fill(rectangle(0, height * rng.uniform(0.4, 0.9), width, height), hsv(0.27, 0.4, 0.45))
    for _ in range(int(rng.integers(0, 4))):
        x, trunk = rng.uniform(0, width), rng.uniform(0.02, 0.08)
        pen.fill(rectangle(x, 0, x + trunk, height), hsv(0.08, 0.4, rng.uniform(0.2, 0.45)))
    for _ in range(int(rng.integers(6, 18))):
        place = placed(rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.06, 0.25), 0)
        for points, color in leaves(rng):
            pen.mapped(place).fill(points, color)


def _room(rng: np.random.Generator, pen: Pen, width: float, height: float) -> None:
    """A floor, furniture, frames and a striped wall now and then."""
    if rng.random() < 0.4:
        stripe, step = muted(rng, 0.3), rng.uniform(0.04, 0.15)
        for x in np.arange(0, width, 2 * step):
            pen.fill(rectangle(x, 0, x + step, height), stripe)
    floor = height * rng.uniform(0.65, 0.95)
    pen.fill(rectangle(0, floor, width, height), muted(rng, 0.4))
    for _ in range(int(rng.integers(2, 7))):
        x, y = rng.uniform(-0.1, width), rng.uniform(0, height)
        high, wide = rng.uniform(0.1, 0.6, 2)
        pen.fill(rectangle(x, y, x + wide, y + high), muted(rng, 0.5))
        inset = 0.08 * min(high, wide)
        inner = rectangle(x + inset, y + inset, x + wide - inset, y + high - inset)
        pen.fill(inner, muted(rng, 0.5))


def _pattern(rng: np.random.Generator, pen: Pen, width: float, height: float) -> None:
    """Lines and discs in all directions."""
    reach = [width, height]
    for _ in range(int(rng.integers(6, 30))):
        pen.stroke(rng.uniform(0, 1, (2, 2)) * reach, muted(rng, 0.5), rng.uniform(0.004, 0.05))
    for _ in range(int(rng.integers(0, 14))):
        x, y = rng.uniform(0, 1, 2) * reach
        pen.fill(blob(x, y, *rng.uniform(0.02, 0.15, 2)), muted(rng, 0.5))


def _plain(rng: np.random.Generator, pen: Pen, width: float, height: float) -> None:
    """A wall with one edge, no more."""
    corners = [[0, height], [width, height]]
    edge = [[width, rng.uniform(0.3, 1) * height], [0, rng.uniform(0.3, 1) * height]]
    pen.fill(np.array(corners + edge), muted(rng, 0.4))
