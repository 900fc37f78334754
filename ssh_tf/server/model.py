"""One version of a model: a loaded SavedModel, its signatures and their calls."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from ssh_tf import signature
from ssh_tf.server.errors import ServingError, invalid

Arrays = dict[str, np.ndarray]


class Model:
    """A loaded version.

    Args:
        folder: The version's folder.
        version: Its number.
        max_images: Most rows of an input.

    Attributes:
        version: Its number.
        signatures: `SignatureDef` of each name, as the file has them.

    Raises:
        Exception: Whatever TensorFlow raises for a broken SavedModel or a warm-up request.
    """

    def __init__(self, folder: Path, version: int, max_images: int) -> None:
        self.version = version
        proto = SavedModel.FromString((folder / signature.SAVED_MODEL).read_bytes())
        self.signatures: Mapping[str, Any] = proto.meta_graphs[0].signature_def
        self._max_images = max_images
        # Kept: the functions hold their variables only weakly.
        self._loaded = tf.saved_model.load(str(folder), tags=["serve"])
        self._calls = dict(self._loaded.signatures)
        if not self._calls:
            raise ValueError("it has no signature")
        self._warm_up(folder / signature.WARMUP)

    def signature(self, name: str) -> Any:
        """Returns the `SignatureDef` of a prediction.

        Args:
            name: Its name; `""` stands for the default one.

        Raises:
            ServingError: If there is none.
        """
        name = name or signature.SERVING_DEFAULT
        if name not in self._calls:
            raise invalid(f'Serving signature name: "{name}" not found in signature def')
        return self.signatures[name]

    def outputs(self, name: str) -> list[str]:
        """Returns the names of a signature's outputs.

        Raises:
            ServingError: If there is no such signature.
        """
        return sorted(self._definition(name).outputs)

    def predict(self, name: str, inputs: Arrays) -> Arrays:
        """Runs a signature.

        Args:
            name: The signature; `""` stands for the default one.
            inputs: An array for each input; strings as `object`.

        Returns:
            An array for each output.

        Raises:
            ServingError: If there is no such signature, the inputs don't fit or the graph refuses
                them.
        """
        infos = self._definition(name).inputs
        _check_names(set(inputs), set(infos))
        for key, array in inputs.items():
            _check_input(key, array, infos[key], self._max_images)
        try:
            tensors = {key: tf.constant(inputs[key], infos[key].dtype) for key in inputs}
            outputs = self._calls[name or signature.SERVING_DEFAULT](**tensors)
            return {key: value.numpy() for key, value in outputs.items()}
        except tf.errors.OpError as error:
            raise ServingError(_code(error), _reason(error)) from error

    def _definition(self, name: str) -> Any:
        name = name or signature.SERVING_DEFAULT
        if name not in self._calls:
            # Another code than `signature` has, as in TensorFlow Serving.
            raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
        return self.signatures[name]

    def _warm_up(self, file: Path) -> None:
        """Replays the requests of TensorFlow Serving's warm-up file, where there is one."""
        if not file.is_file():
            return
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            request = PredictionLog.FromString(record).predict_log.request
            inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
            self.predict(request.model_spec.signature_name, inputs)


def dtype_of(info: Any) -> tf.DType:
    """Returns the dtype of a `TensorInfo`."""
    return tf.dtypes.as_dtype(info.dtype)


def _check_names(received: set[str], required: set[str]) -> None:
    if received != required:
        extra, missing = sorted(received - required), sorted(required - received)
        raise invalid(
            "Request inputs do not match required inputs. "
            f"Sent extra: {{{', '.join(extra)}}}. Missing but required: {{{', '.join(missing)}}}."
        )


def _check_input(key: str, array: np.ndarray, info: Any, max_images: int) -> None:
    dtype = dtype_of(info)
    expected = object if dtype == tf.string else dtype.as_numpy_dtype
    if array.dtype != expected:
        raise invalid(f"Input {key} must be {dtype.name}. Received: {array.dtype.name}.")
    shape = tf.TensorShape(info.tensor_shape)
    if not shape.is_compatible_with(array.shape):
        raise invalid(f"Input {key} must have the shape {shape}. Received: {list(array.shape)}.")
    if array.ndim and len(array) > max_images:
        raise invalid(f"Input {key} must have at most {max_images} rows. Received: {len(array)}.")


def _code(error: tf.errors.OpError) -> str:
    names = {getattr(tf.errors, name): name for name in dir(tf.errors) if name.isupper()}
    return names.get(error.error_code, "INTERNAL")


def _reason(error: tf.errors.OpError) -> str:
    """Returns the line that says what is wrong, which stands between a trace and node names."""
    lines = str(error.message).split("\n\t [[")[0].strip().splitlines()
    return lines[-1] if lines else type(error).__name__
