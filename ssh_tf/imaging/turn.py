"""Turns pixels upright as their EXIF asks. NumPy only; `orientation` does it in a graph."""

import numpy as np

from ssh_tf.imaging.header import FIRST_TRANSPOSED

# The step through rows and through columns for each orientation, after rows and columns are
# exchanged where they must be; index 0 is no orientation.
ROW_STEPS = (1, 1, 1, -1, -1, 1, 1, -1, -1)
COLUMN_STEPS = (1, 1, -1, -1, 1, 1, -1, -1, 1)


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turns stored pixels upright, as Pillow's `ImageOps.exif_transpose` does.

    Args:
        image: `[H, W, C]`.
        orientation: 1 to 8, from `header.orientation`.

    Returns:
        `[H, W, C]`, or `[W, H, C]` from orientation 5 on; contiguous.

    References:
        CIPA DC-008 (Exif 2.3), 4.6.4 A: where row 0 and column 0 of the stored pixels belong.
    """
    if orientation >= FIRST_TRANSPOSED:
        image = image.swapaxes(0, 1)
    return np.ascontiguousarray(image[:: ROW_STEPS[orientation], :: COLUMN_STEPS[orientation]])
