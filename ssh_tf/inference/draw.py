"""Pictures with boxes coloured by score, as in the paper's Figure 8."""

from pathlib import Path

import cv2
import numpy as np

from ssh_tf.files import atomic_path

# Scores are written beside boxes from this width on; on smaller ones they would hide the face.
_LABEL_FROM_PX = 28
# Smaller pictures are enlarged by a whole factor until they are this wide, so that lines stay fine.
_LEGIBLE_PX = 480


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
        scores: `[D]` in `[0, 1]`; the best is drawn last, on top.
        truth: `[F, 4]` annotated corners, px, drawn thin and white below the others.
        labels: Whether scores are written beside the larger boxes.

    Returns:
        uint8 RGB; small images are enlarged by a whole factor.
    """
    factor = max(1, -(-_LEGIBLE_PX // max(image.shape[:2])))
    canvas = cv2.resize(
        image, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST if factor > 1 else 1
    )
    thickness = max(1, round(max(canvas.shape[:2]) / 500))
    for box in truth if truth is not None else ():
        _rectangle(canvas, box * factor, (255, 255, 255), 1)
    for i in np.argsort(scores, kind="stable"):
        colour = score_colour(float(scores[i]))
        _rectangle(canvas, boxes[i] * factor, colour, thickness)
        if labels and (boxes[i, 2] - boxes[i, 0]) * factor >= _LABEL_FROM_PX * thickness:
            _label(canvas, boxes[i] * factor, f"{scores[i]:.2f}", colour, thickness)
    return canvas


def _rectangle(canvas: np.ndarray, box: np.ndarray, colour: tuple[int, ...], width: int) -> None:
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, width, cv2.LINE_AA)


def _label(
    canvas: np.ndarray, box: np.ndarray, text: str, colour: tuple[int, ...], thickness: int
) -> None:
    """Writes white text on a plate of the box's colour, above the box or, at the top, inside it."""
    scale = 0.38 * max(1.0, 0.75 * thickness)
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    x, y = round(float(box[0])), round(float(box[1]))
    bottom = y if y >= height + base else y + height + base
    cv2.rectangle(canvas, (x, bottom - height - base), (x + width, bottom), colour, cv2.FILLED)
    at = (x, bottom - base + 1)
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)


def save_picture(path: Path, image: np.ndarray) -> None:
    """Writes an RGB image, whole or not at all; folders are made. The suffix gives the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(cv2.imencode(path.suffix, image[..., ::-1])[1].tobytes())
