"""Exhausted memory as the user's error, who chooses the scale."""

import contextlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from ssh_tf.errors import UserError


@contextlib.contextmanager
def within_memory(pixels: np.ndarray) -> Iterator[None]:
    """Turns an error that memory is exhausted into the user's, who chooses the scale.

    Args:
        pixels: `[H, W, 3]`, the image that is being detected.

    Yields:
        Nothing.

    Raises:
        UserError: In the place of TensorFlow's or Python's.
    """
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        height, width = pixels.shape[:2]
        raise UserError(
            f"An image of {width} x {height} px needs more memory than there is at this scale. "
            "Lower `shorter_px` and `longer_px`."
        ) from error
