"""`ssh-tf synth` and `ssh-tf records`: pictures and boxes to TFRecords."""

import argparse
import os
from pathlib import Path

from ssh_tf.cli.flags import Command
from ssh_tf.cli.terminal import import_tensorflow, progress


def add_commands(command: Command) -> None:
    """Declares the commands of this file."""
    add = command("synth", _synth, "draw a small data set in WIDER's own layout")
    add("--out", required=True, help="root folder of the data set")
    add("--images", type=int, required=True)
    add("--seed", type=int, default=0)
    add("--split", default="train")
    add("--width", type=int, default=640, help="mean width, px (default: %(default)s)")
    add("--height", type=int, default=480, help="mean height, px (default: %(default)s)")
    add("--smallest_px", type=int, default=12, help="lowest face, px (default: %(default)s)")

    add = command("records", _records, "build TFRecords from a split in WIDER's layout")
    add("--wider_root", required=True, help="holds WIDER_<split>/images and wider_face_split/")
    add("--split", default="train")
    add("--out", required=True, help="folder of the shards, such as tfrecords/wider_train")
    add("--shards", type=int, default=32)
    add("--workers", type=int, default=os.cpu_count() or 1, help="threads (default: all cores)")


def _synth(arguments: argparse.Namespace) -> None:
    from ssh_tf.data.synthetic import generate

    generate(
        Path(arguments.out),
        images=arguments.images,
        seed=arguments.seed,
        split=arguments.split,
        size=(arguments.height, arguments.width),
        smallest_px=arguments.smallest_px,
        progress=progress,
    )
    print(f"{arguments.images} images in {arguments.out}")


def _records(arguments: argparse.Namespace) -> None:
    import_tensorflow()
    from ssh_tf.data.builder import build_records

    manifest = build_records(
        arguments.wider_root,
        arguments.split,
        arguments.out,
        shards=arguments.shards,
        workers=arguments.workers,
        progress=progress,
    )
    dropped = manifest["annotated_faces"] - manifest["faces"]
    print(
        f"{manifest['images']} images, {manifest['faces']} faces ({dropped} annotated faces under "
        f"1 px left out) in {len(manifest['shards'])} shards in {arguments.out}"
    )
