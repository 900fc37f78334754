"""`ssh-tf serve`."""

import argparse
import importlib.util
import re
import signal
import threading
from typing import Any

from ssh_tf.cli.flags import Command
from ssh_tf.cli.terminal import import_tensorflow, say
from ssh_tf.errors import UserError

# What the `serving` extra installs, by the names of the imports.
_EXTRA = ("tensorflow_serving", "grpc", "orjson", "starlette", "uvicorn")


def add_commands(command: Command) -> None:
    """Declares the commands of this file."""
    add = command("serve", _serve, "serve an export on this machine, for development and tests")
    add("--model_dir", default="export/models/ssh", help="folder of versions")
    add("--name", default="ssh", help="the model's name in requests (default: %(default)s)")
    add("--host", default="127.0.0.1", help="interface to listen on (default: %(default)s)")
    add("--rest_port", type=int, default=8501, help="0 takes a free one (default: %(default)s)")
    add("--grpc_port", type=int, default=8500, help="0 takes a free one (default: %(default)s)")
    add("--workers", type=int, help="requests computed at a time (default: one per CPU)")
    add("--queue", type=int, help="requests that wait for a worker (default: 64)")
    add("--request_seconds", type=float, help="time for an answer (default: 60)")
    add("--receive_seconds", type=float, help="time to send a request (default: 20)")
    add("--max_body_mib", type=float, help="largest request (default: 44)")


def _serve(arguments: argparse.Namespace) -> None:
    limits = _limits(arguments)
    if not re.fullmatch(r"[\w.-]+", arguments.name, re.ASCII):
        raise UserError(f"--name must be of letters, digits, '_', '.' or '-': {arguments.name}")
    if missing := [name for name in _EXTRA if importlib.util.find_spec(name) is None]:
        raise UserError(f"Missing: {', '.join(missing)}. Install ssh-tf[serving].")
    import_tensorflow()
    from ssh_tf.server.app import LocalServer
    from ssh_tf.server.limits import Limits

    server = LocalServer(
        arguments.model_dir,
        name=arguments.name,
        host=arguments.host,
        rest_port=arguments.rest_port,
        grpc_port=arguments.grpc_port,
        limits=Limits(**limits),
    )
    stop = threading.Event()

    def ask_to_stop(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # The second time ends it at once.
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    with server:
        url = f"http://{arguments.host}:{server.rest_port}"
        say(f"The page to try it: {url}/")
        say(f"REST {url}/v1/models/{arguments.name}:predict")
        say(f"gRPC {arguments.host}:{server.grpc_port}")
        stop.wait()
        say("Stopping: what runs is finished first; once more stops at once")


def _limits(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the limits that were given, by the names of `Limits`."""
    given = {
        key: getattr(arguments, key)
        for key in ("workers", "queue", "request_seconds", "receive_seconds", "max_body_mib")
        if getattr(arguments, key) is not None
    }
    for key, value in given.items():
        if value < 0 or (value == 0 and key != "queue"):
            raise UserError(f"--{key} must be positive. Received: {value}.")
    if (size := given.pop("max_body_mib", None)) is not None:
        given["max_body_bytes"] = round(size * 2**20)
    return given
