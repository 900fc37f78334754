"""The gRPC side: PredictionService and ModelService."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, TypeVar

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc as model_service
from tensorflow_serving.apis import prediction_service_pb2_grpc as prediction_service
from tensorflow_serving.apis.predict_pb2 import PredictResponse

from ssh_tf.server import messages
from ssh_tf.server.errors import ServingError, internal, invalid
from ssh_tf.server.limits import Limits
from ssh_tf.server.metrics import Metrics
from ssh_tf.server.runner import Runner, stopping
from ssh_tf.server.versions import Versions

_LOG = logging.getLogger(__name__)

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
        started = time.monotonic()

        def record(code: str) -> None:
            self._metrics.record("GRPC", code, time.monotonic() - started)

        return _answered(context, lambda: self._wait(request, context), record)

    def GetModelMetadata(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Returns the signatures."""

        def answer() -> Any:
            if not request.metadata_field or set(request.metadata_field) != {"signature_def"}:
                raise invalid("Metadata field must be signature_def")
            model = self._versions.get(*_which(request))
            return messages.metadata_response(request.model_spec.name, model)

        return _answered(context, answer)

    def _wait(self, request: Any, context: Context) -> PredictResponse:
        remaining = context.time_remaining()  # None without a deadline; 0 once it is over
        limit = self._limits.request_seconds
        seconds = limit if remaining is None else min(limit, remaining)
        held = self._runner.hold()
        held.grow(request.ByteSize())
        future = self._runner.submit(lambda: self._predict(request), held)
        # A call that ends early, by its client or its deadline, leaves the queue at once.
        if not context.add_callback(future.cancel):
            future.cancel()
        try:
            return future.result(seconds)
        except FutureTimeoutError as error:
            future.cancel()
            raise ServingError("DEADLINE_EXCEEDED", f"No answer within {seconds:g} s") from error
        except CancelledError as error:
            if context.is_active():
                raise stopping() from error
            raise ServingError("CANCELLED", "The client went away.") from error

    def _predict(self, request: Any) -> PredictResponse:
        spec, model = request.model_spec, self._versions.get(*_which(request))
        limit = self._limits.max_body_bytes
        wanted = _wanted(model.outputs(spec.signature_name), list(request.output_filter))
        inputs = {
            key: messages.array_of(key, value, limit) for key, value in request.inputs.items()
        }
        outputs = model.predict(spec.signature_name, inputs)
        return messages.predict_response(spec, model, {key: outputs[key] for key in wanted})


class ModelStatus(model_service.ModelServiceServicer):
    """GetModelStatus; HandleReloadConfigRequest answers UNIMPLEMENTED."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    def GetModelStatus(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Returns the states of the versions."""

        def answer() -> Any:
            name, number, label = _which(request)
            if label:
                self._versions.get(name, number, label)
            return messages.status_response(self._versions.status(name, number))

        return _answered(context, answer)


def _wanted(outputs: list[str], names: list[str]) -> list[str]:
    """Returns the outputs that a request asks for: those it names, or all."""
    if unknown := sorted(set(names) - set(outputs)):
        raise invalid(f"output tensor alias not found in signature: {unknown[0]}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise invalid(f"duplicate output tensor alias: {twice[0]}")
    return names or outputs


def _which(request: Any) -> tuple[str, int | None, str]:
    """Returns name, version and label of the model that a request asks for."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec = request.model_spec
    number = spec.version.value if spec.HasField("version") else None
    return spec.name, number, spec.version_label


def _answered(
    context: Context, answer: Callable[[], T], record: Callable[[str], None] = lambda code: None
) -> T:
    """Answers a call, or ends it with the error's code and message."""
    try:
        response = answer()
    except ServingError as error:
        failure = error
    except Exception:  # A fault of ours: gRPC would tell the client its trace's last line.
        _LOG.exception("A call failed")
        failure = internal()
    else:
        record("OK")
        return response
    record(failure.code)
    context.abort(grpc.StatusCode[failure.code], failure.message)
    raise failure  # Not reached: `abort` raises.
