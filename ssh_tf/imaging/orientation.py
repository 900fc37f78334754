"""Turns pictures upright as their EXIF asks, inside a graph from the bytes.

The rules are those of `imaging/header.py`. The graph holds TensorFlow's own operations only, so
that a SavedModel can turn pictures anywhere.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ssh_tf.imaging import parts
from ssh_tf.imaging.header import (
    APP1,
    EXIF_PREFIX,
    FIRST_TRANSPOSED,
    JPEG_START,
    ORIENTATION_TAG,
    PNG_SIGNATURE,
    SHORT,
    UPRIGHT,
)
from ssh_tf.imaging.turn import COLUMN_STEPS, ROW_STEPS

Tensor = Any


def upright_graph(image: Tensor, orientation: Tensor) -> Tensor:
    """Does what `turn.upright` does, in a graph.

    Args:
        image: `[H, W, C]`.
        orientation: Scalar int32, 1 to 8, from `orientation_graph`.

    Returns:
        `[H, W, C]`, or `[W, H, C]` from orientation 5 on.
    """
    channels = image.shape[-1]
    image = tf.cond(
        orientation >= FIRST_TRANSPOSED,
        lambda: tf.transpose(image, [1, 0, 2]),
        lambda: tf.identity(image),
    )
    rows, columns = tf.gather(ROW_STEPS, orientation), tf.gather(COLUMN_STEPS, orientation)
    return tf.ensure_shape(image[::rows, ::columns], [None, None, channels])


def upright_size_graph(size: Tensor, orientation: Tensor) -> Tensor:
    """Does what `header.turned_size` does, in a graph: `[2]` height and width to the same."""
    return tf.where(orientation >= FIRST_TRANSPOSED, size[::-1], size)


def upright_boxes_graph(boxes: Tensor, size: Tensor, orientation: Tensor) -> Tensor:
    """Moves boxes to where `upright_graph` moves what they surround.

    Args:
        boxes: `[N, 4]` float32, half-open, px of the stored image.
        size: `[2]` int, its height and width, px.
        orientation: Scalar int32, 1 to 8.

    Returns:
        `[N, 4]` float32, half-open, px of the upright image.
    """
    transposed = tf.gather(boxes, [1, 0, 3, 2], axis=-1)
    boxes = tf.where(orientation >= FIRST_TRANSPOSED, transposed, boxes)
    height, width = tf.unstack(tf.cast(upright_size_graph(size, orientation), tf.float32))
    x1, y1, x2, y2 = tf.unstack(boxes, axis=-1)
    to_left, up = (tf.gather(steps, orientation) < 0 for steps in (COLUMN_STEPS, ROW_STEPS))
    x1, x2 = tf.where(to_left, width - x2, x1), tf.where(to_left, width - x1, x2)
    y1, y2 = tf.where(up, height - y2, y1), tf.where(up, height - y1, y2)
    return tf.stack([x1, y1, x2, y2], axis=-1)


def orientation_graph(encoded: Tensor) -> Tensor:
    """Does what `header.orientation` does, in a graph.

    Args:
        encoded: Scalar string, the file's bytes; may be anything.

    Returns:
        Scalar int32, 1 to 8.
    """
    exif = tf.case(
        [
            (parts.starts_with(encoded, PNG_SIGNATURE), lambda: _png_exif(encoded)),
            (parts.starts_with(encoded, JPEG_START), lambda: _jpeg_exif(encoded)),
        ],
        default=lambda: tf.constant(b""),
    )
    return _exif_orientation(exif)


def _exif_orientation(exif: Tensor) -> Tensor:
    """Does what `header.exif_orientation` does."""
    prefixed = parts.starts_with(exif, EXIF_PREFIX)
    exif = tf.strings.substr(exif, tf.where(prefixed, len(EXIF_PREFIX), 0), tf.strings.length(exif))
    little, big = parts.starts_with(exif, b"II*\0"), parts.starts_with(exif, b"MM\0*")
    octets = tf.cast(tf.io.decode_raw(exif, tf.uint8), tf.int64)  # [N]

    def number(digits: Tensor) -> Tensor:
        """Joins `[..., K]` bytes to `[...]` numbers, in the order that the header states."""
        weights = tf.constant([256**i for i in range(digits.shape[-1])], tf.int64)
        return tf.reduce_sum(digits * tf.where(little, weights, weights[::-1]), axis=-1)

    def read() -> Tensor:
        size = tf.size(octets, tf.int64)
        directory = number(tf.ensure_shape(octets[4:8], [4]))
        # A directory beyond the end has no entries: both bytes of their number read as 0.
        entries = number(tf.ensure_shape(_padded(octets[directory : directory + 2], 2), [2]))
        entries = tf.minimum(entries, tf.maximum(size - directory - 2, 0) // 12)
        table = octets[directory + 2 : directory + 2 + 12 * entries]
        table = tf.reshape(table, [-1, 12])  # Tag, type, count, value.
        found = table[number(table[:, :2]) == ORIENTATION_TAG]  # [F, 12]
        entry = tf.concat([found, tf.zeros([1, 12], tf.int64)], axis=0)[0]
        kind, count, value = number(entry[2:4]), number(entry[4:8]), number(entry[8:10])
        valid = (kind == SHORT) & (count == 1) & (value >= 1) & (value <= 8)
        return tf.where(valid, tf.cast(value, tf.int32), UPRIGHT)

    known = (little | big) & (tf.size(octets) >= 8)
    return tf.cond(known, read, lambda: tf.constant(UPRIGHT))


def _jpeg_exif(encoded: Tensor) -> Tensor:
    """Returns the first APP1 segment that holds EXIF, or an empty string."""

    def is_exif(marker: Tensor, at: Tensor) -> Tensor:
        prefix = tf.strings.substr(encoded, at + 4, np.int64(len(EXIF_PREFIX)))
        return (marker == APP1) & (prefix == EXIF_PREFIX)

    def payload(at: Tensor) -> Tensor:
        high, low = tf.unstack(parts.octets(encoded, at + 2, 2))
        return tf.strings.substr(encoded, at + 4, tf.maximum(256 * high + low - 2, 0))

    return _if_found(parts.find_segment(encoded, is_exif), payload)


def _png_exif(encoded: Tensor) -> Tensor:
    """Returns the data of the first eXIf chunk, or an empty string."""
    return _if_found(
        parts.find_chunk(encoded, b"eXIf"),
        lambda at: tf.strings.substr(encoded, at + 8, parts.chunk_length(encoded, at)),
    )


def _if_found(at: Tensor, payload: Callable[[Tensor], Tensor]) -> Tensor:
    return tf.cond(at >= 0, lambda: payload(at), lambda: tf.constant(b""))


def _padded(values: Tensor, size: int) -> Tensor:
    return tf.concat([values, tf.zeros([size], values.dtype)], axis=0)[:size]
