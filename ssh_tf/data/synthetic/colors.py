"""Colors as RGB triples, 0 to 255, and random choices among them."""

import colorsys
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Color = tuple[float, float, float]
_T = TypeVar("_T")

SKINS: tuple[Color, ...] = (
    (250, 224, 204),
    (240, 200, 172),
    (229, 184, 143),
    (210, 158, 118),
    (186, 130, 90),
    (150, 100, 68),
    (112, 74, 52),
    (78, 52, 40),
)
HAIRS: tuple[Color, ...] = (
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


def hsv(hue: float, saturation: float, value: float) -> Color:
    """Returns a color given by hue, saturation and value, each 0 to 1."""
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def muted(rng: np.random.Generator, most_saturated: float) -> Color:
    """Draws a color of any hue, of saturation up to `most_saturated` and value 0.15 to 0.9."""
    hue, saturation, value = rng.random(3).tolist()
    return hsv(hue, most_saturated * saturation, 0.15 + 0.75 * value)


def scaled(color: Color, factor: float) -> Color:
    """Returns a color with each channel times `factor`, at most 255."""
    red, green, blue = (min(255.0, factor * channel) for channel in color)
    return red, green, blue


def jitter(rng: np.random.Generator, color: Color, spread: float) -> Color:
    """Draws a similar color: brightness varies by deviation `spread`, each channel by 3."""
    red, green, blue = np.clip(
        np.array(color) + rng.normal(0, spread) + rng.normal(0, 3, 3), 0, 255
    ).tolist()
    return red, green, blue


def pick(
    rng: np.random.Generator, items: Sequence[_T], weights: Sequence[float] | None = None
) -> _T:
    """Returns one of `items`; quicker than `rng.choice`, which makes arrays of them."""
    if weights is None:
        return items[int(rng.integers(len(items)))]
    bounds = np.cumsum(weights)
    return items[int(np.searchsorted(bounds, rng.random() * bounds[-1], side="right"))]
