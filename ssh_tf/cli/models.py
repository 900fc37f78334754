"""`ssh-tf models`: the models that have names."""

import argparse

from ssh_tf.cli.flags import Command
from ssh_tf.cli.terminal import say
from ssh_tf.zoo.models import MODELS, NamedModel


def add_commands(command: Command) -> None:
    """Declares the commands of this file."""
    command("models", _models, "list the models that have names: AP, speed, size, license")


def _models(arguments: argparse.Namespace) -> None:
    del arguments
    header = ("model", "AP at IoU 0.5", "ms at 640 x 480", "MB", "license")
    rows = [header, *map(_row, MODELS.values())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say("  ".join(cells).rstrip())
    say("", *(f"{model.name}: {model.summary}." for model in MODELS.values()))


def _row(model: NamedModel) -> tuple[str, ...]:
    speed = "not measured" if model.milliseconds is None else f"{model.milliseconds:.0f}"
    size = f"{model.megabytes:g}" + ("" if model.shipped else " (download)")
    return model.name, model.ap, speed, size, model.license
