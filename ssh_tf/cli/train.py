"""`ssh-tf train` and `ssh-tf plot`."""

import argparse

from ssh_tf.cli.flags import Command
from ssh_tf.cli.terminal import (
    import_tensorflow,
    interrupts_later,
    next_command,
    say,
    training_progress,
)
from ssh_tf.config import load


def add_commands(command: Command) -> None:
    """Declares the commands of this file."""
    add = command("train", _train, "train a network; the same command continues a stopped run")
    add("--config", required=True, help="a YAML file of settings, see configs/")
    add("--workdir", required=True, help="the run's folder, such as runs/first")
    add("--set", action="append", default=[], metavar="a.b=c", help="override a setting")

    add = command("plot", _plot, "draw a run's losses, learning rate and average precision")
    add("workdir", help="the run's folder")
    add("--out", help="a .png, .pdf or .svg file (default: curves.png in the run's folder)")


def _train(arguments: argparse.Namespace) -> None:
    config = load(arguments.config, arguments.set)
    with interrupts_later():
        import_tensorflow()
        from ssh_tf.evaluation.validation import validator
        from ssh_tf.training.trainer import train

    path = train(
        config,
        arguments.workdir,
        on_step=training_progress(config.train.steps),
        validate=validator(config),
    )
    say(f"Saved {path}")
    next_command("detect", "--model", arguments.workdir, "PHOTOS", "--out", "pictures")


def _plot(arguments: argparse.Namespace) -> None:
    import_tensorflow()
    from ssh_tf.training.plot import plot_run

    say(f"Curves in {plot_run(arguments.workdir, arguments.out)}")
