"""Flags that several commands share."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssh_tf.inference.detector import Detector

Flags = Callable[..., argparse.Action]
Command = Callable[[str, Callable[[argparse.Namespace], None], str], Flags]

# `wider_pyramid.yml` SCALES.
OFFICIAL_PYRAMID_PX = (500, 800, 1200, 1600)


def add_model(add: Flags) -> None:
    """Declares the flags that name a model and the scale it runs at."""
    add("--model", required=True, help="a run folder, a .keras, .weights.h5 or .caffemodel")
    add("--shorter_px", type=int, help="scale of the shorter side (default: the run's, or 1200)")
    add("--longer_px", type=int, help="limit of the longer side (default: the run's, or 1600)")
    add("--pyramid", action="store_true", help="the official image pyramid instead of one scale")


def load_detector(arguments: argparse.Namespace) -> "Detector":
    """Returns the detector that those flags describe."""
    from ssh_tf.inference.detector import Detector

    settings = {
        key: getattr(arguments, key)
        for key in ("shorter_px", "longer_px")
        if getattr(arguments, key) is not None
    }
    if arguments.pyramid:
        settings["pyramid_px"] = OFFICIAL_PYRAMID_PX
    return Detector.load(arguments.model, **settings)
