"""A client over gRPC. It needs no TensorFlow."""

import ipaddress
import json
import re
from collections.abc import Sequence
from typing import Any

from ssh_tf import signature
from ssh_tf.client.faces import ClientError, Faces, faces_of, in_batches
from ssh_tf.errors import UserError

_RETRY_POLICY = {
    "methodConfig": [
        {
            "name": [{"service": "tensorflow.serving.PredictionService"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


class GrpcClient:
    """Finds the faces of encoded images over gRPC. Threads may share one.

    Args:
        address: The server, as `127.0.0.1:8500`.
        model: The model's name.
        timeout: Seconds for one answer, with all attempts.

    Raises:
        UserError: If grpcio or protobuf is not installed.
    """

    def __init__(self, address: str, model: str = "ssh", *, timeout: float = 60.0) -> None:
        try:
            import grpc

            from ssh_tf.client import wire
        except ImportError as error:
            raise UserError(
                f"gRPC needs {error.name}. Install it: pip install 'ssh-tf[serving]'"
            ) from error
        self._address, self._model, self._timeout = address, model, timeout
        self._grpc, self._wire = grpc, wire
        self._channel = grpc.insecure_channel(address, options=_options(address))
        self._call = self._channel.unary_unary(wire.PREDICT)

    def detect(self, images: Sequence[bytes]) -> list[Faces]:
        """Finds the faces of encoded images; see `RestClient.detect`."""
        return in_batches(images, self._predict)

    def __repr__(self) -> str:
        return f"GrpcClient({self._address!r}, {self._model!r})"

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> "GrpcClient":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _predict(self, images: Sequence[bytes]) -> list[Faces]:
        request = self._wire.encode_request(self._model, signature.IMAGE_BYTES, images)
        try:
            answer = self._call(request, timeout=self._timeout)
        except self._grpc.RpcError as error:
            code = error.code().name
            message = f"{self._address} answered {code}: {error.details()}"
            raise ClientError(message, code) from error
        try:
            outputs = self._wire.decode_response(answer)
        except ValueError as error:
            raise ClientError(f"{self._address} gave no detections: {error}.") from error
        return faces_of(images, outputs, self._address)


def _options(address: str) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.service_config", json.dumps(_RETRY_POLICY)),
    ]
    if is_loopback(address):
        # gRPC asks the proxy of `http_proxy` even for this machine, which no proxy can reach.
        options.append(("grpc.enable_http_proxy", 0))
    return options


def is_loopback(address: str) -> bool:
    """Returns whether `HOST:PORT` is on this machine: `localhost`, `127.0.0.1`, `[::1]`."""
    address = re.sub(r"^(dns:///|ipv4:|ipv6:)", "", address)
    host = re.sub(r":\d+$", "", address).strip("[]")
    if host.lower() == "localhost":
        return True
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return False
    return number.is_loopback or number.is_unspecified
