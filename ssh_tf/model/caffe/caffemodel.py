"""Reads the weights out of a Caffe weight file (`.caffemodel`).

Must not import TensorFlow or Keras.

A `.caffemodel` is one protobuf message, `NetParameter`. Protobuf's own parser would need Caffe's
schema compiled, and hold the file several times: its bytes, the message, the arrays. The wire
format is public and weights need few of its fields, so it is walked here over a memory map: the
arrays are read-only views of the map (do not overwrite the file while they are in use), and only
`double_data` and split blobs are copied.

References:
    Message and field numbers: BVLC Caffe, `src/caffe/proto/caffe.proto`; wire format:
    protobuf.dev/programming-guides/encoding.
"""

import math
import mmap
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ssh_tf.errors import UserError

Array = npt.NDArray[np.float32]

# Wire types of protobuf.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZE = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT_BYTES = 10
_MAX_FIELD_NUMBER = 2**29 - 1
# NetParameter.layer and its legacy form NetParameter.layers: field -> (name field, blobs field).
_LAYER_FIELDS = {100: (1, 7), 2: (4, 6)}
# BlobProto.
_LEGACY_DIMS = (1, 2, 3, 4)  # num, channels, height, width
_DATA, _SHAPE, _DOUBLE_DATA = 5, 7, 8
_MAX_AXES = 32  # Caffe's kMaxBlobAxes

_SIGNATURES = {
    b"version https://git-lfs": "a Git-LFS pointer, not the file itself. Run `git lfs pull`",
    b"PK\x03\x04": "a zip archive. Unpack it first",
    b"\x1f\x8b": "a gzip archive. Unpack it first",
    b"BZh": "a bzip2 archive. Unpack it first",
    b"\xfd7zXZ\x00": "an xz archive. Unpack it first",
    b"7z\xbc\xaf": "a 7z archive. Unpack it first",
    b"Rar!": "a rar archive. Unpack it first",
    b"\x89HDF": "an HDF5 file. Give the binary .caffemodel",
}
_HEAD_BYTES = 4096
_HTML = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|!--|html|head|\?xml)", re.IGNORECASE)
_PROTOTXT = re.compile(rb"\blayers?\s*\{|^\s*(name|input)\s*:", re.MULTILINE)
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f\xf8-\xff]")  # in no UTF-8 text


class _WireError(Exception):
    """The bytes are no protobuf message, or not one that Caffe writes."""


class _OverrunError(_WireError):
    """A field goes on behind the end of its message."""


class _Field(NamedTuple):
    """One field of a message; neighbouring fixed-size fields of one number count as one.

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


def read_caffemodel(path: Path) -> dict[str, list[Array]]:
    """Reads all weights of a `.caffemodel`, in the current or the legacy encoding.

    Args:
        path: The file. It stays mapped as long as one of the returned arrays lives.

    Returns:
        Layer name -> its blobs, float32, read-only, in the file's order and in Caffe's axis order
        (kernels OIHW, biases `[O]`). Layers without blobs are left out. A layer that the file
        repeats bit by bit, as the train net does with `m1@ssh_7x7`, is there once. A file that was
        cut exactly between two layers reads as a network of the layers before the cut.

    Raises:
        UserError: If the file is missing, empty, truncated, damaged, no `.caffemodel`, or holds
            different weights under one name.
    """
    data = _map_file(path)
    _reject_other_formats(path, data[:_HEAD_BYTES])
    layers: dict[str, list[Array]] = {}
    for name, blobs in _layers(path, data):
        if not blobs:
            continue
        if not same_bits(layers.setdefault(name, blobs), blobs):
            raise UserError(
                f"{path} holds layer {name!r} twice with different weights. Expected equal copies."
                " Save the network again with Caffe."
            )
    if not layers:
        raise UserError(
            f"{path} holds no layer with weights. Expected a .caffemodel, the weights of a network"
            " as Caffe saves them. Download or save it again."
        )
    return layers


def same_bits(ours: Sequence[Array], theirs: Sequence[Array]) -> bool:
    """Compares blobs bit by bit, so that a NaN equals itself and -0 differs from 0."""
    return len(ours) == len(theirs) and all(
        a is b or np.array_equal(a.view(np.uint32), b.view(np.uint32))
        for a, b in zip(ours, theirs, strict=True)
    )


def _map_file(path: Path) -> mmap.mmap:
    """Maps a file read-only into memory."""
    try:
        with path.open("rb") as file:
            if not file.seek(0, 2):
                raise UserError(f"{path} is empty. Expected a .caffemodel. Download it again.")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UserError(
            f"{path} can't be read ({error.strerror}). Expected a .caffemodel file. Check the path."
        ) from error


def _reject_other_formats(path: Path, head: bytes) -> None:
    """Raises `UserError` if a file's first bytes are those of something that people mistake."""
    found = next((text for magic, text in _SIGNATURES.items() if head.startswith(magic)), "")
    if not found and _HTML.match(head):
        found = "a web page, not the file behind its link. Download the file itself"
    # A network's head always has control characters: they number its layers' fields.
    if not found and not _NO_TEXT.search(head):
        is_network = _PROTOTXT.search(head)
        found = "a .prototxt, the network without weights" if is_network else "a text file"
        found += ". Give the .caffemodel"
    if found:
        raise UserError(f"Expected a .caffemodel with weights, but {path} is {found}.")


