"""Faces made unrecognizable: what is left of them can't be turned back into a face."""

import cv2
import numpy as np

from ssh_tf.config import REDACTIONS, Redaction

# How far a redacted region reaches beyond its box on each side: hair, chin and ears identify, too.
_MARGIN = 0.2
# A region keeps the mean colors of at most so many cells along its longer side, each at least some
# px wide. Joined smoothly, more than two make a blob that detectors take for a face.
_MAX_CELLS = {"blur": 2, "pixelate": 4}
_MIN_CELL_PX = 12
# How much of a cell's color is left, the rest is gray: detectors take a spot of skin for a face.
_COLOR_LEFT = {"blur": 0.7, "pixelate": 0.2}
_GRAY = 128


def redact(image: np.ndarray, boxes: np.ndarray, kind: Redaction) -> np.ndarray:
    """Hides faces on a copy of an image.

    A region is the ellipse around the box, with a margin. What it is painted with depends on the
    mean colors of a few cells alone (`blur`, `pixelate`) or on nothing (`fill`). Its border is
    hard, since a soft one would mix in the original. Colors are paled, so that what is left is not
    detected as a face.

    Args:
        image: `[H, W, 3]` uint8 RGB.
        boxes: `[D, 4]` x1, y1, x2, y2, px, also partly or wholly outside of the image.
        kind: `blur` (the cells' colors, smoothly joined), `pixelate` (the cells), `fill` (gray).

    Returns:
        `[H, W, 3]` uint8 RGB, of the same size.

    Raises:
        ValueError: For another `kind`.

    References:
        McPherson et al., Defeating Image Obfuscation with Deep Learning, 2016: mosaics of 16 x 16
        cells and small blurs are recognized by machines.
    """
    if kind not in REDACTIONS:
        raise ValueError(f"`kind` must be one of {REDACTIONS}. Received: {kind!r}")
    result = image.copy()
    for box in boxes:
        _redact_face(image, result, box, kind)
    return result


def _redact_face(image: np.ndarray, result: np.ndarray, box: np.ndarray, kind: Redaction) -> None:
    """Paints one face of `result`, always from the original `image`: regions may overlap."""
    height, width = image.shape[:2]
    center, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    # The ellipse through the corners of the box is larger than the inscribed one by sqrt(2).
    radii = np.maximum(half, 0.5) * (1.0 + 2.0 * _MARGIN) * np.sqrt(2.0)
    x1, y1 = np.maximum(np.floor(center - radii), 0).astype(int)
    x2, y2 = np.minimum(np.ceil(center + radii), (width, height)).astype(int)
    if x1 >= x2 or y1 >= y2:
        return
    x, y = np.arange(x1, x2) + 0.5, np.arange(y1, y2)[:, np.newaxis] + 0.5
    inside = ((x - center[0]) / radii[0]) ** 2 + ((y - center[1]) / radii[1]) ** 2 <= 1.0
    result[y1:y2, x1:x2][inside] = _paint(image[y1:y2, x1:x2], kind)[inside]


def _paint(region: np.ndarray, kind: Redaction) -> np.ndarray:
    """Returns what hides a region, of its size."""
    if kind == "fill":
        return np.full_like(region, _GRAY)
    height, width = region.shape[:2]
    cell = max(_MIN_CELL_PX, max(height, width) / _MAX_CELLS[kind])
    cells = max(1, round(width / cell)), max(1, round(height / cell))
    means = cv2.resize(region, cells, interpolation=cv2.INTER_AREA)
    left = _COLOR_LEFT[kind]
    paled = cv2.addWeighted(means, left, np.full_like(means, _GRAY), 1 - left, 0)
    smooth = cv2.INTER_LINEAR if kind == "blur" else cv2.INTER_NEAREST
    return cv2.resize(paled, (width, height), interpolation=smooth)
