"""`ssh-tf export` and `ssh-tf convert`: a network in another form."""

import argparse
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from ssh_tf.cli.flags import Command, add_model, load_network_detector, positive
from ssh_tf.cli.terminal import import_tensorflow, next_command, say
from ssh_tf.config import DetectConfig, ExportConfig
from ssh_tf.errors import UserError
from ssh_tf.files import output_folder

if TYPE_CHECKING:
    from ssh_tf.model.ssh import SSH

# Where an export goes to by default, and the runtimes whose packages write and check it.
FORMATS: dict[str, tuple[str, tuple[str, ...]]] = {
    "savedmodel": ("export/models/ssh", ()),
    "onnx": ("export/ssh.onnx", ("onnxruntime",)),
    "openvino": ("export/ssh_openvino", ("onnxruntime", "openvino")),
    "litert": ("export/ssh.tflite", ("litert",)),
}
_SAVEDMODEL_FLAGS = ("version", "max_bytes", "max_pixels", "as_stored", "float16")


def add_commands(command: Command) -> None:
    """Declares the commands of this file."""
    add = command("convert", _convert, "turn the authors' Caffe weights into a Keras file")
    add("--caffemodel", required=True, help="SSH.caffemodel")
    add("--out", type=Path, required=True, help="a .keras or .weights.h5 file")

    add = command("export", _export, "write a detector for servers and other programs")
    add_model(add, runtime=False)
    add("--format", choices=list(FORMATS), default="savedmodel", help="default: %(default)s")
    folders = ", ".join(out for out, _ in FORMATS.values())
    add("--out", help=f"folder of versions, file or new folder (default: {folders})")
    add.group("only with --format savedmodel")
    add("--version", type=_version, help="number of the version (default: auto, the next)")
    add("--max_bytes", type=positive, help="largest encoded image (default: 32 MiB)")
    add("--max_pixels", type=positive, help="most pixels of an image (default: 64 million)")
    add("--as_stored", action="store_true", help="ignore the EXIF orientation of images")
    add("--float16", action="store_true", help="store weights in half the size")


def _convert(arguments: argparse.Namespace) -> None:
    import_tensorflow()
    from ssh_tf.model.weights import load_network, save_network

    output_folder(arguments.out.parent)
    save_network(load_network(arguments.caffemodel), arguments.out)
    say(f"Saved {arguments.out}")


def _export(arguments: argparse.Namespace) -> None:
    import_tensorflow()
    default, runtimes = FORMATS[arguments.format]
    out = arguments.out or default
    if arguments.format == "savedmodel":
        _export_savedmodel(arguments, out)
        return
    if given := [f"--{name}" for name in _SAVEDMODEL_FLAGS if getattr(arguments, name)]:
        raise UserError(f"{' and '.join(given)} belong to --format savedmodel alone. Remove them.")
    from ssh_tf.inference.quiet import with_log_handlers
    from ssh_tf.inference.runtimes.choice import require_runtime

    for runtime in runtimes:
        require_runtime(runtime)
    network, config = _wanted(arguments)
    with with_log_handlers():
        module = importlib.import_module(f"ssh_tf.export.{arguments.format}")
    export = getattr(module, f"export_{arguments.format}")
    say(f"Exported {export(network, config, out)}")


def _wanted(arguments: argparse.Namespace) -> "tuple[SSH, DetectConfig]":
    """Returns the network and the settings to export.

    A detector in int8 would be calibrated to be loaded, and again to be exported.
    """
    changed = {}
    if arguments.precision == "int8":
        changed = {"precision": "int8", "calibration": arguments.calibration}
        arguments.precision = arguments.calibration = None
    detector = load_network_detector(arguments)
    return detector.network, detector.config.model_copy(update=changed)


def _export_savedmodel(arguments: argparse.Namespace, out: str) -> None:
    from ssh_tf.export.savedmodel import export_savedmodel

    network, config = _wanted(arguments)
    options = {
        "max_bytes": arguments.max_bytes,
        "max_pixels": arguments.max_pixels,
        "version": None if arguments.version == "auto" else arguments.version,
    }
    given = {key: value for key, value in options.items() if value is not None}
    settings = ExportConfig(float16=arguments.float16, upright=not arguments.as_stored, **given)
    say(f"Exported {export_savedmodel(network, config, out, settings)}")
    next_command("serve", "--model_dir", out)


def _version(text: str) -> str | int:
    return text if text == "auto" else positive(text)
