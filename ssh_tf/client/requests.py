"""Clients of a served model, TensorFlow Serving's or the local server's: pictures in, faces out.

`RestClient` needs neither TensorFlow nor gRPC. `GrpcClient` needs the `serving` extra.
"""

import base64
import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import urllib3

from ssh_tf import signature
from ssh_tf.errors import UserError
from ssh_tf.imaging.header import stored_size

_RETRIES = 3
_BACKOFF_SECONDS = 0.2
_MAX_IMAGES = 8
# With base64 around them they stay well below the limit of a body, 44 MB.
_MAX_BYTES = 16 * 2**20


class ClientError(UserError):
    """A request without an answer, or with an error for an answer.

    Args:
        message: One line.
        code: The HTTP status (`"503"`) or gRPC code (`"UNAVAILABLE"`); `""` without an answer.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True)
class Faces:
    """The faces of one image, best first.

    Attributes:
        boxes: `[n, 4]` float32, `x1, y1, x2, y2` in px of the image as stored, half-open.
        scores: `[n]` float32.
        status: `STATUS_...` of `ssh_tf/signature.py`; all but `STATUS_OK`, which is 0, come
            without faces. `None` from a model without this output.
    """

    boxes: np.ndarray
    scores: np.ndarray
    status: int | None


class RestClient:
    """Asks over HTTP. Threads may share one.

    Args:
        url: The server, as `http://127.0.0.1:8501`.
        model: The model's name.
        timeout: Seconds to wait for an answer, or for the next piece of it.
        connections: Requests that threads send at a time.
    """

    def __init__(
        self, url: str, model: str = "ssh", *, timeout: float = 60.0, connections: int = 8
    ) -> None:
        self._url = f"{url.rstrip('/')}/v1/models/{model}"
        # A prediction is sent again only if it never arrived or the server said to wait.
        retries = urllib3.Retry(
            total=_RETRIES,
            connect=_RETRIES,
            read=0,
            redirect=0,
            other=0,
            status_forcelist=[429, 503],
            allowed_methods=None,
            backoff_factor=_BACKOFF_SECONDS,
            backoff_jitter=_BACKOFF_SECONDS,
            raise_on_status=False,
        )
        self._pool = urllib3.PoolManager(
            maxsize=connections,
            block=True,
            retries=retries,
            timeout=urllib3.Timeout(connect=min(timeout, 5.0), read=timeout),
        )

    def detect(self, images: Sequence[bytes]) -> list[Faces]:
        """Finds the faces of encoded images.

        Args:
            images: Whole JPEG or PNG files, of any sizes.

        Returns:
            The faces of each.

        Raises:
            ClientError: If the server can't be reached, refuses, or answers something else.
        """
        return _in_batches(images, self._predict)

    def status(self) -> dict[int, str]:
        """Returns the state of each version: `{2: "AVAILABLE", 1: "END"}`.

        Raises:
            ClientError: As for `detect`.
        """
        answer = self._request("GET", self._url)
        try:
            return {int(v["version"]): v["state"] for v in answer["model_version_status"]}
        except (KeyError, TypeError, ValueError) as error:
            raise ClientError(f"{self._url} gave no model status.") from error

    def close(self) -> None:
        """Closes the connections."""
        self._pool.clear()

    def __enter__(self) -> "RestClient":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _predict(self, images: Sequence[bytes]) -> list[Faces]:
        encoded = [{"b64": base64.b64encode(image).decode()} for image in images]
        body = json.dumps({"inputs": {signature.IMAGE_BYTES: encoded}}).encode()
        answer = self._request("POST", f"{self._url}:predict", body)
        return _faces(images, answer.get("outputs"), self._url)

    def _request(self, method: str, url: str, body: bytes | None = None) -> dict[str, Any]:
        headers = {"content-type": "application/json"} if body else None
        try:
            response = self._pool.request(method, url, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise ClientError(f"No answer from {url}: {_reason(error)}") from error
        try:
            answer = json.loads(response.data)
        except ValueError:
            answer = None
        if response.status != 200:
            error_text = answer.get("error") if isinstance(answer, dict) else response.reason
            message = f"{url} answered {response.status}: {error_text}"
            raise ClientError(message, str(response.status))
        if not isinstance(answer, dict):
            raise ClientError(f"{url} answered something else than a JSON object.", "200")
        return answer


class GrpcClient:
    """Asks over gRPC. Threads may share one.

    Args:
        address: The server, as `127.0.0.1:8500`.
        model: The model's name.
        timeout: Seconds for one answer, with all attempts.

    Raises:
        UserError: If the `serving` extra is not installed.
    """

    def __init__(self, address: str, model: str = "ssh", *, timeout: float = 60.0) -> None:
        try:
            import grpc
            import tensorflow as tf
            from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
        except ImportError as error:
            raise UserError(f"gRPC needs {error.name}. Install ssh-tf[serving].") from error
        self._address, self._model, self._timeout = address, model, timeout
        self._grpc, self._tf, self._request = grpc, tf, predict_pb2.PredictRequest
        self._channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.service_config", json.dumps(_RETRY_POLICY)),
            ],
        )
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def detect(self, images: Sequence[bytes]) -> list[Faces]:
        """Finds the faces of encoded images; see `RestClient.detect`."""
        return _in_batches(images, self._predict)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> "GrpcClient":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _predict(self, images: Sequence[bytes]) -> list[Faces]:
        request = self._request()
        request.model_spec.name = self._model
        tensor = self._tf.make_tensor_proto(list(images), dtype=self._tf.string)
        request.inputs[signature.IMAGE_BYTES].CopyFrom(tensor)
        try:
            response = self._stub.Predict(request, timeout=self._timeout)
        except self._grpc.RpcError as error:
            code = error.code().name
            message = f"{self._address} answered {code}: {error.details()}"
            raise ClientError(message, code) from error
        outputs = {key: self._tf.make_ndarray(value) for key, value in response.outputs.items()}
        return _faces(images, outputs, self._address)


_RETRY_POLICY = {
    "methodConfig": [
        {
            "name": [{"service": "tensorflow.serving.PredictionService"}],
            "retryPolicy": {
                "maxAttempts": _RETRIES + 1,
                "initialBackoff": f"{_BACKOFF_SECONDS}s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


def _in_batches(
    images: Sequence[bytes], predict: Callable[[Sequence[bytes]], list[Faces]]
) -> list[Faces]:
    faces: list[Faces] = []
    batch: list[bytes] = []
    for image in images:
        if len(batch) == _MAX_IMAGES or sum(map(len, [*batch, image])) > _MAX_BYTES:
            faces += predict(batch) if batch else []
            batch = []
        batch.append(image)
    return faces + (predict(batch) if batch else [])


def _faces(images: Sequence[bytes], outputs: Any, server: str) -> list[Faces]:
    """Turns the model's outputs into faces in px."""
    try:
        counts = np.asarray(outputs[signature.NUM_DETECTIONS], np.int64)
        boxes = np.asarray(outputs[signature.DETECTION_BOXES], np.float32)
        scores = np.asarray(outputs[signature.DETECTION_SCORES], np.float32)
        status = outputs.get(signature.STATUS)
        rows = [len(counts), len(boxes), len(scores)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ClientError(f"{server} gave no detections: {error!r}") from error
    if rows != [len(images)] * 3:
        raise ClientError(f"{server} gave {rows} results for {len(images)} images.")
    found = []
    for i, (image, count) in enumerate(zip(images, counts, strict=True)):
        size = stored_size(image)
        if size is None and count:
            raise ClientError(f"{server} found faces in an image whose header can't be read.")
        height, width = size or (0, 0)
        scale = np.array([width, height, width, height], np.float32)
        found.append(
            Faces(
                boxes[i, :count][:, [1, 0, 3, 2]] * scale,
                scores[i, :count],
                None if status is None else int(status[i]),
            )
        )
    return found


def _reason(error: Exception) -> str:
    """Returns what lies under urllib3's chain of wrappers."""
    reason = getattr(error, "reason", None) or error
    return str(reason).split(": ", 1)[-1] or type(reason).__name__
