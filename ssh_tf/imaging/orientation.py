"""Turns pictures upright as their EXIF asks: on pixels, and inside a graph from the bytes.

The rules are those of `imaging/header.py`. The graph holds TensorFlow's own operations only, so
that a SavedModel can turn pictures anywhere.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ssh_tf.imaging.header import (
    APP1,
    BARE_MARKERS,
    EXIF_PREFIX,
    FIRST_TRANSPOSED,
    JPEG_START,
    LAST_MARKERS,
    MAX_PARTS,
    ORIENTATION_TAG,
    PNG_SIGNATURE,
    SHORT,
    UPRIGHT,
)

Tensor = Any

# The step through rows and through columns for each orientation, after rows and columns are
# exchanged where they must be; index 0 is no orientation.
_ROW_STEPS = (1, 1, 1, -1, -1, 1, 1, -1, -1)
_COLUMN_STEPS = (1, 1, -1, -1, 1, 1, -1, -1, 1)


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
    return np.ascontiguousarray(image[:: _ROW_STEPS[orientation], :: _COLUMN_STEPS[orientation]])


def upright_graph(image: Tensor, orientation: Tensor) -> Tensor:
    """Does what `upright` does, in a graph.

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
    rows, columns = tf.gather(_ROW_STEPS, orientation), tf.gather(_COLUMN_STEPS, orientation)
    return tf.ensure_shape(image[::rows, ::columns], [None, None, channels])


def orientation_graph(encoded: Tensor) -> Tensor:
    """Does what `header.orientation` does, in a graph.

    Args:
        encoded: Scalar string, the file's bytes; may be anything.

    Returns:
        Scalar int32, 1 to 8.
    """
    exif = tf.case(
        [
            (_starts_with(encoded, PNG_SIGNATURE), lambda: _png_exif(encoded)),
            (_starts_with(encoded, JPEG_START), lambda: _jpeg_exif(encoded)),
        ],
        default=lambda: tf.constant(b""),
    )
    return _exif_orientation(exif)


def _exif_orientation(exif: Tensor) -> Tensor:
    """Does what `header.exif_orientation` does."""
    prefixed = _starts_with(exif, EXIF_PREFIX)
    exif = tf.strings.substr(exif, tf.where(prefixed, len(EXIF_PREFIX), 0), tf.strings.length(exif))
    little, big = _starts_with(exif, b"II*\0"), _starts_with(exif, b"MM\0*")
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

    def part(at: Tensor) -> tuple[Tensor, Tensor]:
        prefix, marker, high, low = tf.unstack(_octets(encoded, at, 4))
        stray = (prefix != 0xFF) | (marker == 0xFF)
        length = 256 * high + low
        step = tf.where(_is_in(marker, BARE_MARKERS), np.int64(2), 2 + length)
        step = tf.where(_is_in(marker, LAST_MARKERS), _BEYOND, step)
        step = tf.where(stray, np.int64(1), step)
        payload = tf.strings.substr(encoded, at + 4, tf.maximum(length - 2, 0))
        found = ~stray & (marker == APP1) & _starts_with(payload, EXIF_PREFIX)
        return at + step, tf.where(found, payload, b"")

    return _first_found(part, encoded, start=2, smallest=4)


def _png_exif(encoded: Tensor) -> Tensor:
    """Returns the data of the first eXIf chunk, or an empty string."""

    def part(at: Tensor) -> tuple[Tensor, Tensor]:
        length = tf.reduce_sum(_octets(encoded, at, 4) * [2**24, 2**16, 2**8, 1])
        data = tf.strings.substr(encoded, at + 8, length)
        found = tf.strings.substr(encoded, at + 4, np.int64(4)) == b"eXIf"
        # Length, type, data, checksum.
        return at + 12 + length, tf.where(found, data, b"")

    return _first_found(part, encoded, start=len(PNG_SIGNATURE), smallest=8)


# More than any position in a file.
_BEYOND = np.int64(2**40)


def _first_found(
    part: Callable[[Tensor], tuple[Tensor, Tensor]], encoded: Tensor, *, start: int, smallest: int
) -> Tensor:
    """Goes from part to part of a file until one gives a string that is not empty."""
    end = tf.cast(tf.strings.length(encoded), tf.int64)
    _, exif = tf.while_loop(
        lambda at, exif: (at + smallest <= end) & (tf.strings.length(exif) == 0),
        lambda at, exif: part(at),
        [tf.constant(start, tf.int64), tf.constant(b"")],
        maximum_iterations=MAX_PARTS,
    )
    return exif


def _octets(encoded: Tensor, at: Tensor, count: int) -> Tensor:
    """Returns `[count]` bytes as int64."""
    octets = tf.io.decode_raw(tf.strings.substr(encoded, at, np.int64(count)), tf.uint8)
    return tf.cast(tf.ensure_shape(octets, [count]), tf.int64)


def _padded(values: Tensor, size: int) -> Tensor:
    return tf.concat([values, tf.zeros([size], values.dtype)], axis=0)[:size]


def _starts_with(text: Tensor, prefix: bytes) -> Tensor:
    return tf.strings.substr(text, 0, len(prefix)) == prefix


def _is_in(value: Tensor, values: frozenset[int]) -> Tensor:
    return tf.reduce_any(value == tf.constant(sorted(values), tf.int64))
