"""`ssh-tf detect`: faces in images, videos and what a camera sees."""

import argparse
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssh_tf.cli.flags import (
    Command,
    add_model,
    add_runtime,
    fraction,
    from_zero,
    given_settings,
    load_detector,
    positive,
)
from ssh_tf.cli.terminal import import_tensorflow, progress
from ssh_tf.errors import UserError
from ssh_tf.files import output_file, output_folder, write_text

if TYPE_CHECKING:
    from ssh_tf.inference.contract import FaceDetector

Entries = list[dict[str, Any]]


def add_commands(command: Command) -> None:
    """Declares the commands of this file."""
    add = command("detect", _detect, "find faces in images, videos or a camera and draw them")
    add_model(add, required=False)
    add_runtime(add)
    add("--server", help="a server's REST address instead of --model: http://127.0.0.1:8501")
    add("paths", nargs="*", help="images, folders of images, videos")
    add("--camera", type=from_zero, help="a camera's number instead of paths; ends by Ctrl-C")
    add("--frames", type=positive, help="most frames of each video or of the camera (default: all)")
    add("--out", type=Path, required=True, help="folder of the pictures and videos")
    add("--json", type=Path, help="also write all boxes, whatever their score, to this file")
    add("--wider", type=Path, help="also write the images' boxes to this folder as WIDER's text")
    add("--show_from", type=fraction, default=0.5, help="least score drawn (default: %(default)s)")


def _detect(arguments: argparse.Namespace) -> None:
    if bool(arguments.paths) == (arguments.camera is not None):
        raise UserError("Name images, folders or videos, or else --camera with its number.")
    import_tensorflow()
    from ssh_tf.imaging.folders import find_images
    from ssh_tf.inference.gallery import detect_files
    from ssh_tf.inference.video import VIDEO_SUFFIXES, check_videos

    files = [Path(path) for path in arguments.paths if path.lower().endswith(VIDEO_SUFFIXES)]
    images = find_images([path for path in arguments.paths if Path(path) not in files]).images
    check_videos(files)
    videos: list[Path | int] = [*files] if arguments.camera is None else [arguments.camera]
    _check_outputs(arguments, [name for _, name in images])
    detector = _finder(arguments)
    shown = {"show_from": arguments.show_from, "progress": progress}
    entries: Entries = []
    if images:
        entries += detect_files(detector, images, arguments.out, **shown)
        if arguments.wider is not None:
            _write_wider(arguments.wider, entries, [name for _, name in images])
    entries += _detect_videos(detector, videos, arguments, shown)
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(entries, indent=1) + "\n")
    _summarise(entries, arguments)


def _check_outputs(arguments: argparse.Namespace, names: Sequence[Path]) -> None:
    """Refuses before the work what could not be written after it."""
    from ssh_tf.evaluation.detections import refuse_equal_keys

    if arguments.json is not None:
        output_file(arguments.json)
    if arguments.wider is not None:
        output_folder(arguments.wider)
        refuse_equal_keys(name.as_posix() for name in names)


def _finder(arguments: argparse.Namespace) -> "FaceDetector":
    """Returns what finds the faces: a model, or a server's client."""
    if bool(arguments.model) == bool(arguments.server):
        raise UserError("Name a model with --model, or else a server with --server.")
    if not arguments.server:
        return load_detector(arguments)
    if given := given_settings(arguments):
        raise UserError(f"--server has its own settings. Leave --{' and --'.join(given)} away.")
    from ssh_tf.client.remote import ServerDetector
    from ssh_tf.client.rest import RestClient

    return ServerDetector(RestClient.from_address(arguments.server))


def _detect_videos(
    detector: "FaceDetector",
    videos: Sequence[Path | int],
    arguments: argparse.Namespace,
    shown: dict[str, Any],
) -> Entries:
    from ssh_tf.inference.video import detect_video

    run = functools.partial(detect_video, detector, frames=arguments.frames, **shown)
    return [
        {"video": str(video), **frame}
        for video in videos
        for frame in run(source=video, out=arguments.out)
    ]


def _write_wider(folder: Path, entries: Entries, names: Sequence[Path]) -> None:
    import numpy as np

    from ssh_tf.evaluation.detections import write_wider

    for entry, name in zip(entries, names, strict=True):
        faces = entry.get("faces", [])
        boxes = np.array([face["box"] for face in faces], np.float32).reshape(-1, 4)
        scores = np.array([face["score"] for face in faces], np.float32)
        write_wider(folder, name.as_posix(), boxes, scores)


def _summarise(entries: Entries, arguments: argparse.Namespace) -> None:
    unreadable = sum("error" in entry for entry in entries)
    faces = [face for entry in entries for face in entry.get("faces", [])]
    drawn = sum(face["score"] >= arguments.show_from for face in faces)
    print(f"{drawn} faces drawn in {len(entries) - unreadable} pictures in {arguments.out}")
    if unreadable:
        raise UserError(f"{unreadable} of {len(entries)} images can't be read, see above.")
