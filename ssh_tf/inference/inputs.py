"""What every detector does with an image before it looks at it."""

import os
from typing import BinaryIO

import numpy as np
from PIL import Image

from ssh_tf.imaging import pillow

ImageSource = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray

_TAKEN = (
    "a path, a URL, a file's bytes, a file opened to read bytes, a Pillow image or an array (uint8 "
    "RGB [H, W, 3]); a list of images goes to `detect_batch`"
)


def pixels_of(image: ImageSource) -> np.ndarray:
    """Returns the upright pixels of whatever holds an image.

    Args:
        image: A path; a URL (http or https); a file's bytes; a file opened to read bytes; a Pillow
            image; or an array, also of TensorFlow: uint8 RGB `[H, W, 3]`, gray `[H, W]` or
            `[H, W, 1]`, or RGBA `[H, W, 4]`, whose alpha is dropped.

    Returns:
        `[H, W, 3]` uint8 RGB, H and W at least 1.

    Raises:
        TypeError: For something else.
        ValueError: For an array of another shape or dtype, or without pixels.
        UserError: If the image can't be read, is not whole or is too large.
    """
    if isinstance(image, Image.Image):
        return pillow.pixels_of(image)
    if isinstance(image, (bytearray, memoryview)):
        image = bytes(image)
    if hasattr(image, "__array__"):
        return _rgb(np.asarray(image))
    if isinstance(image, (str, os.PathLike, bytes)) or hasattr(image, "read"):
        # Not before it is needed: it brings TensorFlow, which a server's client does without.
        from ssh_tf.imaging.files import read_image

        return read_image(image)
    raise TypeError(f"An image is {_TAKEN}. Received: {repr(image)[:100]}")


def _rgb(array: np.ndarray) -> np.ndarray:
    """Checks an array and gives it three channels."""
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise ValueError(
            "An image must be uint8 RGB [H, W, 3], gray [H, W] or RGBA [H, W, 4]. "
            f"Received: {array.dtype} {array.shape}{_advice(array)}"
        )
    if not array.size:
        raise ValueError(f"An image must have pixels. Received: {array.dtype} {array.shape}")
    if channels == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=-1)
    return array[..., :3]


def _advice(array: np.ndarray) -> str:
    if np.issubdtype(array.dtype, np.floating):
        return ". Values in [0, 1] become pixels by (255 * image).round().astype(np.uint8)."
    return ""
