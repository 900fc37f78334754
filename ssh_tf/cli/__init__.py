"""The command line: the only folder that parses flags, prints and exits.

Each command imports what it needs when it runs, so that `--help` and errors come at once.
"""

import argparse
import errno
import sys
from collections.abc import Sequence

from absl import app

from ssh_tf.cli import benchmark, data, demo, detect, evaluate, export, models, serve, train
from ssh_tf.cli.flags import Flags, Parser, Run, parse
from ssh_tf.cli.terminal import close_bars, complain, start_output
from ssh_tf.environment import pin_program
from ssh_tf.errors import InterruptedRunError, UserError, error_code, explain
from ssh_tf.version import __version__

_MODULES = (demo, data, train, evaluate, detect, models, export, serve, benchmark)
# What `--help` shows of each command; every one of them parses.
_EXAMPLES = {
    "demo": "--out demo",
    "synth": "--out drawn --images 100",
    "records": "--wider_root WIDER --split train --out tfrecords/wider_train",
    "inspect": "tfrecords/wider_train",
    "train": "--config configs/wider_vgg16.yaml --workdir runs/first",
    "plot": "runs/first",
    "evaluate": "--model runs/first --data_root WIDER --ground_truth MATS --out runs/first/val",
    "score": "--detections runs/first/val/detections --ground_truth MATS --out rescored",
    "detect": "photos --out pictures --json boxes.json",
    "models": "",
    "convert": "--caffemodel SSH.caffemodel --out ssh.keras",
    "export": "--model runs/first --out export/models/ssh",
    "serve": "--model_dir export/models/ssh",
    "benchmark": "--sizes 600x1000 --runs 3",
}
# Causes that are the machine's, whichever library reports them.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def program() -> None:
    """Runs the process' command and exits with its code: the entry point of `ssh-tf`."""
    app.run(_run, flags_parser=lambda argv: parse(parser(), argv[1:]))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Arguments without the program's name; by default those of the process.

    Returns:
        0 for success, 1 for a failure, 130 for Ctrl-C, 128 + n for a training that signal n stopped
        after it saved. Wrong usage exits with 2.
    """
    return _run(parse(parser(), sys.argv[1:] if argv is None else argv))


def _run(arguments: argparse.Namespace) -> int:
    """Runs the command that was parsed; returns the exit code."""
    start_output()
    pin_program()
    try:
        arguments.run(arguments)
    except (UserError, OSError, MemoryError) as error:
        complain(f"ssh-tf {arguments.command}: {_reason(error)}")
        return 1
    except InterruptedRunError as error:
        complain(f"ssh-tf {arguments.command}: {error}")
        return 128 + error.number
    except KeyboardInterrupt:
        complain(f"ssh-tf {arguments.command}: interrupted")
        return 130
    except Exception as error:
        if error_code(error) not in _DISK:
            raise
        complain(f"ssh-tf {arguments.command}: {explain(error)}")
        return 1
    finally:
        close_bars()
    return 0


def _reason(error: UserError | OSError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return "There is not enough memory. Use smaller inputs, or end other programs."
    return explain(error) if isinstance(error, OSError) else str(error)


def parser() -> Parser:
    """Returns the parser of all commands."""
    root = Parser(
        prog="ssh-tf",
        description="SSH face detector: build records, train, evaluate, serve.",
        epilog="`ssh-tf demo` shows the whole path; `ssh-tf COMMAND --help` names all flags.",
    )
    root.add_argument("--version", action="version", version=__version__)
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Run, text: str) -> Flags:
        example = f"example:\n  ssh-tf {name} {_EXAMPLES[name]}".rstrip()
        sub = commands.add_parser(name, help=text, description=text, epilog=example)
        sub.set_defaults(run=run, parser=sub)
        return Flags(sub)

    for module in _MODULES:
        module.add_commands(command)
    return root
