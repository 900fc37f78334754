"""From the bytes of a JPEG or PNG to its pixels as stored, inside and outside of graphs.

TensorFlow's decoders are trusted with what they do well. What they take without a word is refused
here: pictures that end early, and small files that grow without measure.
"""

from typing import Any, cast

import numpy as np
import tensorflow as tf

from ssh_tf.imaging import header, parts
from ssh_tf.imaging.header import PNG_SIGNATURE

Tensor = Any

ENDS_EARLY = "its data end before the picture does"
TOO_MUCH_TEXT = "its texts would grow to more than the picture"

# What libjpeg fills a picture with whose data end early: middle gray, or what CMYK makes of that.
_FILLED = np.array([[128] * 3, [64] * 3, [63] * 3], np.uint8)
_END_OF_IMAGE = b"\xff\xd9"
# Data that a complete picture does not use: some for the interval that ends early, and some for
# those after each restart marker. No byte is 0xFF.
_NOISE = bytes((151 * i + 37) % 255 for i in range(64))
_MORE_DATA = b"".join([_NOISE, *(bytes([0xFF, 0xD0 + i]) + _NOISE for i in range(8))])


def decode(encoded: Tensor) -> Tensor:
    """Decodes a JPEG or PNG to RGB, in a graph.

    Args:
        encoded: Scalar string, the file's bytes.

    Returns:
        `[H, W, 3]` uint8, the pixels as stored: EXIF orientation is not applied, as WIDER's boxes
        are drawn on those. Gray is repeated, alpha and the low byte of 16 bits are dropped.

    Raises:
        tf.errors.InvalidArgumentError: If the bytes are neither, incomplete, or refused.
    """
    jpeg = tf.io.is_jpeg(encoded)
    png = parts.starts_with(encoded, PNG_SIGNATURE)
    # `decode_png` also takes other formats, of which WebP gets a fourth axis.
    with tf.control_dependencies([tf.debugging.Assert(jpeg | png, ["neither JPEG nor PNG"])]):
        return tf.cond(jpeg, lambda: _jpeg_in_graph(encoded), lambda: _png_in_graph(encoded))


def decode_bytes(encoded: bytes) -> Tensor:
    """Does what `decode` does, outside of graphs: mostly in one operation, beside other threads.

    Args:
        encoded: A file's bytes that begin like a JPEG or a PNG.

    Returns:
        As `decode`.

    Raises:
        tf.errors.InvalidArgumentError: If they are incomplete, damaged or refused.
    """
    if encoded.startswith(PNG_SIGNATURE):
        _refuse(header.inflated_text(encoded) > header.MAX_INFLATED_TEXT, TOO_MUCH_TEXT)
        return _decode_png(encoded)
    _refuse(_least_bytes(*bytes_size(encoded)) > len(encoded), ENDS_EARLY)
    image = _decode_jpeg(encoded)
    last = image.numpy()[-1:, -1:].reshape(-1, 3)  # [1, 3]
    if (last == _FILLED).all(axis=-1).any():
        start = header.scan_start(encoded)
        scans = encoded[start:].partition(_END_OF_IMAGE)[0]
        longer = _decode_jpeg(encoded[:start] + scans + _MORE_DATA + _END_OF_IMAGE)
        _refuse(not np.array_equal(image, longer), ENDS_EARLY)
    return image


def bytes_size(encoded: bytes) -> tuple[int, int]:
    """Does what `header_size` does, outside of graphs, in less than a fifth of the time.

    Args:
        encoded: As `decode_bytes`.

    Returns:
        Height and width, px.

    Raises:
        tf.errors.InvalidArgumentError: If the header is incomplete.
    """
    if not encoded.startswith(PNG_SIGNATURE):
        height, width, _ = tf.io.extract_jpeg_shape(encoded).numpy().tolist()
        return height, width
    size = header.stored_size(encoded)
    _refuse(size is None, ENDS_EARLY)
    return cast(tuple[int, int], size)


def _refuse(condition: bool, reason: str) -> None:
    if condition:
        raise tf.errors.InvalidArgumentError(None, None, reason)


def _png_in_graph(encoded: Tensor) -> Tensor:
    small = parts.inflated_text(encoded) <= header.MAX_INFLATED_TEXT
    with tf.control_dependencies([tf.debugging.Assert(small, [TOO_MUCH_TEXT])]):
        return _decode_png(encoded)


def _jpeg_in_graph(encoded: Tensor) -> Tensor:
    size = parts.length(encoded)
    height, width, _ = tf.unstack(tf.cast(tf.io.extract_jpeg_shape(encoded), tf.int64))
    enough = _least_bytes(height, width) <= size
    with tf.control_dependencies([tf.debugging.Assert(enough, [ENDS_EARLY])]):
        image = _decode_jpeg(encoded)

    def is_the_same_with_more_data() -> Tensor:
        start = parts.find_segment(encoded, lambda marker, _: marker == header.START_OF_SCAN)
        start = tf.maximum(start, 0)
        scans = tf.strings.split(tf.strings.substr(encoded, start, size), _END_OF_IMAGE)[0]
        before = tf.strings.substr(encoded, np.int64(0), start)
        longer = tf.strings.join([before, scans, _MORE_DATA, _END_OF_IMAGE])
        return tf.reduce_all(_decode_jpeg(longer) == image)

    filled = tf.reduce_any(tf.reduce_all(image[-1, -1] == _FILLED, axis=-1))
    whole = tf.cond(filled, is_the_same_with_more_data, lambda: tf.constant(True))
    with tf.control_dependencies([tf.debugging.Assert(whole, [ENDS_EARLY])]):
        return tf.identity(image)


def _least_bytes(height: Any, width: Any) -> Any:
    """Returns the least bytes that a JPEG of a size can have.

    Each block of 8 x 8 px has at least a bit, the code of its mean value.
    """
    return ((height + 7) // 8) * ((width + 7) // 8) // 8


def _decode_jpeg(encoded: Tensor) -> Tensor:
    # The accurate transform is the one OpenCV and Pillow use.
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
        # Signature, length and type of the first chunk; then width and height, big-endian. A start
        # beyond the end is clipped: the error about it would quote the bytes, which are no text.
        start = tf.minimum(16, tf.strings.length(encoded))
        sides = tf.strings.substr(encoded, start, 8)
        sides = tf.io.decode_raw(sides, tf.int32, little_endian=False)
        return tf.cast(tf.ensure_shape(sides, [2])[::-1], tf.int64)

    def jpeg() -> Tensor:
        return tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.int64)

    return tf.cond(tf.io.is_jpeg(encoded), jpeg, png)
