"""Requests and answers of the REST API as arrays: rows and columns, base64, JSON without NaN.

The rules and most messages are those of TensorFlow Serving's `api_rest.md` and `json_tensor.cc`.
"""

import base64
import codecs
import itertools
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import tensorflow as tf

from ssh_tf.server.errors import ServingError, invalid
from ssh_tf.server.model import Arrays, dtype_of

Body = bytes | bytearray

_GZIP = 16 + zlib.MAX_WBITS
_MAX_RANK = 32
_SPACE = b" \t\n\v\f\r"


def unpack(body: Body, encoding: str, max_bytes: int) -> Body:
    """Undoes a `Content-Encoding`.

    Args:
        body: As received.
        encoding: `""`, `"identity"` or `"gzip"`.
        max_bytes: Most bytes of the result: a bomb is never unpacked whole.

    Raises:
        ServingError: For another encoding, broken data, or too much of it.
    """
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        message = f"Content-Encoding must be gzip or none. Received: {encoding}"
        raise ServingError("INVALID_ARGUMENT", message, http_status=415)
    unpacker = zlib.decompressobj(_GZIP)
    try:
        data = unpacker.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise invalid("The body is not whole gzip data") from error
    if len(data) > max_bytes:
        raise too_large(max_bytes)
    if not unpacker.eof or unpacker.unused_data:
        raise invalid("The body is not whole gzip data")
    return data


def too_large(max_bytes: int) -> ServingError:
    """Returns the error for a body beyond the limit."""
    message = f"The request body is larger than {max_bytes} bytes"
    return ServingError("RESOURCE_EXHAUSTED", message, http_status=413)


def parse(body: Body) -> dict[str, Any]:
    """Returns the JSON object of a request.

    As TensorFlow Serving's parser does, it skips a byte order mark and ends at a zero byte.

    Raises:
        ServingError: If it is none. NaN and Infinity are no JSON.
    """
    if body.startswith(codecs.BOM_UTF8):
        body = body[len(codecs.BOM_UTF8) :]
    if (end := body.find(0)) >= 0:
        body = body[:end]
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(request, dict):
        raise invalid("JSON Value: Is not object")
    if not isinstance(request.get("signature_name", ""), str):
        raise invalid("'signature_name' key must be a string value.")
    if ("instances" in request) == ("inputs" in request):
        raise invalid("Expecting exactly one of the keys 'inputs' and 'instances'")
    return request


def inputs_of(request: Mapping[str, Any], infos: Mapping[str, Any]) -> Arrays:
    """Returns the arrays of a parsed request.

    Args:
        request: From `parse`.
        infos: `TensorInfo` of each input of the signature.

    Raises:
        ServingError: If they don't fit.
    """
    named = _columns(request["inputs"], infos) if "inputs" in request else _rows(request, infos)
    return {key: _array(key, value, dtype_of(infos[key])) for key, value in named.items()}


def encode(outputs: Arrays, *, rows: bool) -> bytes:
    """Returns the JSON of an answer.

    Args:
        outputs: From `Model.predict`.
        rows: Whether the request had `instances`; else it had `inputs`.

    Raises:
        ServingError: If an output is not finite, or has no rows where rows were asked for.
    """
    values = {key: _json_value(key, array) for key, array in sorted(outputs.items())}
    result: Any
    if rows:
        sizes = {key: array.shape[0] if array.ndim else None for key, array in outputs.items()}
        if len(set(sizes.values())) != 1 or None in sizes.values():
            raise invalid(f"The outputs have inconsistent batch sizes: {sizes}. Use 'inputs'.")
        columns = zip(*values.values(), strict=True)
        result = [dict(zip(values, row, strict=True)) for row in columns]
        result = [next(iter(row.values())) for row in result] if len(values) == 1 else result
    else:
        result = next(iter(values.values())) if len(values) == 1 else values
    key = "predictions" if rows else "outputs"
    return orjson.dumps({key: result}, default=np.ndarray.tolist, option=orjson.OPT_SERIALIZE_NUMPY)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _columns(inputs: Any, infos: Mapping[str, Any]) -> dict[str, Any]:
    if _is_named(inputs):
        if missing := sorted(set(infos) - set(inputs)):
            raise invalid(f"Missing named input: {missing[0]} in 'inputs' object.")
        return {key: inputs[key] for key in infos}
    if len(infos) > 1:
        raise invalid("inputs is a plain value/list, but expecting an object of several inputs")
    return {next(iter(infos)): inputs}


