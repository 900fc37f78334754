"""Image files: from a file's bytes to pixels."""

import os
from typing import Any, BinaryIO

import numpy as np
import tensorflow as tf

from ssh_tf.config import MAX_PIXELS
from ssh_tf.errors import UserError
from ssh_tf.imaging import pillow
from ssh_tf.imaging.fetch import fetch, is_url
from ssh_tf.imaging.header import JPEG_SIGNATURE, PNG_SIGNATURE, orientation
from ssh_tf.imaging.orientation import upright as turn_upright

Tensor = Any
FileSource = str | os.PathLike[str] | bytes | BinaryIO

_MAX_BYTES = 8 * MAX_PIXELS  # a PNG of four channels of 16 bits, not compressed at all


def decode(encoded: Tensor) -> Tensor:
    """Decodes a JPEG or PNG to RGB.

    Args:
        encoded: Scalar string, the file's bytes.

    Returns:
        `[H, W, 3]` uint8. Grey is repeated, alpha and 16-bit depth are dropped; EXIF rotation is
        not applied, as WIDER's boxes are drawn on the stored pixels.

    Raises:
        tf.errors.InvalidArgumentError: If the bytes are neither, or incomplete.
    """
    jpeg = tf.io.is_jpeg(encoded)
    png = tf.strings.substr(encoded, 0, len(PNG_SIGNATURE)) == PNG_SIGNATURE
    # `decode_png` also takes other formats, of which WebP gets a fourth axis.
    with tf.control_dependencies([tf.debugging.Assert(jpeg | png, ["neither JPEG nor PNG"])]):
        return tf.cond(jpeg, lambda: _decode_jpeg(encoded), lambda: _decode_png(encoded))


def decode_bytes(encoded: bytes) -> Tensor:
    """Does what `decode` does in one operation, outside of graphs: other threads run meanwhile.

    Args:
        encoded: A file's bytes that begin like a JPEG or a PNG.

    Returns:
        As `decode`.

    Raises:
        tf.errors.InvalidArgumentError: If they are incomplete or damaged.
    """
    return _decode_png(encoded) if encoded.startswith(PNG_SIGNATURE) else _decode_jpeg(encoded)


def _decode_jpeg(encoded: Tensor) -> Tensor:
    # The accurate transform is the one OpenCV and PIL use.
    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")


def _decode_png(encoded: Tensor) -> Tensor:
    return tf.io.decode_png(encoded, channels=3)


def header_size(encoded: Tensor) -> Tensor:
    """Reads the size that a JPEG's or PNG's header states, without decoding it.

    Args:
        encoded: Scalar string, the file's bytes.

    Returns:
        `[2]` int64, height and width, px.

    Raises:
        tf.errors.InvalidArgumentError: If the bytes are neither, or the header is incomplete.
    """

    def png() -> Tensor:
        # Signature, length and type of the first chunk; then width and height, big-endian.
        sides = tf.io.decode_raw(tf.strings.substr(encoded, 16, 8), tf.int32, little_endian=False)
        return tf.cast(tf.ensure_shape(sides, [2])[::-1], tf.int64)

    def jpeg() -> Tensor:
        return tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.int64)

    return tf.cond(tf.io.is_jpeg(encoded), jpeg, png)


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
        height, width = header_size(encoded).numpy().tolist()
        pillow.check_size(width, height, name)
        return np.asarray(decode_bytes(encoded))
    except tf.errors.ResourceExhaustedError as error:
        raise UserError(f"{name} needs more memory than there is.") from error
    except tf.errors.OpError as error:
        raise UserError(f"{name} is not a whole JPEG or PNG image.") from error


def _read(source: FileSource) -> tuple[str, bytes]:
    """Returns what to call an image in messages, and its bytes."""
    if isinstance(source, bytes):
        return f"The image of {len(source):,} bytes", source
    if is_url(source):
        return str(source), fetch(str(source))
    if not isinstance(source, (str, os.PathLike)):
        name = str(getattr(source, "name", "The image"))
        return name, _within_limit(source.read(_MAX_BYTES + 1), name)
    name = os.fspath(source)
    try:
        with open(source, "rb") as file:
            return name, _within_limit(file.read(_MAX_BYTES + 1), name)
    except OSError as error:
        raise UserError(f"{name} can't be read ({error.strerror}).") from error


def _within_limit(encoded: bytes, name: str) -> bytes:
    if len(encoded) > _MAX_BYTES:
        raise UserError(f"{name} is too large for an image. Remove it.")
    return encoded
