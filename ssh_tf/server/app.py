"""The local server as a whole: two ports, one queue, one folder of versions."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import uvicorn
from tensorflow_serving.apis import model_service_pb2_grpc as model_service
from tensorflow_serving.apis import prediction_service_pb2_grpc as prediction_service

from ssh_tf.errors import UserError
from ssh_tf.server.limits import Limits
from ssh_tf.server.metrics import Metrics
from ssh_tf.server.patience import PatientProtocol
from ssh_tf.server.rest import rest_app
from ssh_tf.server.rpc import ModelStatus, Prediction
from ssh_tf.server.runner import Runner
from ssh_tf.server.versions import Versions

_KEEP_ALIVE_SECONDS = 65
# Beside the requests that compute or wait: those for status, and those answered with "busy".
_SPARE_THREADS = 16


class LocalServer:
    """Serves a folder of versions over REST and gRPC from threads of this process.

    Args:
        folder: Holds the subfolders `1`, `2`, ...
        name: The model's name in requests.
        host: Interface to listen on.
        rest_port: 0 takes any free port.
        grpc_port: 0 takes any free port.
        limits: What is accepted.

    Attributes:
        rest_port: The port that was taken.
        grpc_port: The port that was taken.
        versions: What is served.

    Raises:
        UserError: If there is nothing to serve or a port is taken.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str = "ssh",
        host: str = "127.0.0.1",
        rest_port: int = 8501,
        grpc_port: int = 8500,
        limits: Limits | None = None,
    ) -> None:
        limits = limits or Limits()
        self._limits = limits
        self._socket = _listen(host, rest_port)
        self.rest_port: int = self._socket.getsockname()[1]
        try:
            self.versions = Versions(folder, name, limits.max_images)
            self._runner = Runner(limits)
            metrics = Metrics(name)
            parts = (self.versions, self._runner, metrics, limits)
            self._grpc = _grpc_server(Prediction(*parts), ModelStatus(self.versions), limits)
            self.grpc_port = _add_port(self._grpc, host, grpc_port)
        except BaseException:
            self._socket.close()
            raise
        self._rest = uvicorn.Server(_uvicorn_config(rest_app(*parts), limits))
        self._thread = threading.Thread(
            target=self._rest.run, kwargs={"sockets": [self._socket]}, name="rest", daemon=True
        )

    def start(self) -> None:
        """Answers from now on."""
        self.versions.watch()
        self._grpc.start()
        self._thread.start()

    def stop(self) -> None:
        """Takes no new requests, tells those that wait, finishes those that run, and returns."""
        self._runner.close()
        self._rest.should_exit = True
        stopped = self._grpc.stop(self._limits.request_seconds)
        self._thread.join()
        stopped.wait()
        self._runner.join()
        self.versions.stop()
        self._socket.close()

    def __enter__(self) -> "LocalServer":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=512)
    # A name that no host can have is a UnicodeError, a port above 65535 an OverflowError.
    except (OSError, ValueError, OverflowError) as error:
        raise _no_port(host, port, "REST", error) from error
    # Connections inherit it; otherwise head and body of an answer are 40 ms apart.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _add_port(server: Any, host: str, port: int) -> int:
    try:
        bound: int = server.add_insecure_port(address(host, port))
    except RuntimeError as error:
        raise _no_port(host, port, "gRPC", error) from error
    return bound


def address(host: str, port: int) -> str:
    """Returns `HOST:PORT`, as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _no_port(host: str, port: int, what: str, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or error
    return UserError(
        f"Can't listen on {address(host, port)} for {what} ({reason}). Name another host or port."
    )


def _grpc_server(prediction: Prediction, status: ModelStatus, limits: Limits) -> Any:
    waiting = limits.workers + limits.queue
    server = grpc.server(
        ThreadPoolExecutor(waiting + _SPARE_THREADS, thread_name_prefix="grpc"),
        # Beyond it gRPC itself answers RESOURCE_EXHAUSTED, without a thread.
        maximum_concurrent_rpcs=2 * waiting + _SPARE_THREADS,
        options=[
            ("grpc.max_receive_message_length", limits.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            # Otherwise a second server could share the port, unseen.
            ("grpc.so_reuseport", 0),
        ],
    )
    prediction_service.add_PredictionServiceServicer_to_server(prediction, server)
    model_service.add_ModelServiceServicer_to_server(status, server)
    return server


def _uvicorn_config(app: Any, limits: Limits) -> uvicorn.Config:
    class Protocol(PatientProtocol):
        receive_seconds = limits.receive_seconds

    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=round(limits.request_seconds + limits.receive_seconds) + 1,
        limit_concurrency=limits.connections,
    )
