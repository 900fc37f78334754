"""`ssh-tf serve`."""

import argparse
import hashlib
import importlib.util
import re
import signal
import threading
from pathlib import Path
from typing import Any

from ssh_tf.cli.flags import Command, number, port, whole
from ssh_tf.cli.terminal import import_tensorflow, progress, say
from ssh_tf.config import PRECISIONS
from ssh_tf.errors import UserError
from ssh_tf.files import cache_folder, output_folder
from ssh_tf.server.limits import RANGES, Limits
from ssh_tf.version import __version__
from ssh_tf.zoo.models import DEFAULT

# What the `serving` extra installs, by the names of the imports.
_EXTRA = ("tensorflow_serving", "grpc", "orjson", "prometheus_client", "starlette", "uvicorn")
_MIB = 2**20


def add_commands(command: Command) -> None:
    """Declares the commands of this file."""
    add = command("serve", _serve, "serve an export on this machine, for development and tests")
    add("--model_dir", help="an export: its folder of versions")
    add("--model", help=f"what to export and serve instead (default: {DEFAULT.name})")
    floats = [name for name in PRECISIONS if name != "int8"]
    add("--precision", choices=floats, help="arithmetic of --model's network (default: float32)")
    add("--name", default="ssh", help="the model's name in requests (default: %(default)s)")
    add("--host", default="127.0.0.1", help="interface to listen on (default: %(default)s)")
    add("--rest_port", type=port, default=8501, help="0 takes a free one (default: %(default)s)")
    add("--grpc_port", type=port, default=8500, help="0 takes a free one (default: %(default)s)")
    workers, queue = (whole(*map(int, RANGES[name])) for name in ("workers", "queue"))
    add("--workers", type=workers, help="requests computed at a time (default: CPUs)")
    add("--queue", type=queue, help="requests that wait for a worker (default: 64)")
    seconds = number(*RANGES["request_seconds"])
    add("--request_seconds", type=seconds, help="time for an answer (default: 60)")
    seconds = number(*RANGES["receive_seconds"])
    add("--receive_seconds", type=seconds, help="time to send a request (default: 20)")
    least, most = (limit / _MIB for limit in RANGES["max_body_bytes"])
    add("--max_body_mib", type=number(least, most), help="largest request (default: 44)")


def _serve(arguments: argparse.Namespace) -> None:
    if not re.fullmatch(r"[\w.-]+", arguments.name, re.ASCII):
        raise UserError(f"--name must be of letters, digits, '_', '.' or '-': {arguments.name}")
    if not arguments.host:
        raise UserError("--host must not be empty. Name an address, or 0.0.0.0 for all.")
    if missing := [name for name in _EXTRA if importlib.util.find_spec(name) is None]:
        needed = ", ".join(missing)
        raise UserError(f"serve needs {needed}. Install it: pip install 'ssh-tf[serving]'")
    if arguments.model_dir and arguments.model:
        raise UserError("--model_dir and --model exclude each other. Remove one of them.")
    if arguments.model_dir and arguments.precision:
        raise UserError("An export's precision is fixed. Remove --precision, or name --model.")
    import_tensorflow()
    from ssh_tf.server.app import LocalServer, address

    server = LocalServer(
        arguments.model_dir or _exported(arguments.model, arguments.precision),
        name=arguments.name,
        host=arguments.host,
        rest_port=arguments.rest_port,
        grpc_port=arguments.grpc_port,
        limits=_limits(arguments),
    )
    stop = threading.Event()

    def ask_to_stop(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # The second time ends it at once.
        stop.set()

    for which in (signal.SIGINT, signal.SIGTERM):
        signal.signal(which, ask_to_stop)
    with server:
        url = f"http://{address(arguments.host, server.rest_port)}"
        say(f"The page to try it: {url}/")
        say(f"REST {url}/v1/models/{arguments.name}:predict")
        say(f"gRPC {address(arguments.host, server.grpc_port)}")
        stop.wait()
        say("Stopping: what runs is finished first; once more stops at once")


def _exported(model: str | None, precision: str | None) -> Path:
    """Returns a folder of versions with an export of a model, which is kept in the cache."""
    from ssh_tf.export.savedmodel import export_savedmodel
    from ssh_tf.inference.detector import Detector
    from ssh_tf.inference.exported import ExportedDetector, find_saved_model

    name = model or DEFAULT.name
    say(f"Serving {name}" + ("" if model else "; --model or --model_dir names another"))
    settings: dict[str, Any] = {} if precision is None else {"precision": precision}
    detector = Detector.load(name, progress=progress, **settings)
    if isinstance(detector, ExportedDetector):
        raise UserError(f"{model} is a SavedModel. Name its folder of versions as --model_dir.")
    digest = hashlib.sha256(f"{__version__} {detector.fingerprint()}".encode()).hexdigest()
    folder = output_folder(cache_folder() / "exports" / digest[:16])
    if find_saved_model(folder) is None:
        export_savedmodel(detector.network, detector.config, folder)
    return folder


def _limits(arguments: argparse.Namespace) -> Limits:
    """Returns the limits that were given; the others have their defaults."""
    names = ("workers", "queue", "request_seconds", "receive_seconds")
    given = {name: getattr(arguments, name) for name in names}
    if arguments.max_body_mib is not None:
        given["max_body_bytes"] = round(arguments.max_body_mib * _MIB)
    return Limits(**{name: value for name, value in given.items() if value is not None})
