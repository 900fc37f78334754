"""Writes `.caffemodel` files for tests, as Caffe does: the inverse of `model/caffe/caffemodel.py`.

Field numbers: BVLC Caffe, `src/caffe/proto/caffe.proto`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssh_tf.model.caffe.convert import KERAS_NAMES

VARINT, BYTES = 0, 2
CONVOLUTION = 4  # V1LayerParameter.LayerType

Layers = Iterable[tuple[str, Sequence[npt.NDArray[np.float32]]]]


def write_caffemodel(
    path: Path, layers: Layers, *, legacy: bool = False, double: bool = False, packed: bool = True
) -> None:
    """Writes a network's weights.

    Args:
        path: The file.
        layers: (Layer name, its arrays) in the file's order: kernels OIHW, biases 1-D. A layer
            without arrays becomes one without blobs; a name may come twice.
        legacy: Writes `layers` (V1LayerParameter) with 4-d blob shapes instead of `layer`.
        double: Writes `double_data` instead of `data`.
        packed: Writes numbers side by side instead of each behind its own tag.
    """
    with path.open("wb") as file:
        file.write(message(1, b"test network"))
        for name, arrays in layers:
            blobs = [blob(array, legacy=legacy, double=double, packed=packed) for array in arrays]
            file.write(layer(name, blobs, legacy=legacy))


def random_layers(
    expected: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]], rng: np.random.Generator
) -> dict[str, list[npt.NDArray[np.float32]]]:
    """Makes Caffe layers (kernel OIHW, bias) for a Keras network.

    Args:
        expected: Keras layer name -> (kernel shape HWIO, bias shape).
        rng: Source of the values, standard normal.
    """

    def random(*shape: int) -> npt.NDArray[np.float32]:
        return rng.standard_normal(shape, dtype=np.float32)

    return {
        caffe: [random(*(expected[keras][0][axis] for axis in (3, 2, 0, 1))), random(*bias)]
        for caffe, keras in KERAS_NAMES.items()
        if keras in expected
        for bias in [expected[keras][1]]
    }


def layer(name: str, blobs: Iterable[bytes], *, legacy: bool = False) -> bytes:
    """Encodes one layer with its encoded blobs as a field of NetParameter."""
    if legacy:
        head = message(2, b"bottom") + message(3, b"top") + message(4, name.encode())
        kind = number(5, CONVOLUTION)
        return message(2, head + kind + b"".join(message(6, blob) for blob in blobs))
    head = message(1, name.encode()) + message(2, b"Convolution") + message(3, b"bottom")
    return message(100, head + b"".join(message(7, blob) for blob in blobs))


def blob(
    array: npt.NDArray[np.float32],
    *,
    legacy: bool = False,
    double: bool = False,
    packed: bool = True,
) -> bytes:
    """Encodes one BlobProto."""
    if legacy:
        dims = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(number(axis, dim) for axis, dim in enumerate(dims, start=1))
    elif packed:
        shape = message(7, message(1, b"".join(map(varint, array.shape))))
    else:
        shape = message(7, b"".join(number(1, dim) for dim in array.shape))
    return shape + _numbers(array, double, packed)


def _numbers(array: npt.NDArray[np.float32], double: bool, packed: bool) -> bytes:
    field, wire, dtype = (8, 1, "<f8") if double else (5, 5, "<f4")
    values = np.ascontiguousarray(array, dtype).reshape(-1)
    if packed:
        return message(field, values.tobytes())
    records = np.empty(values.size, [("tag", "u1"), ("value", dtype)])
    records["tag"], records["value"] = field << 3 | wire, values
    return records.tobytes()


def message(field: int, payload: bytes) -> bytes:
    """Encodes a length-delimited field: a string, a message, packed numbers."""
    return varint(field << 3 | BYTES) + varint(len(payload)) + payload


def number(field: int, value: int) -> bytes:
    """Encodes an integer field."""
    return varint(field << 3 | VARINT) + varint(value)


def varint(value: int) -> bytes:
    """Encodes a non-negative integer in base 128."""
    head = bytearray()
    while value > 0x7F:
        head.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*head, value])
