"""Reads the weights out of a Caffe weight file (`.caffemodel`).

Must not import TensorFlow or Keras.

A `.caffemodel` is one protobuf message, `NetParameter`. Protobuf's own parser holds the file three
times: its bytes, the message, the arrays (measured: 3.1 times the file, variables included, against
1.8). The wire format is public and weights need few of its fields, so it is walked here over a
memory map: the arrays are read-only views of the map (do not overwrite the file while they are in
use), and only `double_data` and split blobs are copied.

References:
    Message and field numbers: BVLC Caffe, `src/caffe/proto/caffe.proto`.
"""

import math
import mmap
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssh_tf.errors import UserError
from ssh_tf.model.caffe.wire import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Field,
    OverrunError,
    WireError,
    fields,
    numbers,
    varint,
)

Array = npt.NDArray[np.float32]

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
        for field in fields(data, 0, len(data)):
            if field.wire != BYTES or field.number not in _LAYER_FIELDS:
                continue
            is_network = True
            name, blobs = _layer(path, data, field)
            place = f"after layer {name!r}"
            yield name, blobs
    except OverrunError as error:
        unlike = "" if is_network else ", or no .caffemodel at all"
        raise UserError(
            f"{path} is truncated{unlike}: it ends at byte {len(data)}, {place}, inside a record"
            f" ({error}). Expected a whole .caffemodel. Download or copy it again."
        ) from error
    except WireError as error:
        raise UserError(
            f"{path} is no .caffemodel, or damaged {place}: {error}. Download or save it again."
        ) from error


def _layer(path: Path, data: mmap.mmap, record: Field) -> tuple[str, list[Array]]:
    """Reads one LayerParameter or V1LayerParameter: name and blobs."""
    name_field, blobs_field = _LAYER_FIELDS[record.number]
    name = ""
    blobs: list[Array] = []
    try:
        for field in fields(data, record.start, record.stop):
            if field.wire == BYTES and field.number == name_field:
                name = str(data[field.start : field.stop], "utf-8")
            elif field.wire == BYTES and field.number == blobs_field:
                blobs.append(_blob(data, field))
    except (WireError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is no .caffemodel, or damaged: layer {name!r} at byte {record.start} can't be"
            f" read ({error}). Download or save it again."
        ) from error
    return name, [blobs[0], *map(_flat_bias, blobs[1:])] if blobs else []


def _blob(data: mmap.mmap, record: Field) -> Array:
    """Reads one BlobProto, in its own shape."""
    legacy: dict[int, int] = {}
    dims: list[int] = []
    chunks: dict[int, list[npt.NDArray[np.generic]]] = {_DATA: [], _DOUBLE_DATA: []}
    for field in fields(data, record.start, record.stop):
        if field.number in _LEGACY_DIMS and field.wire == VARINT:
            legacy[field.number] = field.value
        elif field.number == _SHAPE and field.wire == BYTES:
            dims += _shape_dims(data, field)
        elif field.number == _DATA and field.wire in (BYTES, FIXED32):
            chunks[_DATA].append(numbers(data, field, "<f4"))
        elif field.number == _DOUBLE_DATA and field.wire in (BYTES, FIXED64):
            chunks[_DOUBLE_DATA].append(numbers(data, field, "<f8"))
    shape = tuple(legacy.get(axis, 0) for axis in _LEGACY_DIMS) if legacy else tuple(dims)
    # Caffe's Blob::FromProto prefers double_data as well.
    return _shaped(_float32(chunks[_DOUBLE_DATA] or chunks[_DATA]), shape)


def _shape_dims(data: mmap.mmap, record: Field) -> list[int]:
    """Reads a BlobShape: `dim` = 1, packed or one by one."""
    dims: list[int] = []
    for field in fields(data, record.start, record.stop):
        if field.number == 1 and field.wire == VARINT:
            dims.append(field.value)
        elif field.number == 1 and field.wire == BYTES:
            position = field.start
            while position < field.stop:
                value, position = varint(data, position, field.stop)
                dims.append(value)
    return dims


def _float32(chunks: Sequence[npt.NDArray[np.generic]]) -> Array:
    """Joins a blob's numbers; a single float32 chunk stays the view it is."""
    joined = chunks[0] if len(chunks) == 1 else np.concatenate(chunks or [np.empty(0, "<f4")])
    with np.errstate(all="ignore"):  # beyond float32 is infinity, as in Caffe's own cast
        return joined.astype(np.float32, copy=False)


def _shaped(values: Array, shape: tuple[int, ...]) -> Array:
    """Gives a blob its shape; the number of axes is checked first, for a product in bounds."""
    if not values.size or len(shape) > _MAX_AXES or math.prod(shape) != values.size:
        raise WireError(f"a blob of shape {shape[:8]} has {values.size} values")
    return values.reshape(shape)


def _flat_bias(blob: Array) -> Array:
    """Drops the axes of length 1 of a legacy bias, `[1, 1, 1, O]` -> `[O]`."""
    return blob.reshape(-1) if blob.size == max(blob.shape, default=1) else blob
