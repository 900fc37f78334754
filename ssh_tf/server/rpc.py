"""The gRPC side: PredictionService and ModelService."""

import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, NoReturn, TypeVar

import grpc
import tensorflow as tf
from tensorflow_serving.apis import model_service_pb2_grpc as model_service
from tensorflow_serving.apis import prediction_service_pb2_grpc as prediction_service
from tensorflow_serving.apis.predict_pb2 import PredictResponse

from ssh_tf.server import messages
from ssh_tf.server.errors import ServingError, invalid
from ssh_tf.server.limits import Limits
from ssh_tf.server.metrics import Metrics
from ssh_tf.server.runner import Runner
from ssh_tf.server.versions import Versions

T = TypeVar("T")
Context = Any


class Prediction(prediction_service.PredictionServiceServicer):
    """Predict and GetModelMetadata; the other methods answer UNIMPLEMENTED."""

    def __init__(
        self, versions: Versions, runner: Runner, metrics: Metrics, limits: Limits
    ) -> None:
        self._versions, self._runner = versions, runner
        self._metrics, self._limits = metrics, limits

    def Predict(self, request: Any, context: Context) -> PredictResponse:  # noqa: N802
        """Computes a prediction in a worker and waits for it."""
        started, code = time.monotonic(), "INTERNAL"
        try:
            response = self._wait(request, context)
            code = "OK"
            return response
        except ServingError as error:
            code = error.code
            _abort(context, error)
        finally:
            self._metrics.record("GRPC", code, time.monotonic() - started)

    def GetModelMetadata(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Returns the signatures."""

        def answer() -> Any:
            if list(request.metadata_field) != ["signature_def"]:
                raise invalid("Metadata field must be signature_def")
            spec = request.model_spec
            return messages.metadata_response(spec.name, self._versions.get(*_which(spec)))

        return _answered(context, answer)

    def _wait(self, request: Any, context: Context) -> PredictResponse:
        remaining = context.time_remaining()
        seconds = min(self._limits.request_seconds, remaining or self._limits.request_seconds)
        future = self._runner.submit(lambda: self._predict(request))
        try:
            return future.result(seconds)
        except FutureTimeoutError as error:
            future.cancel()
            raise ServingError("DEADLINE_EXCEEDED", f"No answer within {seconds:g} s") from error
        except CancelledError as error:
            raise ServingError("UNAVAILABLE", "The server is stopping.") from error

    def _predict(self, request: Any) -> PredictResponse:
        spec = request.model_spec
        model = self._versions.get(*_which(spec))
        limit = self._limits.max_body_bytes
        inputs = {
            key: messages.array_of(key, value, limit) for key, value in request.inputs.items()
        }
        outputs = model.predict(spec.signature_name, inputs)
        wanted = list(request.output_filter) or list(outputs)
        if unknown := sorted(set(wanted) - set(outputs)):
            raise invalid(f"output tensor alias not found in signature: {unknown[0]}")
        response = PredictResponse(model_spec=spec)
        response.model_spec.version.value = model.version
        for key in wanted:
            response.outputs[key].CopyFrom(tf.make_tensor_proto(outputs[key]))
        return response


class ModelStatus(model_service.ModelServiceServicer):
    """GetModelStatus; HandleReloadConfigRequest answers UNIMPLEMENTED."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    def GetModelStatus(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Returns the states of the versions."""

        def answer() -> Any:
            name, number, label = _which(request.model_spec)
            if label:
                self._versions.get(name, number, label)
            return messages.status_response(self._versions.status(name, number))

        return _answered(context, answer)


def _which(spec: Any) -> tuple[str, int | None, str]:
    number = spec.version.value if spec.HasField("version") else None
    return spec.name, number, spec.version_label


def _answered(context: Context, answer: Callable[[], T]) -> T:
    try:
        return answer()
    except ServingError as error:
        _abort(context, error)


def _abort(context: Context, error: ServingError) -> NoReturn:
    context.abort(grpc.StatusCode[error.code], error.message)
    raise error  # Not reached: `abort` raises.
