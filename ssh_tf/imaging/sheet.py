"""Contact sheets: many pictures in one, each with its name."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from ssh_tf.imaging.draw import LEGIBLE_PX, draw_boxes
from ssh_tf.imaging.lettering import text_size, write

_MAX_COLUMNS = 4
_GAP, _LETTERS = 16, 16
_MAX_CHARACTERS = 100  # of a caption: even the narrowest letters are wider together
_BLACK = (0, 0, 0)


def tile(image: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Draws annotated faces on an image, scaled to the size of a sheet's cells.

    Args:
        image: `[H, W, 3]` uint8 RGB.
        faces: `[F, 4]` corners, px.

    Returns:
        uint8 RGB, whose longer side is `LEGIBLE_PX`.
    """
    scale = LEGIBLE_PX / max(image.shape[:2])
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    scaled = cv2.resize(image, size, interpolation=method)
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    return draw_boxes(scaled, *nothing, truth=faces * scale, key=False)


def contact_sheet(tiles: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
    """Arranges pictures on a white sheet, as many columns as rows, at most four.

    Args:
        tiles: `[H, W, 3]` uint8 RGB, at least one, at most `LEGIBLE_PX` wide.
        captions: One line per picture, shortened where it is too long.

    Returns:
        `[H, W, 3]` uint8 RGB, as high as the pictures need.
    """
    columns = min(math.ceil(math.sqrt(len(tiles))), _MAX_COLUMNS)
    cells = [_cell(picture, text) for picture, text in zip(tiles, captions, strict=True)]
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    width = _GAP + columns * (LEGIBLE_PX + _GAP)
    heights = [max(cell.shape[0] for cell in row) + _GAP for row in rows]
    sheet = np.full((_GAP + sum(heights), width, 3), 255, np.uint8)
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        for i, cell in enumerate(row):
            left = _GAP + i * (LEGIBLE_PX + _GAP)
            sheet[top : top + cell.shape[0], left : left + LEGIBLE_PX] = cell
        top += height
    return sheet


def _cell(picture: np.ndarray, caption: str) -> np.ndarray:
    """Adds a caption below a picture; both are centered."""
    text = _shorten(caption)
    width, height = text_size(text, _LETTERS)
    cell = np.full((picture.shape[0] + height + _GAP // 4, LEGIBLE_PX, 3), 255, np.uint8)
    left = (LEGIBLE_PX - picture.shape[1]) // 2
    cell[: picture.shape[0], left : left + picture.shape[1]] = picture
    write(cell, text, ((LEGIBLE_PX - width) // 2, picture.shape[0] + _GAP // 4), _LETTERS, _BLACK)
    return cell


def _shorten(text: str) -> str:
    """Cuts what does not fit out of the middle of a text: its end often matters more."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    half, short = _MAX_CHARACTERS // 2, text
    while len(short) > _MAX_CHARACTERS or text_size(short, _LETTERS)[0] > LEGIBLE_PX:
        short = f"{text[:half]}\N{HORIZONTAL ELLIPSIS}{text[-half:]}"
        half -= 1
    return short
