"""`ssh-tf export` and `ssh-tf convert`: a network in another form."""

import argparse
from pathlib import Path

from ssh_tf.cli.flags import Command, add_model, load_network_detector
from ssh_tf.cli.terminal import import_tensorflow
from ssh_tf.files import output_folder


def add_commands(command: Command) -> None:
    """Declares the commands of this file."""
    add = command("convert", _convert, "turn the authors' Caffe weights into a Keras file")
    add("--caffemodel", required=True, help="SSH.caffemodel")
    add("--out", type=Path, required=True, help="a .keras or .weights.h5 file")

    add = command("export", _export, "write a SavedModel for TensorFlow Serving")
    add_model(add)
    add("--out", default="export/models/ssh", help="folder of versions (default: %(default)s)")


def _convert(arguments: argparse.Namespace) -> None:
    import_tensorflow()
    from ssh_tf.model.weights import load_network, save_network

    output_folder(arguments.out.parent)
    save_network(load_network(arguments.caffemodel), arguments.out)
    print(f"Saved {arguments.out}")


def _export(arguments: argparse.Namespace) -> None:
    import_tensorflow()
    from ssh_tf.serving.export import DEFAULT_ROWS, export_savedmodel

    detector = load_network_detector(arguments)
    rows = detector.config.max_detections or DEFAULT_ROWS
    version = export_savedmodel(
        detector.network, detector.config, arguments.out, max_detections=rows
    )
    print(f"Exported {version}")
