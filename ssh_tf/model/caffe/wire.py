"""Protobuf's wire format, as far as weights need it.

References:
    protobuf.dev/programming-guides/encoding.
"""

import mmap
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# Wire types of protobuf.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED_SIZE = {FIXED64: 8, FIXED32: 4}
_MAX_VARINT_BYTES = 10
_MAX_FIELD_NUMBER = 2**29 - 1


class WireError(Exception):
    """The bytes are no protobuf message, or not one that Caffe writes."""


class OverrunError(WireError):
    """A field goes on behind the end of its message."""


class Field(NamedTuple):
    """One field of a message; neighboring fixed-size fields of one number count as one.

    Attributes:
        number: The field number.
        wire: The wire type.
        start: First byte of the payload in the file.
        stop: One past its last byte.
        value: The number of a varint, else 0.
    """

    number: int
    wire: int
    start: int
    stop: int
    value: int


def fields(data: mmap.mmap, start: int, stop: int) -> Iterator[Field]:
    """Walks the fields of the message in `data[start:stop]`."""
    begin = start
    while begin < stop:
        tag, position = varint(data, begin, stop)
        number, wire = tag >> 3, tag & 7
        value, end = 0, position
        if wire == VARINT:
            value, end = varint(data, position, stop)
        elif wire == BYTES:
            length, position = varint(data, position, stop)
            end = position + length
        elif wire in _FIXED_SIZE:
            end = position + _FIXED_SIZE[wire] + _repeats(data, begin, position, stop)
        else:
            raise WireError(f"byte {begin} begins no field that Caffe writes")
        if not 0 < number <= _MAX_FIELD_NUMBER:
            raise WireError(f"byte {begin} begins no field that Caffe writes")
        if end > stop:
            raise OverrunError(f"the field at byte {begin} should end at byte {end}")
        yield Field(number, wire, position, end, value)
        begin = end


def _repeats(data: mmap.mmap, begin: int, position: int, stop: int) -> int:
    """Counts the bytes of further fields with the one-byte tag of the fixed-size one at `begin`.

    Unpacked numbers repeat their tag before each of them. Their run is found by NumPy, in windows
    that grow, so that neither a million numbers nor a million runs take long.
    """
    stride = 1 + _FIXED_SIZE[data[begin] & 7]
    tags = np.ndarray((max(stop - begin, 0) // stride,), np.uint8, data, begin, (stride,))
    if position - begin != 1 or len(tags) < 2:
        return 0
    length, window = 1, 1
    while length < len(tags):
        others = np.flatnonzero(tags[length : length + window] != tags[0])
        if others.size:
            return (length - 1 + int(others[0])) * stride
        length, window = length + window, 2 * window
    return (len(tags) - 1) * stride


def varint(data: mmap.mmap, position: int, stop: int) -> tuple[int, int]:
    """Reads a base-128 number of at most 64 bits; returns it and the position behind it."""
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if position + index >= stop:
            raise OverrunError(f"the number at byte {position} has no end")
        byte = data[position + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, position + index + 1
    raise WireError(f"the number at byte {position} has more than {_MAX_VARINT_BYTES} bytes")


def numbers(data: mmap.mmap, field: Field, dtype: str) -> npt.NDArray[np.generic]:
    """Views a field's numbers in the map: packed side by side, or each behind its own tag."""
    size = np.dtype(dtype).itemsize
    stride = size if field.wire == BYTES else size + 1
    payload = field.stop - field.start
    if field.wire == BYTES and payload % size:
        raise WireError(f"{payload} bytes at byte {field.start} are no numbers of {size} bytes")
    if not payload:
        return np.empty(0, dtype)
    count = (payload - size) // stride + 1
    return np.ndarray((count,), dtype, data, field.start, (stride,))