def _layers(path: Path, data: mmap.mmap) -> Iterator[tuple[str, list[Array]]]:
    """Yields name and blobs of each layer; turns format errors into `UserError`."""
    place = "before its first layer"
    is_network = False
    try:
        for field in _fields(data, 0, len(data)):
            if field.wire != _BYTES or field.number not in _LAYER_FIELDS:
                continue
            is_network = True
            name, blobs = _layer(path, data, field)
            place = f"after layer {name!r}"
            yield name, blobs
    except _OverrunError as error:
        unlike = "" if is_network else ", or no .caffemodel at all"
        raise UserError(
            f"{path} is truncated{unlike}: it ends at byte {len(data)}, {place}, inside a record"
            f" ({error}). Expected a whole .caffemodel. Download or copy it again."
        ) from error
    except _WireError as error:
        raise UserError(
            f"{path} is no .caffemodel, or damaged {place}: {error}. Download or save it again."
        ) from error


def _layer(path: Path, data: mmap.mmap, record: _Field) -> tuple[str, list[Array]]:
    """Reads one LayerParameter or V1LayerParameter: name and blobs."""
    name_field, blobs_field = _LAYER_FIELDS[record.number]
    name = ""
    blobs: list[Array] = []
    try:
        for field in _fields(data, record.start, record.stop):
            if field.wire == _BYTES and field.number == name_field:
                name = str(data[field.start : field.stop], "utf-8")
            elif field.wire == _BYTES and field.number == blobs_field:
                blobs.append(_blob(data, field))
    except (_WireError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is no .caffemodel, or damaged: layer {name!r} at byte {record.start} can't be"
            f" read ({error}). Download or save it again."
        ) from error
    return name, [blobs[0], *map(_flat_bias, blobs[1:])] if blobs else []


def _blob(data: mmap.mmap, record: _Field) -> Array:
    """Reads one BlobProto, in its own shape."""
    legacy: dict[int, int] = {}
    dims: list[int] = []
    chunks: dict[int, list[npt.NDArray[np.generic]]] = {_DATA: [], _DOUBLE_DATA: []}
    for field in _fields(data, record.start, record.stop):
        if field.number in _LEGACY_DIMS and field.wire == _VARINT:
            legacy[field.number] = field.value
        elif field.number == _SHAPE and field.wire == _BYTES:
            dims += _shape_dims(data, field)
        elif field.number == _DATA and field.wire in (_BYTES, _FIXED32):
            chunks[_DATA].append(_numbers(data, field, "<f4"))
        elif field.number == _DOUBLE_DATA and field.wire in (_BYTES, _FIXED64):
            chunks[_DOUBLE_DATA].append(_numbers(data, field, "<f8"))
    shape = tuple(legacy.get(axis, 0) for axis in _LEGACY_DIMS) if legacy else tuple(dims)
    # Caffe's Blob::FromProto prefers double_data as well.
    return _shaped(_float32(chunks[_DOUBLE_DATA] or chunks[_DATA]), shape)


