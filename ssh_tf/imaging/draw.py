"""Pictures with boxes coloured by score, as in the paper's Figure 8."""

import math
from pathlib import Path

import cv2
import numpy as np

from ssh_tf.errors import UserError
from ssh_tf.files import atomic_path

# Scores are written beside boxes from this width on; on smaller ones they would hide the face.
_LABEL_FROM_PX = 28
# Smaller pictures are enlarged by a whole factor until they are this wide, so that lines stay fine.
_LEGIBLE_PX = 480
# A line's width: one px for so many of the picture's mean side, but less on a small box.
_PICTURE_PER_LINE = 500
_BOX_PER_LINE = 12

_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


def score_colour(score: float) -> tuple[int, int, int]:
    """Returns RGB: blue at a score of 0.5 and below, green at 1.0."""
    green = min(max(2.0 * score - 1.0, 0.0), 1.0)
    return 0, round(255 * green), round(255 * (1.0 - green))


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    truth: np.ndarray | None = None,
    labels: bool = True,
) -> np.ndarray:
    """Draws faces on a copy of an image.

    Args:
        image: `[H, W, 3]` uint8 RGB.
        boxes: `[D, 4]` x1, y1, x2, y2, px.
        scores: `[D]` in `[0, 1]`; the best is drawn last, on top. A score that would cover a better
            one is not written.
        truth: `[F, 4]` annotated corners, px, drawn thin and white below the others.
        labels: Whether scores are written beside the larger boxes.

    Returns:
        uint8 RGB; small images are enlarged by a whole factor.
    """
    factor = max(1, -(-_LEGIBLE_PX // max(image.shape[:2])))
    canvas = image.repeat(factor, axis=0).repeat(factor, axis=1)
    thickness = max(1, round(math.sqrt(canvas.shape[0] * canvas.shape[1]) / _PICTURE_PER_LINE))
    for box in truth if truth is not None else ():
        _rectangle(canvas, box * factor, _WHITE, 1)
    best_first = np.argsort(-scores, kind="stable")
    sides = (boxes[:, 2:] - boxes[:, :2]) * factor
    for i in best_first[::-1]:
        fine = max(1, min(thickness, round(float(sides[i].min()) / _BOX_PER_LINE)))
        _rectangle(canvas, boxes[i] * factor, score_colour(float(scores[i])), fine)
    labelled = best_first[sides[best_first, 0] >= _LABEL_FROM_PX * thickness]
    if labels:
        size = 0.38 * max(1.0, 0.75 * thickness)
        _label(canvas, boxes[labelled] * factor, scores[labelled], size)
    return canvas


def _rectangle(canvas: np.ndarray, box: np.ndarray, colour: tuple[int, ...], width: int) -> None:
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, width, cv2.LINE_AA)


def _label(canvas: np.ndarray, boxes: np.ndarray, scores: np.ndarray, scale: float) -> None:
    """Writes each score on a plate of its colour, above its box or, without room there, inside.

    Args:
        canvas: What is drawn on.
        boxes: `[D, 4]`, best first.
        scores: `[D]`.
        scale: Size of the letters, OpenCV's unit.
    """
    (width, letters), margin = cv2.getTextSize("0.00", cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    height = letters + margin
    taken = np.zeros(canvas.shape[:2], bool)
    for (x1, y1, *_), score in zip(boxes.tolist(), scores.tolist(), strict=True):
        left = max(0, min(round(x1), canvas.shape[1] - width))
        top = round(y1) - height if y1 >= height else max(0, round(y1))
        plate = slice(top, top + height), slice(left, left + width)
        if taken[plate].any():
            continue
        taken[plate] = True
        colour = score_colour(score)
        canvas[plate] = colour
        ink = _BLACK if colour[1] > colour[2] else _WHITE
        at = (left, top + letters + margin // 2)
        cv2.putText(
            canvas, f"{score:.2f}", at, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, 1, cv2.LINE_AA
        )


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
