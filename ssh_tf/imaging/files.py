"""Image files: from a file's bytes to pixels."""

import os
from typing import BinaryIO

import numpy as np
import tensorflow as tf

from ssh_tf.config import MAX_PIXELS
from ssh_tf.errors import UserError
from ssh_tf.imaging import decoder, pillow
from ssh_tf.imaging.fetch import fetch, is_url
from ssh_tf.imaging.header import JPEG_SIGNATURE, PNG_SIGNATURE, orientation
from ssh_tf.imaging.turn import upright as turn_upright

FileSource = str | os.PathLike[str] | bytes | BinaryIO

MAX_BYTES = 8 * MAX_PIXELS  # a PNG of four channels of 16 bits, not compressed at all


def read_image(source: FileSource, *, upright: bool = True) -> np.ndarray:
    """Reads an image file as `[H, W, 3]` uint8 RGB.

    JPEG and PNG, which data sets consist of, are decoded by TensorFlow as everywhere else in the
    package; the other formats by Pillow, as `pillow.decode` says.

    Args:
        source: A path, a URL (http or https), a file's bytes, or a file opened to read bytes.
        upright: Whether the pixels are turned as EXIF asks. The official data sets are annotated
            on stored pixels.

    Raises:
        UserError: If it can't be read, is not a whole image of a known format, or its header states
            more than `config.MAX_PIXELS`: a small file can decode to any number of them.
    """
    name, encoded = _read(source)
    if not encoded.startswith((JPEG_SIGNATURE, PNG_SIGNATURE)):
        return pillow.decode(encoded, name, upright=upright)
    pixels = _decode_whole(encoded, name)
    return turn_upright(pixels, orientation(encoded)) if upright else pixels


def _decode_whole(encoded: bytes, name: str) -> np.ndarray:
    """Decodes a JPEG or PNG whose size is within the limits, or says why not."""
    try:
        height, width = decoder.bytes_size(encoded)
        pillow.check_size(width, height, name)
        return np.asarray(decoder.decode_bytes(encoded))
    except tf.errors.ResourceExhaustedError as error:
        raise UserError(f"{name} needs more memory than there is.") from error
    except tf.errors.OpError as error:
        if error.message == decoder.TOO_MUCH_TEXT:
            raise UserError(f"{name} is refused: {decoder.TOO_MUCH_TEXT}.") from error
        raise UserError(f"{name} is not a whole JPEG or PNG image.") from error


def _read(source: FileSource) -> tuple[str, bytes]:
    """Returns what to call an image in messages, and its bytes."""
    if isinstance(source, bytes):
        return f"The image of {len(source):,} bytes", source
    if is_url(source):
        return str(source), fetch(str(source))
    if not isinstance(source, (str, os.PathLike)):
        name = str(getattr(source, "name", "The image"))
        return name, _within_limit(source.read(MAX_BYTES + 1), name)
    name = os.fspath(source)
    try:
        with open(source, "rb") as file:
            return name, _within_limit(file.read(MAX_BYTES + 1), name)
    except OSError as error:
        raise UserError(f"{name} can't be read ({error.strerror}).") from error


def _within_limit(encoded: bytes, name: str) -> bytes:
    if len(encoded) > MAX_BYTES:
        raise UserError(f"{name} is too large for an image. Remove it.")
    return encoded
