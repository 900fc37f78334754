"""Flags that several commands share."""

import argparse
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from ssh_tf.config import PRESETS
from ssh_tf.errors import UserError

if TYPE_CHECKING:
    from ssh_tf.inference.detector import Detector
    from ssh_tf.inference.exported import ExportedDetector

Flags = Callable[..., argparse.Action]
Command = Callable[[str, Callable[[argparse.Namespace], None], str], Flags]

# Flags of `add_model` that are fields of `DetectConfig`.
_SETTINGS = ("shorter_px", "longer_px", "score_threshold", "top_k", "max_detections")


def add_model(add: Flags, *, required: bool = True) -> None:
    """Declares the flags that name a model, the scale it runs at and which boxes it keeps."""
    add(
        "--model",
        required=required,
        help="run folder, .keras, .weights.h5, .caffemodel or SavedModel",
    )
    add("--which", choices=("last", "best"), help="network of a run folder (default: last)")
    add("--preset", choices=list(PRESETS), help="scale of a data set's published results")
    add("--pyramid", action="store_true", help="the official image pyramid: preset wider_pyramid")
    add("--shorter_px", type=int, help="scale of the shorter side (default: the run's, or 1200)")
    add("--longer_px", type=int, help="limit of the longer side (default: the run's, or 1600)")
    add("--score_threshold", type=float, help="boxes need a greater score (default: 0.05)")
    add("--top_k", type=int, help="best boxes that each module keeps before NMS (default: 1000)")
    add("--max_detections", type=int, help="most faces of an image (default: all; export: 750)")


def given_settings(arguments: argparse.Namespace) -> list[str]:
    """Returns the flags of `add_model`, without `--model`, that were given."""
    names = ("which", "preset", "pyramid", *_SETTINGS)
    return [name for name in names if getattr(arguments, name) not in (None, False)]


def load_detector(
    arguments: argparse.Namespace, *, preset: str | None = None
) -> "Detector | ExportedDetector":
    """Returns the detector that those flags describe.

    Args:
        arguments: Parsed flags of `add_model`.
        preset: Used where neither `--preset` nor `--pyramid` is given.

    Raises:
        UserError: If flags contradict each other or the model can't be loaded.
    """
    from ssh_tf.inference.detector import Detector

    given = {key: getattr(arguments, key) for key in _SETTINGS}
    settings = {key: value for key, value in given.items() if value is not None}
    if arguments.pyramid and {"shorter_px", "longer_px"} & set(settings):
        raise UserError("--pyramid has its own scales. Leave --shorter_px and --longer_px away.")
    name = "wider_pyramid" if arguments.pyramid else arguments.preset or preset
    which = {"which": arguments.which} if arguments.which else {}
    return Detector.load(arguments.model, **which, **{**PRESETS.get(name or "", {}), **settings})


def load_network_detector(arguments: argparse.Namespace) -> "Detector":
    """Returns the detector that those flags describe, with a network that can be looked into.

    Raises:
        UserError: As `load_detector`, and for a SavedModel.
    """
    from ssh_tf.inference.exported import ExportedDetector

    detector = load_detector(arguments)
    if isinstance(detector, ExportedDetector):
        raise UserError(
            f"{arguments.model} is a SavedModel. Name the run folder or weights it was made from."
        )
    return detector


def positive(text: str) -> int:
    """Parses a whole number from 1; argparse turns the error into wrong usage."""
    return _whole_number(text, least=1)


def from_zero(text: str) -> int:
    """Parses a whole number from 0, as `positive` does."""
    return _whole_number(text, least=0)


def fraction(text: str) -> float:
    """Parses a number from 0 to 1, as `positive` does."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, received {text!r}")
    return value


def _whole_number(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"expected a whole number from {least}, received {text!r}")
    return int(text)