def _shape_dims(data: mmap.mmap, record: _Field) -> list[int]:
    """Reads a BlobShape: `dim` = 1, packed or one by one."""
    dims: list[int] = []
    for field in _fields(data, record.start, record.stop):
        if field.number == 1 and field.wire == _VARINT:
            dims.append(field.value)
        elif field.number == 1 and field.wire == _BYTES:
            position = field.start
            while position < field.stop:
                value, position = _varint(data, position, field.stop)
                dims.append(value)
    return dims


def _numbers(data: mmap.mmap, field: _Field, dtype: str) -> npt.NDArray[np.generic]:
    """Views a field's numbers in the map: packed side by side, or each behind its own tag."""
    size = np.dtype(dtype).itemsize
    stride = size if field.wire == _BYTES else size + 1
    payload = field.stop - field.start
    if field.wire == _BYTES and payload % size:
        raise _WireError(f"{payload} bytes at byte {field.start} are no numbers of {size} bytes")
    if not payload:
        return np.empty(0, dtype)
    count = (payload - size) // stride + 1
    return np.ndarray((count,), dtype, data, field.start, (stride,))


def _float32(chunks: Sequence[npt.NDArray[np.generic]]) -> Array:
    """Joins a blob's numbers; a single float32 chunk stays the view it is."""
    joined = chunks[0] if len(chunks) == 1 else np.concatenate(chunks or [np.empty(0, "<f4")])
    with np.errstate(all="ignore"):  # beyond float32 is infinity, as in Caffe's own cast
        return joined.astype(np.float32, copy=False)


def _shaped(values: Array, shape: tuple[int, ...]) -> Array:
    """Gives a blob its shape; the number of axes is checked first, for a product in bounds."""
    if not values.size or len(shape) > _MAX_AXES or math.prod(shape) != values.size:
        raise _WireError(f"a blob of shape {shape[:8]} has {values.size} values")
    return values.reshape(shape)


def _flat_bias(blob: Array) -> Array:
    """Drops the axes of length 1 of a legacy bias, `[1, 1, 1, O]` -> `[O]`."""
    return blob.reshape(-1) if blob.size == max(blob.shape, default=1) else blob


def _fields(data: mmap.mmap, start: int, stop: int) -> Iterator[_Field]:
    """Walks the fields of the message in `data[start:stop]`."""
    begin = start
    while begin < stop:
        tag, position = _varint(data, begin, stop)
        number, wire = tag >> 3, tag & 7
        value, end = 0, position
        if wire == _VARINT:
            value, end = _varint(data, position, stop)
        elif wire == _BYTES:
            length, position = _varint(data, position, stop)
            end = position + length
        elif wire in _FIXED_SIZE:
            end = position + _FIXED_SIZE[wire] + _repeats(data, begin, position, stop)
        else:
            raise _WireError(f"byte {begin} begins no field that Caffe writes")
        if not 0 < number <= _MAX_FIELD_NUMBER:
            raise _WireError(f"byte {begin} begins no field that Caffe writes")
        if end > stop:
            raise _OverrunError(f"the field at byte {begin} should end at byte {end}")
        yield _Field(number, wire, position, end, value)
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


def _varint(data: mmap.mmap, position: int, stop: int) -> tuple[int, int]:
    """Reads a base-128 number of at most 64 bits; returns it and the position behind it."""
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if position + index >= stop:
            raise _OverrunError(f"the number at byte {position} has no end")
        byte = data[position + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, position + index + 1
    raise _WireError(f"the number at byte {position} has more than {_MAX_VARINT_BYTES} bytes")
