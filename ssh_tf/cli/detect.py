"""`ssh-tf detect`."""

import argparse
from pathlib import Path

from ssh_tf.cli.flags import Command, add_model, load_detector
from ssh_tf.cli.terminal import import_tensorflow, progress


def add_commands(command: Command) -> None:
    """Declares the commands of this file."""
    add = command("detect", _detect, "find faces in images and draw them")
    add_model(add)
    add("paths", nargs="+", help="images or folders")
    add("--out", required=True, help="folder of the pictures")
    add("--json", type=Path, help="also write the boxes to this file")
    add("--show_from", type=float, default=0.5, help="least score drawn (default: %(default)s)")


def _detect(arguments: argparse.Namespace) -> None:
    import_tensorflow()
    from ssh_tf.inference.detector import find_images
    from ssh_tf.inference.gallery import detect_files

    images = list(find_images(arguments.paths))
    faces = detect_files(
        load_detector(arguments),
        images,
        Path(arguments.out),
        json_path=arguments.json,
        show_from=arguments.show_from,
        progress=progress,
    )
    print(f"{faces} faces drawn in {len(images)} pictures in {arguments.out}")
