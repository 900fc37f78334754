"""Tests of the messages that are made without TensorFlow: TensorFlow's own read and write them."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from ssh_tf.client import wire


def test_a_request_is_what_tensorflow_serving_reads():
    data = wire.encode_request("ssh", "image_bytes", [b"a\0", b""])
    request = predict_pb2.PredictRequest.FromString(data)
    assert request.model_spec.name == "ssh"
    assert tf.make_ndarray(request.inputs["image_bytes"]).tolist() == [b"a\0", b""]
    empty = predict_pb2.PredictRequest.FromString(wire.encode_request("ssh", "x", []))
    assert tf.make_ndarray(empty.inputs["x"]).shape == (0,)


VALUES = {
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "int32": np.array([-1, 2**31 - 1], np.int32),
    "int64": np.array([[-(2**63)], [7]], np.int64),
    "scalar": np.float32(0.5),
    "empty": np.zeros((0, 4), np.float32),
}


@pytest.mark.parametrize("as_content", [True, False])
def test_outputs_come_back_in_both_forms_of_a_tensor(as_content: bool):
    response = predict_pb2.PredictResponse()
    response.model_spec.name = "of no use here"
    response.outputs["text"].CopyFrom(tf.make_tensor_proto(["skipped"]))
    for key, value in VALUES.items():
        tensor = response.outputs[key]
        tensor.CopyFrom(tf.make_tensor_proto(value))
        if not as_content:
            tensor.ClearField("tensor_content")
            field = {"f": tensor.float_val, "i": tensor.int_val}[value.dtype.kind]
            field = tensor.int64_val if value.dtype == np.int64 else field
            del field[:]
            field.extend(np.ravel(value).tolist())
    outputs = wire.decode_response(response.SerializeToString())
    assert set(outputs) == set(VALUES)
    for key, value in VALUES.items():
        assert outputs[key].dtype == value.dtype
        np.testing.assert_array_equal(outputs[key], value)


def tensor(shape: list[int], values: list[float]) -> bytes:
    response = predict_pb2.PredictResponse()
    output = response.outputs["x"]
    output.dtype = tf.float32.as_datatype_enum
    output.float_val.extend(values)
    for size in shape:
        output.tensor_shape.dim.add(size=size)
    return response.SerializeToString()


def test_values_that_repeat_are_left_out_on_the_wire():
    assert wire.decode_response(tensor([3], [1, 2]))["x"].tolist() == [1, 2, 2]
    assert wire.decode_response(tensor([2], []))["x"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<html>", "no PredictResponse"),
        (b"\x0a\xff", "no PredictResponse"),
        (tensor([2], [1, 2, 3]), "3 values for the shape"),
        (tensor([-1], [1]), "1 values for the shape"),
        (tensor([10**6, 10**6], [1]), "1 values for the shape"),
    ],
)
def test_answers_of_something_else_are_refused(data: bytes, message: str):
    with pytest.raises(ValueError, match=message):
        wire.decode_response(data)
