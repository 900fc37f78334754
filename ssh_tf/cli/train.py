"""`ssh-tf train`."""

import argparse

from ssh_tf.cli.flags import Command
from ssh_tf.cli.terminal import import_tensorflow, training_progress
from ssh_tf.config import load


def add_commands(command: Command) -> None:
    """Declares the commands of this file."""
    add = command("train", _train, "train a network; the same command continues a stopped run")
    add("--config", required=True, help="a YAML file of settings, see configs/")
    add("--workdir", required=True, help="the run's folder, such as runs/first")
    add("--set", action="append", default=[], metavar="a.b=c", help="override a setting")


def _train(arguments: argparse.Namespace) -> None:
    config = load(arguments.config, arguments.set)
    import_tensorflow()
    from ssh_tf.training.trainer import train

    path = train(config, arguments.workdir, on_step=training_progress(config.train.steps))
    print(f"Saved {path}")
