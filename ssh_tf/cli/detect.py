"""`ssh-tf detect`: faces in images, videos and what a camera sees."""

import argparse
import contextlib
import logging
from collections.abc import Generator, Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ssh_tf.cli import detect_outputs
from ssh_tf.cli.detect_inputs import Inputs, result_filter, skipped_line
from ssh_tf.cli.flags import (
    Command,
    add_batch,
    add_model,
    fraction,
    from_zero,
    given_settings,
    load_detector,
    positive,
)
from ssh_tf.cli.ray import add_ray, check_ray, detect_on_ray
from ssh_tf.cli.terminal import import_tensorflow, progress
from ssh_tf.errors import UserError
from ssh_tf.files import folder_lock, output_folder

if TYPE_CHECKING:
    from ssh_tf.inference.contract import FaceDetector
    from ssh_tf.inference.gallery import Outputs
    from ssh_tf.inference.journal import Journal
    from ssh_tf.inference.writers import Entry, Sink

_LOG = logging.getLogger("ssh_tf")


def add_commands(command: Command) -> None:
    """Declares the commands of this file."""
    add = command("detect", _detect, "find faces in images, videos or a camera and draw them")
    add_model(add, required=False)
    add_batch(add)
    add("--server", help="a server's REST address instead of --model: http://127.0.0.1:8501")
    add("paths", nargs="*", help="images (or their URLs), folders of images, videos")
    add("--camera", type=from_zero, help="a camera's number instead of paths; ends by Ctrl-C")
    add(
        "--frames",
        type=positive,
        help="limit for each video or the camera (default: all)",
    )
    add("--show_from", type=fraction, help="minimum score shown (default: 0.5; with --redact 0.3)")
    detect_outputs.add_flags(add)
    add_ray(add)


def _detect(arguments: argparse.Namespace) -> None:
    _check_flags(arguments)
    detect_outputs.check_flags(arguments)
    check_ray(arguments)
    import_tensorflow()
    if arguments.ray is not None:
        detect_on_ray(arguments)
        return
    from ssh_tf.inference.gallery import check_pictures
    from ssh_tf.inference.video import check_videos

    inputs = _inputs(arguments)
    outputs = detect_outputs.outputs(arguments, inputs)
    check_pictures(inputs.images, outputs)
    check_videos(inputs.videos, outputs)
    detect_outputs.check_files(arguments, inputs)
    detector = _finder(arguments)
    counts = detect_outputs.Counts(outputs.show_from)
    with contextlib.ExitStack() as stack:
        sinks = detect_outputs.sinks(stack, arguments, inputs, show_from=outputs.show_from)
        journal = _journal(stack, outputs, f"{outputs.work(detector)} {arguments.frames}")
        entries = _entries(detector, inputs, outputs, arguments.frames, journal)
        try:
            _write(entries, [*sinks, counts.add])
        except KeyboardInterrupt:
            if arguments.camera is None:  # A camera has no other end.
                raise
    detect_outputs.summarize(arguments, counts)


def _check_flags(arguments: argparse.Namespace) -> None:
    if bool(arguments.paths) == (arguments.camera is not None):
        raise UserError("Name images, folders or videos, or else --camera with its number.")
    if arguments.model and arguments.server:
        raise UserError("--model and --server exclude each other. Remove one of them.")
    if arguments.server and (given := given_settings(arguments)):
        raise UserError(f"--server has its own settings. Remove --{' and --'.join(given)}.")


def _inputs(arguments: argparse.Namespace) -> Inputs:
    from ssh_tf.imaging.fetch import is_url
    from ssh_tf.imaging.folders import find_images
    from ssh_tf.inference.video import is_video

    if arguments.camera is not None:
        return Inputs([], [arguments.camera])
    urls = [text for text in arguments.paths if is_url(text)]
    paths = [Path(text) for text in dict.fromkeys(arguments.paths) if not is_url(text)]
    videos = [path for path in paths if is_video(path)]
    if arguments.frames is not None and not videos:
        raise UserError("--frames is for videos. Remove it.")
    found = find_images([path for path in paths if path not in videos])
    if found.skipped:
        _LOG.info(skipped_line(found.skipped))
    is_result = result_filter(paths, arguments)
    images = [image for image in dict.fromkeys(found.images) if not is_result(image[0])]
    named = [(url, Path(PurePosixPath(urlsplit(url).path).name or "image")) for url in urls]
    return Inputs([*images, *named], videos)


def _finder(arguments: argparse.Namespace) -> "FaceDetector":
    """Returns what finds the faces: a model, or a server's client."""
    if not arguments.server:
        return load_detector(arguments)
    from ssh_tf.client.remote import ServerDetector
    from ssh_tf.client.rest import RestClient

    return ServerDetector(RestClient.from_address(arguments.server))


def _journal(stack: contextlib.ExitStack, outputs: "Outputs", work: str) -> "Journal | None":
    """Opens the journal of the folder of results, if there is one, for this process alone."""
    from ssh_tf.inference.journal import Journal

    if outputs.folder is None:
        return None
    stack.enter_context(folder_lock(output_folder(outputs.folder), "output folder"))
    return Journal(outputs.folder, work)


def _entries(
    detector: "FaceDetector",
    inputs: Inputs,
    outputs: "Outputs",
    frames: int | None,
    journal: "Journal | None",
) -> "Generator[Entry]":
    from ssh_tf.inference.gallery import detect_files
    from ssh_tf.inference.video import detect_video

    shared: dict[str, Any] = {"journal": journal, "progress": progress}
    yield from detect_files(detector, inputs.images, outputs, **shared)
    for video in inputs.videos:
        yield from detect_video(detector, video, outputs, frames=frames, **shared)


def _write(entries: "Generator[Entry]", sinks: "Iterable[Sink]") -> None:
    # Closed here, so that a video ends where the work ends.
    with contextlib.closing(entries):
        for entry in entries:
            for sink in sinks:
                sink(entry)
