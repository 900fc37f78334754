"""Pictures with boxes colored by score, as in the paper's Figure 8: one look for all of them."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from ssh_tf.errors import UserError
from ssh_tf.files import atomic_path
from ssh_tf.imaging.lettering import Color, text_size, write

# Smaller pictures are enlarged by a whole factor until they are this wide, so that lines stay fine.
LEGIBLE_PX = 480
# One px of a line, and of a letter, for so many of the picture's mean side.
_PICTURE_PER_LINE, _PICTURE_PER_LETTER = 300, 60
# Lines are finer on small boxes: one px for so many of the box's shorter side.
_BOX_PER_LINE = 16
_MIN_LETTER, _MAX_LETTER = 11, 48
# A score is written if its box is at least this part of the score's width.
_MIN_WIDTH = 0.75
# A score is written inside its box if it hides no more than this part of it.
_MAX_HIDDEN = 0.1

_BLACK, _WHITE, _DARK = (0, 0, 0), (255, 255, 255), (29, 29, 31)
# Of a score of 0.5 and below, and of 1: blue and green, as in the paper's Figure 8. `page.js` of
# the local server has the same two.
_UNSURE, _SURE = (43, 98, 255), (38, 222, 95)
# Dark letters are read better than white ones from this relative luminance on (WCAG 2).
_BRIGHT = 0.18


def score_color(score: float) -> Color:
    """Returns RGB: blue at a score of 0.5 and below, green at 1.0."""
    share = min(max(2.0 * score - 1.0, 0.0), 1.0)
    red, green, blue = (
        round(low + (high - low) * share) for low, high in zip(_UNSURE, _SURE, strict=True)
    )
    return red, green, blue


def _ink(plate: Color) -> Color:
    """Returns what is read best on a plate: black or white."""
    linear = (np.array(plate) / 255) ** 2.2
    return _BLACK if linear @ (0.2126, 0.7152, 0.0722) > _BRIGHT else _WHITE


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    truth: np.ndarray | None = None,
    labels: bool = True,
    key: bool = True,
) -> np.ndarray:
    """Draws faces on a copy of an image.

    Lines have a dark border, so that they show on any picture.

    Args:
        image: `[H, W, 3]` uint8 RGB.
        boxes: `[D, 4]` x1, y1, x2, y2, px.
        scores: `[D]` in `[0, 1]`; the best is drawn last, on top.
        truth: `[F, 4]` annotated corners, px, drawn thin and white below the others.
        labels: Whether scores are written beside the larger boxes, where they hide neither another
            score nor another face.
        key: Whether a strip below the picture gives the number of faces and the colors' meaning.

    Returns:
        uint8 RGB; small images are enlarged by a whole factor.
    """
    factor = max(1, -(-LEGIBLE_PX // max(image.shape[:2])))
    canvas = image.repeat(factor, axis=0).repeat(factor, axis=1)
    side = math.sqrt(canvas.shape[0] * canvas.shape[1])
    letters = round(min(max(side / _PICTURE_PER_LETTER, _MIN_LETTER), _MAX_LETTER))
    for box in truth if truth is not None else ():
        _rectangle(canvas, box * factor, _WHITE, 1)
    best_first = np.argsort(-scores, kind="stable")
    boxes, scores = boxes[best_first] * factor, scores[best_first]
    for box, score in zip(boxes[::-1], scores[::-1], strict=True):
        shorter = float((box[2:] - box[:2]).min())
        width = max(1, round(min(side / _PICTURE_PER_LINE, shorter / _BOX_PER_LINE)))
        _rectangle(canvas, box, score_color(float(score)), width)
    if labels:
        _label(canvas, boxes, scores, letters)
    if key:
        strip = _key(canvas.shape[1], letters, len(scores), None if truth is None else len(truth))
        canvas = np.concatenate([canvas, strip])
    return canvas


def _rectangle(canvas: np.ndarray, box: np.ndarray, color: Color, width: int) -> None:
    """Draws a box between two darkened borders."""
    before, after = width // 2, (width + 1) // 2
    for bar in _bars(box, before + 1, after + 1):
        canvas[bar] //= 2
    for bar in _bars(box, before, after):
        canvas[bar] = color


def _bars(box: np.ndarray, before: int, after: int) -> list[tuple[slice, slice]]:
    """Returns the four sides of a box, without overlaps.

    Args:
        box: `x1, y1, x2, y2`, px.
        before: How far a side reaches to the outside of its line, px.
        after: How far it reaches to the inside, px, the line included.
    """
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    across = _span(x1 - before, x2 + before + 1)
    down = _span(y1 + after, y2 - after + 1)
    return [
        (_span(y1 - before, y1 + after), across),
        (_span(max(y2 - after + 1, y1 + after), y2 + before + 1), across),
        (down, _span(x1 - before, x1 + after)),
        (down, _span(max(x2 - after + 1, x1 + after), x2 + before + 1)),
    ]


def _span(start: int, stop: int) -> slice:
    """Returns a slice that does not count from the end where a box begins outside."""
    return slice(max(start, 0), max(stop, 0))


def _label(canvas: np.ndarray, boxes: np.ndarray, scores: np.ndarray, letters: int) -> None:
    """Writes each score on a plate of its color, beside its box or, without room there, inside.

    Args:
        canvas: What is drawn on.
        boxes: `[D, 4]`, best first.
        scores: `[D]`.
        letters: Size of the letters, px.
    """
    width, height = text_size("0.00", letters)
    pad = letters // 4
    width += 2 * pad
    size = canvas.shape[1::-1]
    corners = np.clip(np.round(boxes).astype(int), 0, [*size, *size])
    # How many faces each pixel belongs to: a plate may hide a little of its own, none of others.
    faces = np.zeros(canvas.shape[:2], np.int32)
    for x1, y1, x2, y2 in corners:
        faces[y1:y2, x1:x2] += 1
    taken = np.zeros(canvas.shape[:2], bool)
    for box, score in zip(corners.tolist(), scores.tolist(), strict=True):
        for left, top, most in _places(box, width, height, size):
            plate = slice(top, top + height), slice(left, left + width)
            if not taken[plate].any() and faces[plate].max() <= most:
                taken[plate] = True
                color = score_color(score)
                canvas[plate] = color
                write(canvas, f"{score:.2f}", (left + pad, top), letters, _ink(color))
                break


def _places(
    box: Sequence[int], width: int, height: int, size: tuple[int, ...]
) -> Iterator[tuple[int, int, int]]:
    """Yields where a score's plate can stand, the best place first.

    Args:
        box: The face, `x1, y1, x2, y2`, as far as it lies in the picture.
        width: Of the plate, px.
        height: Of the plate, px.
        size: Width and height of the picture, px.

    Yields:
        Left and top of the plate, and how many faces it may touch there: its own, if it is inside.
    """
    x1, y1, x2, y2 = box
    if x2 - x1 < _MIN_WIDTH * width or size[0] < width:
        return
    rows = [(y1 - height, 0), (y2, 0)]
    if x2 - x1 >= width and width * height <= _MAX_HIDDEN * (x2 - x1) * (y2 - y1):
        rows += [(y1, 1), (y2 - height, 1)]
    for top, most in rows:
        if 0 <= top <= size[1] - height:
            for left in (x1, x2 - width):
                yield min(max(left, 0), size[0] - width), top, most


def _key(width: int, letters: int, found: int, annotated: int | None) -> np.ndarray:
    """Draws the strip below a picture, with as much of it as its width has room for."""
    strip = np.full((2 * letters, width, 3), _DARK, np.uint8)
    groups = [_text(counted(found, "face"), letters)]
    if found:
        scale = [_text("score 0.5", letters), _color_bar(letters), _text("1", letters)]
        groups.append(_row(scale, letters // 3))
    if annotated is not None:
        groups.append(
            _row([_sample(letters), _text(f"{annotated} annotated", letters)], letters // 3)
        )
    left = letters // 2
    for group in groups:
        if left + group.shape[1] <= width:
            top = (strip.shape[0] - group.shape[0]) // 2
            strip[top : top + group.shape[0], left : left + group.shape[1]] = group
            left += group.shape[1] + letters
    return strip


def counted(number: int, what: str) -> str:
    """Returns `1 face`, `2 faces`, ..."""
    return f"{number} {what}{'s' * (number != 1)}"


def _text(text: str, letters: int) -> np.ndarray:
    width, height = text_size(text, letters)
    piece = np.full((height, width, 3), _DARK, np.uint8)
    write(piece, text, (0, 0), letters, _WHITE)
    return piece


def _color_bar(letters: int) -> np.ndarray:
    """Draws the colors of scores from 0.5 to 1."""
    colors = [score_color(score) for score in np.linspace(0.5, 1.0, 6 * letters)]
    return np.repeat(np.array([colors], np.uint8), letters, axis=0)


def _sample(letters: int) -> np.ndarray:
    """Draws an annotated box."""
    piece = np.full((letters, letters, 3), _DARK, np.uint8)
    _rectangle(piece, np.array([2, 2, letters - 3, letters - 3]), _WHITE, 1)
    return piece


def _row(pieces: Sequence[np.ndarray], gap: int) -> np.ndarray:
    """Joins pieces beside each other, centered, with gaps."""
    height = max(piece.shape[0] for piece in pieces)
    row = np.full((height, sum(p.shape[1] + gap for p in pieces) - gap, 3), _DARK, np.uint8)
    left = 0
    for piece in pieces:
        top = (height - piece.shape[0]) // 2
        row[top : top + piece.shape[0], left : left + piece.shape[1]] = piece
        left += piece.shape[1] + gap
    return row


def save_picture(path: Path, image: np.ndarray) -> None:
    """Writes an RGB image, whole or not at all; folders are made. The suffix gives the format.

    Nothing but the pixels is written: no orientation, place, time or thumbnail.

    Raises:
        UserError: If the format is not known, or does not take a picture of this size.
    """
    try:
        whole, encoded = cv2.imencode(path.suffix, image[..., ::-1])
    except cv2.error:
        whole = False
    if not whole:
        height, width = image.shape[:2]
        raise UserError(f"{path}: a picture of {width} x {height} px can't be written.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
