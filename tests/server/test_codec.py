"""Tests of requests and answers as arrays."""

import base64
import gzip
import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from ssh_tf.server import codec, messages
from ssh_tf.server.errors import ServingError

INFOS = {
    "a": TensorInfo(dtype=tf.int32.as_datatype_enum),
    "b": TensorInfo(dtype=tf.string.as_datatype_enum),
}
ONE_STRING = {"x": INFOS["b"]}
ONE_BYTE = {"x": TensorInfo(dtype=tf.uint8.as_datatype_enum)}
ONE_BOOL = {"x": TensorInfo(dtype=tf.bool.as_datatype_enum)}
ONE_FLOAT = {"x": TensorInfo(dtype=tf.float32.as_datatype_enum)}


def inputs(request: dict[str, Any], infos: dict[str, Any]) -> dict[str, Any]:
    arrays = codec.inputs_of(codec.parse(json.dumps(request).encode()), infos)
    return {key: array.tolist() for key, array in arrays.items()}


@pytest.mark.parametrize(
    "request_body",
    [
        {"instances": [{"a": 1, "b": "p"}, {"a": 2, "b": {"b64": "AAE="}}]},
        {"inputs": {"a": [1, 2], "b": ["p", {"b64": "AAE="}]}},
    ],
    ids=["rows", "columns"],
)
def test_rows_and_columns_are_the_same_inputs(request_body: dict[str, Any]):
    assert inputs(request_body, INFOS) == {"a": [1, 2], "b": [b"p", b"\x00\x01"]}


@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_a_single_input_needs_no_name(key: str):
    assert inputs({key: [{"b64": "AAE="}, "q"]}, ONE_STRING) == {"x": [b"\x00\x01", b"q"]}
    assert inputs({key: [[1, 2], [3, 4]]}, ONE_BYTE) == {"x": [[1, 2], [3, 4]]}


def test_zeros_at_the_end_of_a_string_stay():
    assert inputs({"inputs": [{"b64": "AQAA"}]}, ONE_STRING) == {"x": [b"\x01\x00\x00"]}


def test_numbers_keep_their_values():
    assert inputs({"inputs": [2**24 - 1, 0.5]}, ONE_FLOAT) == {"x": [2**24 - 1, 0.5]}
    assert inputs({"inputs": [[True], [False]]}, ONE_BOOL) == {"x": [[True], [False]]}
    assert inputs({"inputs": 7}, ONE_BYTE) == {"x": 7}


DATA = bytes(range(100))
PLAIN = base64.b64encode(DATA).decode()  # 136 characters, the last two of them padding


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        base64.encodebytes(DATA).decode(),  # lines of 76, as the tool and Python break them
        "\r\n".join(PLAIN[i : i + 64] for i in range(0, len(PLAIN), 64)),  # PEM, Android
        PLAIN.rstrip("="),
        PLAIN.rstrip("=") + "\n",
        PLAIN.replace("=", "."),
        f"\t {PLAIN[:-1]} =\v\f",
    ],
)
def test_base64_is_taken_in_every_form_that_tensorflow_serving_takes(text: str):
    assert inputs({"inputs": [{"b64": text}]}, ONE_STRING) == {"x": [DATA]}


@pytest.mark.parametrize(
    "text",
    ["A", "AAAAA", "AA=", "AAA==", "AAAA=", "A=AA", "==", "-_==", "AA\u00a0==", "A\0AA", "*"],
)
def test_what_is_no_base64_is_refused(text: str):
    with pytest.raises(ServingError, match="Unable to base64 decode"):
        inputs({"inputs": [{"b64": text}]}, ONE_STRING)


@pytest.mark.parametrize(
    "body", [b'\xef\xbb\xbf{"inputs": [7]}', b'{"inputs": [7]} \n\0rest', b'{"inputs": [7]}\0']
)
def test_a_byte_order_mark_and_what_follows_a_zero_byte_are_skipped(body: bytes):
    for form in (body, bytearray(body)):
        assert codec.parse(form) == {"inputs": [7]}


@pytest.mark.parametrize("name", ["x" * 10**7, "\x1b[31m\r\nx", "\u2028" * 10**5, "\0"])
def test_an_error_is_one_short_line_whatever_it_quotes(name: str):
    message = ServingError("INVALID_ARGUMENT", f"no {name}").message
    assert len(message) < 510
    assert message.isprintable()


