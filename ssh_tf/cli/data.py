"""`ssh-tf synth`, `records` and `inspect`: pictures and boxes to TFRecords, and a look at them."""

import argparse
import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssh_tf.cli.flags import Command, from_zero, positive
from ssh_tf.cli.ray import add_ray, shards_on_ray
from ssh_tf.cli.terminal import import_tensorflow, next_command, progress, say
from ssh_tf.errors import UserError
from ssh_tf.signature import MANIFEST

if TYPE_CHECKING:
    from ssh_tf.data.shards import WriteShards
    from ssh_tf.data.sources import Kind, Source

_SHOWN_LINES = 20  # of images left out and of boxes lost


def add_commands(command: Command) -> None:
    """Declares the commands of this file."""
    add = command("synth", _synth, "draw a small data set in WIDER's layout")
    add("--out", required=True, help="root folder of the data set")
    add("--images", type=positive, required=True, help="number of pictures")
    add("--seed", type=from_zero, default=0, help="of everything drawn (default: %(default)s)")
    add("--split", default="train", help="name of the split (default: %(default)s)")
    add("--width", type=positive, default=640, help="mean width, px (default: %(default)s)")
    add("--height", type=positive, default=480, help="mean height, px (default: %(default)s)")
    add(
        "--smallest_px",
        type=positive,
        default=12,
        help="minimum face height, px (default: %(default)s)",
    )

    add = command("records", _records, "build TFRecords; the same command finishes a stopped build")
    folder = {"type": Path, "metavar": "DIR"}
    file = {"type": Path, "metavar": "FILE"}
    add("--wider_root", **folder, help="folder in WIDER's layout, or with its zip archives")
    add("--csv", **file, help="file whose first line is image,x,y,w,h or image,x1,y1,x2,y2")
    add("--coco", **file, help="file in COCO's format")
    add("--voc", **folder, help="folder of Pascal VOC's XML files")
    add("--yolo", **folder, help="folder of YOLO's label files")
    add("--images", **folder, help="folder of the images, for all but --wider_root")
    add(
        "--class",
        dest="label",
        metavar="NAME",
        help="class that is the face, of --coco, --voc and --yolo (default: face)",
    )
    add(
        "--boxes_on",
        choices=("upright", "stored"),
        help="what the boxes are drawn on where EXIF turns an image: what viewers show (default), "
        "or the stored pixels; for all but --wider_root",
    )
    add("--split", default="train", help="name of the split (default: %(default)s)")
    add("--out", required=True, help="folder of the shards, such as tfrecords/wider_train")
    add("--shards", type=positive, default=32, help="files to write (default: %(default)s)")
    add("--workers", type=positive, help="threads (default: cores)")
    add("--seed", type=from_zero, default=0, help="of the order (default: %(default)s)")
    add(
        "--verify",
        choices=("none", "header", "full"),
        default="full",
        help="how images are checked: not, by header and end, or by decoding (default)",
    )
    add(
        "--on_error",
        choices=("fail", "skip"),
        default="fail",
        help="what a broken image does: stop the build (default), or be left out and reported",
    )
    add(
        "--allow_lost",
        action="store_true",
        help="go on though more than 1%% of the boxes have no pixel in their image",
    )
    add_ray(add, detectors=False)

    add = command("inspect", _inspect, "check a folder of records and draw what is in it")
    add("records", help="made by `ssh-tf records`")
    add("--out", type=Path, help="folder of the pictures (default: RECORDS/inspect)")


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
    say(f"{arguments.images} images in {arguments.out}")
    records = Path("tfrecords") / f"{Path(arguments.out).name}_{arguments.split}"
    split = ("--split", arguments.split) if arguments.split != "train" else ()
    next_command("records", "--wider_root", arguments.out, *split, "--out", records)


def _records(arguments: argparse.Namespace) -> None:
    if arguments.ray is not None and arguments.workers is not None:
        raise UserError("--workers can't be used with --ray, where each CPU writes a shard.")
    source = _source(arguments)
    import_tensorflow()
    from ssh_tf.data.builder import build_records
    from ssh_tf.data.checks import Checks

    with _workers(arguments) as workers:
        manifest = build_records(
            source,
            arguments.out,
            shards=arguments.shards,
            workers=workers,
            seed=arguments.seed,
            checks=Checks(arguments.verify, arguments.on_error, arguments.allow_lost),
            progress=progress,
        )
    _report(manifest, arguments.out)
    if manifest["official"] is False:
        images, faces = source.official_counts or (0, 0)
        say(
            f"If this should be all of WIDER FACE's {source.split}: that has {images:,} images and "
            f"{faces:,} faces."
        )
    next_command("inspect", arguments.out)


@contextlib.contextmanager
def _workers(arguments: argparse.Namespace) -> "Iterator[int | WriteShards]":
    """Yields what writes the shards: threads, or with `--ray` a cluster."""
    if arguments.ray is None:
        yield arguments.workers or os.cpu_count() or 1
        return
    with shards_on_ray(arguments) as write:
        yield write


def _report(manifest: Mapping[str, Any], out: str) -> None:
    """Prints what was built, and what is not in it."""
    skipped, lost = manifest["skipped"], manifest["lost_boxes"]
    for title, lines in (
        ("left out", [image["reason"] for image in skipped]),
        ("lost box", lost),
    ):
        for line in lines[:_SHOWN_LINES]:
            say(f"{title}: {line}")
        if len(lines) > _SHOWN_LINES:
            say(f"{title}: {len(lines) - _SHOWN_LINES} more, in {out}/{MANIFEST}")
    say(
        f"{manifest['images']} images, {manifest['faces']} of {manifest['annotated_faces']} "
        f"annotated faces, in {len(manifest['shards'])} shards in {out}. Left out: "
        f"{len(skipped)} images with their faces, and {len(lost)} boxes without a pixel in theirs."
    )


def _source(arguments: argparse.Namespace) -> "Source":
    from ssh_tf.data.sources import open_annotations, open_wider

    formats: tuple[Kind, ...] = ("csv", "coco", "voc", "yolo")
    named = [kind for kind in formats if getattr(arguments, kind) is not None]
    if len(named) + (arguments.wider_root is not None) != 1:
        raise UserError("Name --wider_root, or else --csv, --coco, --voc or --yolo with --images.")
    _refuse_unused(arguments, named)
    if not named:
        return open_wider(arguments.wider_root, arguments.split)
    (kind,) = named
    if arguments.images is None:
        raise UserError(f"--{kind} needs --images: the folder that image names are relative to.")
    return open_annotations(
        getattr(arguments, kind),
        arguments.images,
        kind=kind,
        split=arguments.split,
        label=arguments.label,
        boxes_on=arguments.boxes_on or "upright",
    )


def _refuse_unused(arguments: argparse.Namespace, named: "list[Kind]") -> None:
    """Refuses flags that have no meaning for the format of the annotations."""
    unused = {"--class": arguments.label} if named in ([], ["csv"]) else {}
    if not named:
        unused |= {"--images": arguments.images, "--boxes_on": arguments.boxes_on}
    if given := [flag for flag, value in unused.items() if value is not None]:
        source = "--csv" if named else "--wider_root"
        raise UserError(f"{' and '.join(given)} can't be used with {source}. Remove it.")


def _inspect(arguments: argparse.Namespace) -> None:
    import_tensorflow()
    from ssh_tf.data.inspection import inspect_records

    out = arguments.out or Path(arguments.records) / "inspect"
    say(*inspect_records(arguments.records, out, progress=progress).splitlines())
    say(f"Pictures in {out}")
