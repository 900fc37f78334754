"""The segments of a JPEG and the chunks of a PNG, walked inside a graph.

`imaging/header.py` has the same rules in Python: TensorFlow's operations, called one by one, take
a hundred times as long.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ssh_tf.imaging.header import (
    BARE_MARKERS,
    INFLATION,
    INFLATION_LIMIT,
    LAST_MARKERS,
    MAX_PARTS,
    PNG_SIGNATURE,
    SMALL_CHUNK,
    TEXT_CHUNKS,
)

Tensor = Any

# More than any position in a file.
_BEYOND = np.int64(2**40)
_NOWHERE = np.int64(-1)


def find_segment(encoded: Tensor, wanted: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Finds a segment in the header of a JPEG.

    Args:
        encoded: Scalar string, the file's bytes.
        wanted: Whether a segment is the one; called with its marker and its position, int64.

    Returns:
        Scalar int64, the position of its marker; -1 if none of the first `MAX_PARTS` is wanted.
    """

    def part(at: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
        prefix, marker, high, low = tf.unstack(octets(encoded, at, 4))
        stray = (prefix != 0xFF) | (marker == 0xFF)
        step = tf.where(_is_in(marker, BARE_MARKERS), np.int64(2), 2 + 256 * high + low)
        step = tf.where(_is_in(marker, LAST_MARKERS), _BEYOND, step)
        step = tf.where(stray, np.int64(1), step)
        return at + step, tf.where(~stray & wanted(marker, at), at, found)

    end = length(encoded) - 4
    _, found = tf.while_loop(
        lambda at, found: (at <= end) & (found < 0),
        part,
        (tf.constant(2, tf.int64), _NOWHERE),
        maximum_iterations=MAX_PARTS,
    )
    return found


def find_chunk(encoded: Tensor, kind: bytes) -> Tensor:
    """Finds a chunk of a PNG.

    Args:
        encoded: Scalar string, the file's bytes.
        kind: Four letters.

    Returns:
        Scalar int64, its position; -1 if none of the first `MAX_PARTS` is of that kind.
    """

    def part(at: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
        wanted = tf.strings.substr(encoded, at + 4, np.int64(4)) == kind
        return at + 12 + chunk_length(encoded, at), tf.where(wanted, at, found)

    end = length(encoded) - 8
    _, found = tf.while_loop(
        lambda at, found: (at <= end) & (found < 0),
        part,
        (tf.constant(len(PNG_SIGNATURE), tf.int64), _NOWHERE),
        maximum_iterations=MAX_PARTS,
    )
    return found


def inflated_text(encoded: Tensor) -> Tensor:
    """Does what `header.inflated_text` does, in a graph.

    Args:
        encoded: Scalar string, the bytes of a PNG.

    Returns:
        Scalar int64.
    """
    size = length(encoded)
    most = MAX_PARTS + tf.cast(size // SMALL_CHUNK, tf.int32)

    def part(at: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        kind = tf.strings.substr(encoded, at + 4, np.int64(4))
        text = tf.reduce_any(kind == tf.constant(TEXT_CHUNKS))
        step = chunk_length(encoded, at)
        grown = tf.minimum(INFLATION * step, np.int64(INFLATION_LIMIT))
        return at + 12 + step, total + tf.where(text, grown, np.int64(0))

    at, total = tf.while_loop(
        lambda at, total: at <= size - 8,
        part,
        (tf.constant(len(PNG_SIGNATURE), tf.int64), np.int64(0)),
        maximum_iterations=most,
    )
    return tf.where(at <= size - 8, _BEYOND, total)


def length(encoded: Tensor) -> Tensor:
    """Returns the number of bytes, int64."""
    return tf.cast(tf.strings.length(encoded), tf.int64)


def chunk_length(encoded: Tensor, at: Tensor) -> Tensor:
    """Returns the number of bytes in the chunk at a position of a PNG, int64."""
    return tf.reduce_sum(octets(encoded, at, 4) * [2**24, 2**16, 2**8, 1])


def octets(encoded: Tensor, at: Tensor, count: int) -> Tensor:
    """Returns `[count]` bytes from a position on, as int64."""
    found = tf.io.decode_raw(tf.strings.substr(encoded, at, np.int64(count)), tf.uint8)
    return tf.cast(tf.ensure_shape(found, [count]), tf.int64)


def starts_with(text: Tensor, prefix: bytes) -> Tensor:
    """Whether a scalar string begins with `prefix`."""
    return tf.strings.substr(text, 0, len(prefix)) == prefix


def _is_in(value: Tensor, values: frozenset[int]) -> Tensor:
    return tf.reduce_any(value == tf.constant(sorted(values), tf.int64))
