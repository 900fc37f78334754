"""`ssh-tf demo`: a real face, then the whole path on generated data."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ssh_tf.cli.flags import Command
from ssh_tf.cli.terminal import import_tensorflow, next_command, progress, say, training_progress
from ssh_tf.config import load

if TYPE_CHECKING:
    import numpy as np

    from ssh_tf.demo import DemoResult, FirstLook

# Faces that the demo's table shows; the best ones.
TABLE_ROWS = 10
# Settings of each backbone, and how many pictures it trains on.
BACKBONES = {"mobilenet": ("configs/demo.yaml", 500), "vgg16": ("configs/demo_vgg16.yaml", 1500)}


def add_commands(command: Command) -> None:
    """Declares the commands of this file."""
    add = command("demo", _demo, "a real face, then the whole path on generated data: 2 minutes")
    add(
        "--backbone", choices=BACKBONES, default="mobilenet", help="vgg16 takes 12 minutes and more"
    )
    add("--config", help="settings (default: those of the backbone, configs/demo*.yaml)")
    add("--set", action="append", default=[], metavar="a.b=c", help="override a setting")
    add("--out", default="demo", help="folder of everything it writes (default: %(default)s)")


def _demo(arguments: argparse.Namespace) -> None:
    path, images = BACKBONES[arguments.backbone]
    config = load(arguments.config or path, arguments.set)
    import_tensorflow()
    from ssh_tf.demo import first_look, run_demo

    say(_seen(first_look(arguments.out)))
    result = run_demo(
        config,
        arguments.out,
        images=images,
        progress=progress,
        on_step=training_progress(config.train.steps),
    )
    say(*_table(result))
    next_command("detect", "--model", Path(arguments.out) / "run", "PHOTOS", "--out", "pictures")


def _seen(look: "FirstLook") -> str:
    faces = "1 face" if len(look.detections) == 1 else f"{len(look.detections)} faces"
    return f"{faces} in {look.source}: {look.picture}"


def _table(result: "DemoResult") -> list[str]:
    seconds = [f"  {stage:10} {value:8.1f}" for stage, value in result.stages.items()]
    rows = [
        f"  {_row(*ours)}   {_row(*served)}"
        for ours, served in zip(result.detected, result.served, strict=False)
    ]
    return [
        "",
        f"Average precision on held-out images (IoU 0.5, all faces): {result.ap:.3f}",
        f"Faces found with a score of at least 0.5: {result.found} of {result.faces}",
        "",
        "Stage         seconds",
        *seconds,
        "",
        f"Faces of {result.example} (x1 y1 x2 y2 score):",
        f"  {'Python detector':34}   exported SavedModel",
        *rows[:TABLE_ROWS],
        "",
        f"Pictures    {Path(result.pictures[0]).parent}",
        f"SavedModel  {result.saved_model}",
    ]


def _row(box: "np.ndarray", score: float) -> str:
    return " ".join(f"{x:6.1f}" for x in box) + f" {score:.4f}"
