"""Anti-aliased letters on pictures."""

import functools
import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]


def text_size(text: str, px: int) -> tuple[int, int]:
    """Returns width and height of a line of text, px.

    Args:
        text: One line.
        px: Size of the letters.
    """
    height, width = _coverage(text, px).shape
    return width, height


def write(canvas: np.ndarray, text: str, at: tuple[int, int], px: int, color: Color) -> None:
    """Writes a line of text on a picture, as far as it lies inside.

    Args:
        canvas: `[H, W, 3]` uint8 RGB, changed in place.
        text: One line.
        at: Its left and upper end, px, at least 0.
        px: Size of the letters.
        color: Of the letters.
    """
    left, top = at
    part = canvas[top:, left:]
    coverage = _coverage(text, px)[: part.shape[0], : part.shape[1], np.newaxis]
    part = part[: coverage.shape[0], : coverage.shape[1]]
    part[:] = np.round(part * (1 - coverage) + np.array(color) * coverage)


@functools.lru_cache(maxsize=256)  # Scores recur: there are about a hundred per font size.
def _coverage(text: str, px: int) -> np.ndarray:
    """Returns how much of each pixel the letters cover: `[h, w]` float32 in `[0, 1]`."""
    font = _font(px)
    ascent, descent = font.getmetrics()
    size = max(1, round(font.getlength(text))), ascent + descent
    image = Image.new("L", size)
    ImageDraw.Draw(image).text((0, 0), text, fill=255, font=font)
    return np.asarray(image, np.float32) / 255


@functools.cache
def _font(px: int) -> ImageFont.FreeTypeFont:
    """Opens DejaVu Sans, which comes with Matplotlib: no machine is without it."""
    package = importlib.util.find_spec("matplotlib")
    folder = Path(package.origin if package and package.origin else "").parent
    return ImageFont.truetype(str(folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"), px)
