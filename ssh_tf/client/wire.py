"""TensorFlow Serving's messages for a prediction, without TensorFlow.

`tensorflow-serving-api` imports TensorFlow for them. A client needs a few fields only, which
protobuf turns into classes; it skips fields that it does not know.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessages

PREDICT = "/tensorflow.serving.PredictionService/Predict"

# Names and numbers: tensorflow/core/framework/{tensor,tensor_shape}.proto,
# tensorflow_serving/apis/{model,predict}.proto. A map is a list of entries on the wire.
_MESSAGES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "Dim": {"size": (1, "int64")},
    "Shape": {"dim": (2, "repeated Dim")},
    "Tensor": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "Shape"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "repeated float"),
        "int_val": (7, "repeated int32"),
        "string_val": (8, "repeated bytes"),
        "int64_val": (10, "repeated int64"),
    },
    "Entry": {"key": (1, "string"), "value": (2, "Tensor")},
    "ModelSpec": {"name": (1, "string")},
    "Request": {"model_spec": (1, "ModelSpec"), "inputs": (2, "repeated Entry")},
    "Response": {"outputs": (1, "repeated Entry")},
}
_PACKAGE = "ssh_tf.wire"

# tensorflow/core/framework/types.proto: the numbers of dtypes, and the fields of their values.
_STRING = 7
_NUMBERS: Mapping[int, tuple[np.dtype[Any], str]] = {
    1: (np.dtype("<f4"), "float_val"),
    3: (np.dtype("<i4"), "int_val"),
    9: (np.dtype("<i8"), "int64_val"),
}
_MOST_REPEATED = 2**24  # A few bytes can claim any shape.


def _classes() -> dict[str, Any]:
    file = FileDescriptorProto(name="ssh_tf/wire.proto", package=_PACKAGE, syntax="proto3")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            *repeated, kind = kind.split()
            field = described.field.add(name=name, number=number)
            field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if kind in _MESSAGES:
                field.type, field.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
    # A pool of its own: TensorFlow's messages may be loaded beside these.
    made = GetMessages([file], DescriptorPool())
    return {name: made[f"{_PACKAGE}.{name}"] for name in _MESSAGES}


_CLASSES = _classes()


def encode_request(model: str, key: str, values: Sequence[bytes]) -> bytes:
    """Returns a `PredictRequest` of one string tensor, `[N]`."""
    request = _CLASSES["Request"]()
    request.model_spec.name = model
    tensor = request.inputs.add(key=key).value
    tensor.dtype = _STRING
    tensor.tensor_shape.dim.add(size=len(values))
    tensor.string_val.extend(values)
    return bytes(request.SerializeToString())


def decode_response(data: bytes) -> dict[str, np.ndarray]:
    """Returns the outputs of a `PredictResponse` that are float32, int32 or int64, by name.

    Raises:
        ValueError: If it is none, or a tensor's values don't fit its shape.
    """
    try:
        response = _CLASSES["Response"].FromString(data)
    except Exception as error:  # DecodeError, which is protobuf's own and no ValueError.
        raise ValueError("it is no PredictResponse") from error
    return {
        entry.key: _array(entry.value)
        for entry in response.outputs
        if entry.value.dtype in _NUMBERS
    }


def _array(tensor: Any) -> np.ndarray:
    dtype, field = _NUMBERS[tensor.dtype]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    values = np.array(getattr(tensor, field), dtype)
    # TensorFlow leaves out what repeats the last value, and all of a tensor of zeros.
    missing = math.prod(shape) - len(values)
    if min(shape, default=0) < 0 or not 0 <= missing <= _MOST_REPEATED:
        raise ValueError(f"{len(values)} values for the shape {shape}")
    last = values[-1:] if len(values) else np.zeros(1, dtype)
    return np.concatenate([values, last.repeat(missing)]).reshape(shape)
