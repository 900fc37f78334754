"""`--ray`: detection, evaluation and records on all cores of a machine, or on many machines."""

import argparse
import contextlib
import functools
import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ssh_tf.cli import detect_outputs
from ssh_tf.cli.detect_inputs import Inputs, result_filter, skipped_line
from ssh_tf.cli.flags import Flags, load_detector, model_and_settings, number
from ssh_tf.cli.terminal import progress
from ssh_tf.errors import UserError

if TYPE_CHECKING:
    from ssh_tf.data.shards import WriteShards
    from ssh_tf.distributed.detectors import RayDetectors
    from ssh_tf.distributed.listing import Input
    from ssh_tf.inference.contract import FaceDetector
    from ssh_tf.inference.gallery import Outputs
    from ssh_tf.inference.writers import Sink

_LOG = logging.getLogger("ssh_tf")

THIS_MACHINE = "auto"
_SHARES = (("cpus", 1.0), ("gpus", 0.0))
# Where rows are kept that nobody asked for: in the pictures' folder, so that a second call goes on.
_PRIVATE = ".parts"


def add_ray(add: Flags, *, detectors: bool = True) -> None:
    """Declares `--ray`, and what each of its detectors gets."""
    add.group("many machines")
    add(
        "--ray",
        nargs="?",
        const=THIS_MACHINE,
        type=_address,
        metavar="ADDRESS",
        help="use the Ray cluster at HOST:PORT; auto, or nothing, is all cores of this machine",
    )
    if detectors:
        add("--cpus", type=number(0, 1024), help="of each detector of --ray (default: 1)")
        add("--gpus", type=number(0, 64), help="the same, also fractions (default: 0)")


def check_ray(arguments: argparse.Namespace) -> None:
    """Refuses what would be ignored without `--ray`.

    Raises:
        UserError: Naming it.
    """
    for flag, _ in _SHARES:
        if arguments.ray is None and getattr(arguments, flag) is not None:
            raise UserError(f"--{flag} needs --ray.")


def _address(text: str) -> str:
    if text == THIS_MACHINE or re.fullmatch(r"[\w.-]+:\d{1,5}|\[[\da-fA-F:.]+\]:\d{1,5}", text):
        return text
    raise argparse.ArgumentTypeError(
        f"expected {THIS_MACHINE} or HOST:PORT, received {text!r}. Put --ray last, or write "
        f"--ray={THIS_MACHINE}"
    )


@contextlib.contextmanager
def detector_of(
    arguments: argparse.Namespace, *, preset: str | None = None
) -> "Iterator[FaceDetector]":
    """Yields the detector that the flags describe: of this process, or with `--ray` of many.

    Raises:
        UserError: As `load_detector`, and if Ray can't be used.
    """
    check_ray(arguments)
    if arguments.ray is None:
        yield load_detector(arguments, preset=preset)
        return
    with _detectors(arguments, preset=preset) as detectors:
        yield detectors


@contextlib.contextmanager
def _detectors(
    arguments: argparse.Namespace, *, preset: str | None = None
) -> "Iterator[RayDetectors]":
    from ssh_tf.distributed.cluster import connected
    from ssh_tf.distributed.detectors import RayDetectors, load_model

    model, settings = model_and_settings(arguments, preset=preset)
    given = {name: getattr(arguments, name) for name, _ in _SHARES}
    shares = {name: default if given[name] is None else given[name] for name, default in _SHARES}
    if not any(shares.values()):
        raise UserError("--cpus and --gpus are both 0. A detector needs a part of one.")
    with connected(arguments.ray):
        threads = max(1, int(shares["cpus"]))
        load = functools.partial(load_model, model, settings, threads=threads)
        with contextlib.closing(RayDetectors(load, **shares)) as detectors:
            yield detectors


@contextlib.contextmanager
def shards_on_ray(arguments: argparse.Namespace) -> "Iterator[WriteShards]":
    """Yields what writes the shards of records on the cluster.

    Raises:
        UserError: If Ray can't be used.
    """
    from ssh_tf.distributed.cluster import connected
    from ssh_tf.distributed.records import write_on_ray

    with connected(arguments.ray):
        yield write_on_ray


