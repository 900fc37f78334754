"""What every detector does with an image before and while it looks at it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from ssh_tf.errors import UserError
from ssh_tf.imaging.files import read_image


def pixels_of(image: np.ndarray | str | Path) -> np.ndarray:
    """Returns the `[H, W, 3]` uint8 RGB pixels of an array or a file.

    Raises:
        ValueError: For an array of another shape or dtype, or without pixels.
        UserError: If the file can't be read.
    """
    if isinstance(image, (str, Path)):
        return read_image(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(
            f"`image` must be uint8 [H, W, 3] with H, W > 0. Received: {image.dtype} {image.shape}"
        )
    return image


@contextlib.contextmanager
def within_memory(pixels: np.ndarray) -> Iterator[None]:
    """Turns TensorFlow's error that memory is exhausted into the user's, who chooses the scale."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        height, width = pixels.shape[:2]
        raise UserError(
            f"An image of {width} x {height} px needs more memory than there is at this scale. "
            "Lower --shorter_px and --longer_px."
        ) from error