def _rows(request: Mapping[str, Any], infos: Mapping[str, Any]) -> dict[str, list[Any]]:
    instances = request["instances"]
    if not isinstance(instances, list):
        raise invalid("Excepting 'instances' to be an list/array")
    if not instances:
        raise invalid("No values in 'instances' array")
    if not any(_is_named(row) for row in instances):
        if len(infos) > 1:
            raise invalid("instances is a plain list, but expecting list of objects")
        return {next(iter(infos)): instances}
    for number, row in enumerate(instances):
        if not _is_named(row) or set(row) != set(infos):
            keys = ",".join(sorted(infos))
            raise invalid(
                f"Failed to process element: {number} of 'instances' list. "
                f"It must be an object whose keys must be equal to: {keys}"
            )
    return {key: [row[key] for row in instances] for key in infos}


def _array(key: str, value: Any, dtype: tf.DType) -> np.ndarray:
    shape, leaves = _flatten(key, value)
    if dtype == tf.string:
        # Filled one by one: NumPy would make a fixed-width type of bytes and cut zeros off.
        array = np.empty(len(leaves), object)
        for i, leaf in enumerate(leaves):
            array[i] = _bytes(key, leaf)
    else:
        array = _numbers(key, leaves, dtype)
    return array.reshape(shape)


def _flatten(key: str, value: Any) -> tuple[list[int], list[Any]]:
    """Returns the shape of nested lists and what they hold; a value that is no list has none."""
    shape: list[int] = []
    leaves = [value]
    while leaves and isinstance(leaves[0], list) and len(shape) < _MAX_RANK:
        size = len(leaves[0])
        if not all(isinstance(leaf, list) and len(leaf) == size for leaf in leaves):
            raise invalid(f"Input {key}: Encountered list at unexpected size, expected: {size}")
        shape.append(size)
        leaves = list(itertools.chain.from_iterable(leaves))
    return shape, leaves


def _numbers(key: str, leaves: list[Any], dtype: tf.DType) -> np.ndarray:
    wanted = np.dtype(dtype.as_numpy_dtype)
    # `bool` is no `int` here: TensorFlow Serving takes no `true` for a number, nor 1.0 for a 1.
    allowed = {"b": (bool,), "f": (int, float)}.get(wanted.kind, (int,))
    if not set(map(type, leaves)).issubset(allowed):
        raise invalid(f"Input {key}: JSON values are not of expected type: {dtype.name}")
    if wanted.kind == "f":
        return _floats(key, leaves, wanted)
    try:
        return np.array(leaves, wanted)
    except OverflowError as error:
        raise invalid(f"Input {key}: JSON values are out of the range of {dtype.name}") from error


def _floats(key: str, leaves: list[int | float], wanted: np.dtype[Any]) -> np.ndarray:
    with np.errstate(over="ignore"):
        array = np.array(leaves, np.float64).astype(wanted)
    if not np.isfinite(array).all():
        raise invalid(f"Input {key}: JSON values are out of the range of {wanted.name}")
    whole = 2 ** (np.finfo(wanted).nmant + 1)  # Up to here every whole number is exact.
    if any(type(leaf) is int and abs(leaf) >= whole for leaf in leaves):
        raise invalid(f"Input {key}: {wanted.name} can't hold a JSON value without loss")
    return array


def _bytes(key: str, leaf: Any) -> bytes:
    if isinstance(leaf, str):
        return leaf.encode()
    if not _is_base64(leaf):
        raise invalid(f'Input {key}: expected a string or an object {{"b64": "..."}}')
    try:
        return _unescape(leaf["b64"])
    except ValueError as error:
        raise invalid(f"Input {key}: Unable to base64 decode") from error


def _unescape(text: str) -> bytes:
    """Decodes base64 with or without line ends and padding, as abseil's `Base64Unescape` does.

    The `base64` tool, Java and Android break lines; many encoders leave out the padding.

    Raises:
        ValueError: For other characters, those of URLs included, or a wrong length or padding.
    """
    packed = text.encode("ascii").translate(None, _SPACE)
    digits = packed.rstrip(b"=.")
    padding = -len(digits) % 4
    if len(packed) - len(digits) not in (0, padding):
        raise ValueError("wrong padding")
    return base64.b64decode(digits + b"=" * padding, validate=True)


def _json_value(key: str, array: np.ndarray) -> Any:
    if array.dtype == object:
        return _json_strings(array.tolist(), binary=key.endswith("_bytes"))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ServingError("INTERNAL", f"Output {key} of the model holds NaN or Infinity")
    return array


def _json_strings(value: Any, *, binary: bool) -> Any:
    if isinstance(value, list):
        return [_json_strings(item, binary=binary) for item in value]
    if binary:
        return {"b64": base64.b64encode(value).decode()}
    return value.decode("utf-8", "replace")