def detect_on_ray(arguments: argparse.Namespace) -> None:
    """Does what `ssh-tf detect` does, on the cluster."""
    _refuse_unsuited(arguments)
    from ssh_tf.distributed.cluster import import_ray

    import_ray()
    from ssh_tf.distributed.listing import list_inputs
    from ssh_tf.inference.gallery import check_pictures

    skipped: list[Path] = []
    found = list_inputs(list(dict.fromkeys(arguments.paths)), skipped)
    inputs = _without_results(found, arguments)
    listed = Inputs([], [])
    if _needs_names(arguments):
        chosen = list(dict.fromkeys(inputs))
        inputs, listed = iter(chosen), _listed(chosen, arguments)
    outputs = detect_outputs.outputs(arguments, listed)
    check_pictures(listed.images, outputs)
    detect_outputs.check_files(arguments, listed)
    counts = detect_outputs.Counts(outputs.show_from)
    with contextlib.ExitStack() as stack:
        folder = _rows_folder(stack, arguments, outputs)
        sinks = detect_outputs.sinks(stack, arguments, listed, show_from=outputs.show_from)
        detectors = stack.enter_context(_detectors(arguments))
        _detect(detectors, inputs, outputs, folder, counts, sinks, private=not arguments.parquet)
    if skipped:
        _LOG.info(skipped_line(skipped))
    detect_outputs.summarize(arguments, counts)


def _detect(
    detectors: "RayDetectors",
    inputs: "Iterator[Input]",
    outputs: "Outputs",
    folder: Path,
    counts: detect_outputs.Counts,
    sinks: "Sequence[Sink]",
    *,
    private: bool,
) -> None:
    """Detects, counts, and reads the rows again if there is a file that wants them."""
    from ssh_tf.distributed.detect import detect_parts, entries_of

    parts = detect_parts(detectors, inputs, outputs, folder, private=private, progress=progress)
    with contextlib.closing(parts):
        for file, summary in parts:
            counts.add_all(summary.images, summary.faces, len(summary.failures))
            for entry in entries_of(file) if sinks else ():
                for sink in sinks:
                    sink(entry)


def _refuse_unsuited(arguments: argparse.Namespace) -> None:
    from ssh_tf.inference.video import is_video

    for flag in ("server", "camera", "frames", "show", "hold"):
        if getattr(arguments, flag) is not None and getattr(arguments, flag) is not False:
            raise UserError(f"--{flag} can't be used with --ray. Remove one of them.")
    if videos := [path for path in arguments.paths if is_video(Path(path))]:
        raise UserError(f"{videos[0]}: --ray is for images. Detect videos without it.")


def _without_results(found: "Iterator[Input]", arguments: argparse.Namespace) -> "Iterator[Input]":
    """Leaves out what an earlier call wrote to a folder inside of those that are looked through."""
    is_result = result_filter([Path(path) for path in arguments.paths], arguments)
    return (each for each in found if "://" in each.source or not is_result(Path(each.source)))


def _needs_names(arguments: argparse.Namespace) -> bool:
    """Whether files are written under the images' names, so that these are to be compared."""
    return any(getattr(arguments, flag) is not None for flag in ("out", "crops", "wider"))


def _listed(inputs: "Sequence[Input]", arguments: argparse.Namespace) -> Inputs:
    from ssh_tf.distributed.listing import Photo

    if arguments.wider is not None and not all(isinstance(each, Photo) for each in inputs):
        raise UserError("--wider can't be used with archives. Remove it.")
    paths: list[tuple[Path | str, Path]] = []
    for each in inputs:
        source = each.source if "://" in each.source else Path(each.source)
        paths.append((source, Path(each.name if isinstance(each, Photo) else source)))
    return Inputs(paths, [])


def _rows_folder(
    stack: contextlib.ExitStack, arguments: argparse.Namespace, outputs: "Outputs"
) -> Path:
    """Returns where the rows are kept: as asked, beside the pictures, or until the work ends."""
    if arguments.parquet is not None:
        return Path(arguments.parquet)
    if outputs.folder is not None:
        return outputs.folder / _PRIVATE
    if arguments.ray != THIS_MACHINE:
        raise UserError(
            f"--ray {arguments.ray} needs --parquet: a folder that all machines reach by this path."
        )
    return Path(stack.enter_context(tempfile.TemporaryDirectory()))
