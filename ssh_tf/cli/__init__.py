"""The command line: the only folder that parses flags, prints and exits.

Each command imports what it needs when it runs, so that `--help` and errors come at once.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from ssh_tf.cli import benchmark, data, demo, detect, evaluate, export, serve, train
from ssh_tf.cli.flags import Flags
from ssh_tf.environment import pin_program
from ssh_tf.errors import InterruptedRunError, UserError, explain
from ssh_tf.version import __version__

_LOG = logging.getLogger("ssh_tf")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Arguments without the program's name; by default those of the process.

    Returns:
        0 for success, 1 for a failure, 2 for wrong usage, 130 for Ctrl-C, 128 + n for a training
        that signal n stopped after it saved.
    """
    pin_program()
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    _LOG.setLevel(logging.INFO)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # It tells of every retry.
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except UserError as error:
        print(f"ssh-tf {arguments.command}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"ssh-tf {arguments.command}: {explain(error)}", file=sys.stderr)
        return 1
    except InterruptedRunError as error:
        print(f"\nssh-tf {arguments.command}: {error}", file=sys.stderr)
        return 128 + error.number
    except KeyboardInterrupt:
        print(f"\nssh-tf {arguments.command}: interrupted", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    root = argparse.ArgumentParser(
        prog="ssh-tf", description="SSH face detector: build records, train, evaluate, serve."
    )
    root.add_argument("--version", action="version", version=__version__)
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], text: str) -> Flags:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub.add_argument

    for module in (demo, data, train, evaluate, detect, export, serve, benchmark):
        module.add_commands(command)
    return root
