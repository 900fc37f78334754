"""`ssh-tf export` and `ssh-tf convert`: a network in another form."""

import argparse
from pathlib import Path

from ssh_tf.cli.flags import Command, add_model, load_network_detector, positive
from ssh_tf.cli.terminal import import_tensorflow, next_command, say
from ssh_tf.config import ExportConfig
from ssh_tf.files import output_folder


def add_commands(command: Command) -> None:
    """Declares the commands of this file."""
    add = command("convert", _convert, "turn the authors' Caffe weights into a Keras file")
    add("--caffemodel", required=True, help="SSH.caffemodel")
    add("--out", type=Path, required=True, help="a .keras or .weights.h5 file")

    add = command("export", _export, "write a SavedModel for TensorFlow Serving")
    add_model(add, runtime=False)
    add("--out", default="export/models/ssh", help="folder of versions (default: %(default)s)")
    add(
        "--version", type=_version, default="auto", help="number of the version (default: the next)"
    )
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
    from ssh_tf.export.savedmodel import export_savedmodel

    detector = load_network_detector(arguments)
    options = {
        "max_bytes": arguments.max_bytes,
        "max_pixels": arguments.max_pixels,
        "version": None if arguments.version == "auto" else arguments.version,
    }
    given = {key: value for key, value in options.items() if value is not None}
    settings = ExportConfig(float16=arguments.float16, upright=not arguments.as_stored, **given)
    version = export_savedmodel(detector.network, detector.config, arguments.out, settings)
    say(f"Exported {version}")
    next_command("serve", "--model_dir", arguments.out)


def _version(text: str) -> str | int:
    return text if text == "auto" else positive(text)
