"""Status, metadata and tensors as TensorFlow Serving's messages, and their JSON."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusResponse,
    ModelVersionStatus,
)
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictResponse

from ssh_tf import signature
from ssh_tf.server.errors import invalid
from ssh_tf.server.model import Model
from ssh_tf.server.versions import VersionStatus

_UNKNOWN = 2  # google.rpc.Code: what TensorFlow Serving gives a version that failed.


def status_response(found: list[tuple[int, VersionStatus]]) -> GetModelStatusResponse:
    """Returns the answer of `ModelService.GetModelStatus`."""
    response = GetModelStatusResponse()
    for number, status in found:
        entry = response.model_version_status.add(
            version=number, state=ModelVersionStatus.State.Value(status.state)
        )
        entry.status.error_code = _UNKNOWN if status.error else 0
        entry.status.error_message = status.error
    return response


def status_json(found: list[tuple[int, VersionStatus]]) -> str:
    """Returns the same as JSON."""
    text: str = json_format.MessageToJson(
        status_response(found), always_print_fields_with_no_presence=True
    )
    return text


def metadata_response(name: str, model: Model) -> GetModelMetadataResponse:
    """Returns the answer of `PredictionService.GetModelMetadata`."""
    response = GetModelMetadataResponse(model_spec=_spec(name, model))
    response.metadata["signature_def"].Pack(_signatures(model))
    return response


def metadata_json(name: str, model: Model) -> str:
    """Returns the same as JSON, put together as TensorFlow Serving does."""
    spec, signatures = (
        json_format.MessageToJson(
            message,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        for message in (_spec(name, model), _signatures(model))
    )
    return f'{{\n"model_spec":{spec},\n"metadata": {{"signature_def": {signatures}}}\n}}\n'


def array_of(key: str, tensor: Any, max_bytes: int) -> np.ndarray:
    """Returns the array of a `TensorProto`.

    A tensor may claim any shape and hold one value that fills it, so its size is checked first.

    Raises:
        ServingError: If it is broken or larger than the limit.
    """
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    try:
        dtype = tf.dtypes.as_dtype(tensor.dtype)
        if not dtype.is_numpy_compatible or dtype in (tf.resource, tf.variant):
            raise invalid(f"Input {key}: a tensor of {dtype.name} can't be sent")
        width = 8 if dtype == tf.string else max(dtype.size, 1)  # Of a string: its pointer.
        count = math.prod(sizes) if min(sizes, default=0) >= 0 else max_bytes
        if count * width > max_bytes:
            raise invalid(f"Input {key}: a tensor of shape {sizes} is too large")
        array: np.ndarray = tf.make_ndarray(tensor)
    # Strangers' bytes: TensorFlow and NumPy raise whatever a broken one leads to.
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, OverflowError) as error:
        raise invalid(f"Input {key}: the tensor is broken: {error}") from error
    return array


def predict_response(spec: Any, model: Model, outputs: Mapping[str, np.ndarray]) -> PredictResponse:
    """Returns the answer of `PredictionService.Predict`."""
    response = PredictResponse(model_spec=_spec(spec.name, model))
    response.model_spec.signature_name = spec.signature_name or signature.SERVING_DEFAULT
    for key, value in outputs.items():
        response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
    return response


def _spec(name: str, model: Model) -> ModelSpec:
    spec = ModelSpec(name=name)
    spec.version.value = model.version
    return spec


def _signatures(model: Model) -> SignatureDefMap:
    signatures = SignatureDefMap()
    for key, definition in model.signatures.items():
        signatures.signature_def[key].CopyFrom(definition)
    return signatures