def test_an_empty_column_is_an_empty_batch():
    assert inputs({"inputs": []}, ONE_STRING) == {"x": []}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error"),
        (b"\xff\xfe", "JSON Parse error"),
        (b'{"instances": [1', "JSON Parse error"),
        (b"[" * 100_000, "depth limit"),
        (b'{"instances": [NaN]}', "JSON Parse error"),
        (b'{"instances": [-Infinity]}', "JSON Parse error"),
        (b'{"instances": [1e400]}', "JSON Parse error"),
        (b'{"instances": ["\\ud800"]}', "JSON Parse error"),
        (b'{"instances": [' + b"9" * 5000 + b"]}", "JSON Parse error"),
        (b"[1]", "Is not object"),
        (b'{"instances": [1]} x', "JSON Parse error"),
        (b'\0{"instances": [1]}', "JSON Parse error"),
        (b"{}", "exactly one of the keys"),
        (b'{"instances": [1], "inputs": [1]}', "exactly one of the keys"),
        (b'{"instances": [1], "signature_name": 3}', "must be a string"),
    ],
)
def test_what_is_no_request_is_refused(body: bytes, message: str):
    with pytest.raises(ServingError, match=message) as caught:
        codec.parse(body)
    assert caught.value.http_status == 400


@pytest.mark.parametrize(
    ("request_body", "infos", "message"),
    [
        ({"instances": 3}, ONE_BYTE, "to be an list"),
        ({"instances": []}, ONE_BYTE, "No values in 'instances'"),
        ({"instances": [{"y": 1}]}, ONE_BYTE, "keys must be equal to: x"),
        ({"instances": [1, {"x": 1}]}, ONE_BYTE, "element: 0"),
        ({"instances": [1]}, INFOS, "expecting list of objects"),
        ({"inputs": [1]}, INFOS, "expecting an object"),
        ({"inputs": {"a": [1]}}, INFOS, "Missing named input: b"),
        (
            {"inputs": [[1, 2], [3]]},
            ONE_BYTE,
            "x: Encountered list at unexpected size, expected: 2",
        ),
        ({"inputs": [256]}, ONE_BYTE, "out of the range of uint8"),
        ({"inputs": [-1]}, ONE_BYTE, "out of the range of uint8"),
        ({"inputs": [1.5]}, ONE_BYTE, "not of expected type: uint8"),
        ({"inputs": [True]}, ONE_BYTE, "not of expected type: uint8"),
        ({"inputs": [1, True]}, ONE_BYTE, "not of expected type: uint8"),
        ({"inputs": [[1], [False]]}, ONE_BYTE, "not of expected type: uint8"),
        ({"inputs": [1.5, True]}, ONE_FLOAT, "not of expected type: float32"),
        ({"inputs": [True, 1]}, ONE_BOOL, "not of expected type: bool"),
        ({"inputs": [1, [2]]}, ONE_BYTE, "not of expected type: uint8"),
        ({"inputs": ["1"]}, ONE_BYTE, "not of expected type: uint8"),
        ({"inputs": [None]}, ONE_BYTE, "not of expected type: uint8"),
        ({"inputs": [10**30]}, ONE_BYTE, "not of expected type: uint8"),
        ({"inputs": [1e300]}, ONE_FLOAT, "out of the range of float32"),
        ({"inputs": [0.5, 2**24]}, ONE_FLOAT, "float32 can't hold a JSON value without loss"),
        ({"inputs": [2**31]}, {"x": INFOS["a"]}, "out of the range of int32"),
        ({"inputs": [3]}, ONE_STRING, 'expected a string or an object {"b64"'),
        ({"inputs": [{"b64": "*"}]}, ONE_STRING, "Unable to base64 decode"),
        ({"inputs": [{"b64": 3}]}, ONE_STRING, "expected a string"),
        ({"inputs": [["p"], ["q", "r"]]}, ONE_STRING, "list at unexpected size"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    request_body: dict[str, Any], infos: dict[str, Any], message: str
):
    with pytest.raises(ServingError) as caught:
        inputs(request_body, infos)
    assert message in caught.value.message
    assert caught.value.code == "INVALID_ARGUMENT"


OUTPUTS = {"n": np.array([1, 2]), "z_bytes": np.array([b"\x00", b"p"], object)}


def test_answers_have_the_form_of_the_request():
    rows = json.loads(codec.encode(OUTPUTS, rows=True))
    assert rows == {"predictions": [{"n": 1, "z_bytes": {"b64": "AA=="}},
                                    {"n": 2, "z_bytes": {"b64": "cA=="}}]}  # fmt: skip
    columns = json.loads(codec.encode(OUTPUTS, rows=False))
    assert columns == {"outputs": {"n": [1, 2], "z_bytes": [{"b64": "AA=="}, {"b64": "cA=="}]}}


def test_a_single_output_has_no_name():
    text = {"t": np.array([b"p"], object)}
    assert json.loads(codec.encode(text, rows=True)) == {"predictions": ["p"]}
    assert json.loads(codec.encode(text, rows=False)) == {"outputs": ["p"]}


@pytest.mark.parametrize("other", [np.zeros(3), np.float32(1)])
def test_rows_of_unequal_outputs_are_refused(other: np.ndarray):
    with pytest.raises(ServingError, match="inconsistent batch sizes"):
        codec.encode({"n": np.zeros(2), "m": other}, rows=True)
    assert codec.encode({"n": np.zeros(2), "m": other}, rows=False)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rows", [True, False])
def test_no_answer_holds_nan(value: float, rows: bool):
    with pytest.raises(ServingError, match="holds NaN or Infinity") as caught:
        codec.encode({"y": np.array([1, value], np.float32)}, rows=rows)
    assert caught.value.http_status == 500


def test_gzip_is_unpacked_up_to_the_limit():
    bomb = gzip.compress(bytes(10**6))
    assert codec.unpack(bomb, "gzip", 10**6) == bytes(10**6)
    with pytest.raises(ServingError, match="larger than 999999 bytes") as caught:
        codec.unpack(bomb, "gzip", 10**6 - 1)
    assert caught.value.http_status == 413


@pytest.mark.parametrize(
    "body", [b"{}", gzip.compress(b"{}", mtime=0)[:-3], gzip.compress(b"{}", mtime=0) + b"x"]
)
def test_broken_gzip_is_refused(body: bytes):
    with pytest.raises(ServingError, match="not whole gzip data"):
        codec.unpack(body, "gzip", 1000)


def test_other_encodings_are_refused():
    with pytest.raises(ServingError, match="must be gzip or none") as caught:
        codec.unpack(b"", "br", 1000)
    assert caught.value.http_status == 415


@pytest.mark.parametrize(
    "array", [np.array([[1, 2]], np.uint8), np.array([b"\x00a\x00", b""], object)]
)
def test_tensors_of_grpc_come_back(array: np.ndarray):
    result = messages.array_of("x", tf.make_tensor_proto(array), 1000)
    np.testing.assert_array_equal(result, array)


@pytest.mark.parametrize(
    "fields",
    [
        {"dtype": 4, "int_val": [1], "shape": [10**6, 10**6]},
        {"dtype": 7, "string_val": [b"x"], "shape": [10**9]},
        {"dtype": 4, "tensor_content": b"abc", "shape": [2]},
        {"dtype": 4, "int_val": [1], "shape": [-1]},
        {"dtype": 99, "shape": [1]},
        {"dtype": 0, "shape": [1]},
        {"dtype": 4, "int_val": [300], "shape": [1]},
        {"dtype": 4, "int_val": [-1], "shape": [1]},
        {"dtype": 6, "int_val": [128], "shape": [1]},
        {"dtype": 17, "int_val": [2**16], "shape": [1]},
        {"dtype": 20, "shape": [1]},  # DT_RESOURCE
        {"dtype": 21, "shape": [1]},  # DT_VARIANT
        {"dtype": 101, "shape": [1]},  # DT_FLOAT_REF
    ],
)
def test_a_tensor_that_lies_about_its_size_is_refused(fields: dict[str, Any]):
    shape = fields.pop("shape")
    tensor = tf.make_tensor_proto(0).__class__(**fields)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    with pytest.raises(ServingError, match="Input x: ") as caught:
        messages.array_of("x", tensor, 10**6)
    assert caught.value.code == "INVALID_ARGUMENT"
