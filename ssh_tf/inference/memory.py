"""Exhausted memory as the user's error, who chooses the scale."""

import contextlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from ssh_tf.errors import UserError

# OpenCV, OpenVINO and ONNX Runtime have no error of their own for it, but all say this.
_ALLOCATION = "Failed to allocate"


@contextlib.contextmanager
def within_memory(pixels: np.ndarray) -> Iterator[None]:
    """Turns an error that memory is exhausted into the user's, who chooses the scale.

    Args:
        pixels: `[H, W, 3]`, the image that is being detected.

    Yields:
        Nothing.

    Raises:
        UserError: Instead of the error of TensorFlow, Python, OpenCV or a runtime.
    """
    try:
        yield
    except Exception as error:
        kinds = (tf.errors.ResourceExhaustedError, MemoryError)
        if not isinstance(error, kinds) and _ALLOCATION not in str(error):
            raise
        height, width = pixels.shape[:2]
        raise UserError(
            f"An image of {width} x {height} px needs more memory than there is at this scale. "
            "Lower `shorter_px` and `longer_px`."
        ) from error
