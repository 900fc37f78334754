"""The parser of flags, and flags that several commands share."""

import argparse
import difflib
import logging
import math
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from absl import flags
from absl.flags import argparse_flags

from ssh_tf.cli.terminal import complain, progress
from ssh_tf.config import PRECISIONS, PRESETS
from ssh_tf.errors import UserError
from ssh_tf.inference.runtimes import RUNTIMES
from ssh_tf.zoo.models import DEFAULT

if TYPE_CHECKING:
    from ssh_tf.inference.detector import Detector
    from ssh_tf.inference.exported import ExportedDetector

_LOG = logging.getLogger("ssh_tf")

Run = Callable[[argparse.Namespace], None]

# What fits into the integers of every library that a number is passed to.
LARGEST = 2**31 - 1

# Flags of `add_model` that are fields of `DetectConfig`.
_SETTINGS = (
    "shorter_px",
    "longer_px",
    "score_threshold",
    "top_k",
    "max_detections",
    "precision",
    "calibration",
)


class Parser(argparse_flags.ArgumentParser):
    """absl's parser; a word that nobody knows is answered with the nearest that is known."""

    def __init__(self, **options: Any) -> None:
        # Of absl's own flags `--help` names the one that a user of this program wants.
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS["verbosity"])
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Ends with the usage, what is wrong, and exit code 2."""
        if choice := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message):
            message += did_you_mean(choice[1], re.findall(r"[\w.-]+", choice[2]))
        if "are required" in message:
            message += f". {self.prog} --help tells more."
        self.print_usage(sys.stderr)
        complain(f"{self.prog}: error: {message}")
        raise SystemExit(2)

    def unknown(self, words: Sequence[str]) -> NoReturn:
        """Ends like `error`, with what was given and is no flag of this command."""
        known = [flag for action in self._actions for flag in action.option_strings]
        wrong = next((word for word in words if word.startswith("--")), words[0])
        hint = did_you_mean(wrong.partition("=")[0], known)
        self.error(f"unrecognized arguments: {' '.join(words)}{hint}")


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Returns ` Did you mean ...?`, or nothing where no known word is near."""
    near = difflib.get_close_matches(word, known, n=1)
    return f". Did you mean {near[0]}?" if near else ""


class Flags:
    """Declares a command's flags.

    Args:
        parser: The command's parser.
    """

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self._group: Any = parser

    def __call__(self, *names: str, **options: Any) -> None:
        """Declares a flag, as `argparse` has it."""
        self._group.add_argument(*names, **options)

    def group(self, title: str) -> None:
        """Begins a group: the flags that follow stand under this title in `--help`."""
        self._group = self._parser.add_argument_group(title)


# Declares a command by its name, what runs it and its line in `--help`.
Command = Callable[[str, Run, str], Flags]


def parse(root: Parser, words: Sequence[str]) -> argparse.Namespace:
    """Parses a command and its flags, those of absl included; wrong usage exits with 2."""
    arguments: argparse.Namespace
    flags.FLAGS["verbosity"].unparse()  # An earlier command of this process may have set it.
    try:
        arguments, unknown = root.parse_known_args(_underscored(words))
    except flags.Error as error:
        root.error(str(error))
    if unknown:
        arguments.parser.unknown(unknown)
    if flags.FLAGS["verbosity"].using_default_value:
        flags.FLAGS.verbosity = 0  # INFO, as absl's own programs.
    return arguments


def _underscored(words: Sequence[str]) -> list[str]:
    """Writes the names of flags as we do: `--wider-root` becomes `--wider_root`."""
    end = list(words).index("--") if "--" in words else len(words)
    changed = []
    for word in words[:end]:
        name, equals, value = word.partition("=")
        dashed = name.startswith("--") and not name.startswith("---")
        changed.append(f"--{name[2:].replace('-', '_')}{equals}{value}" if dashed else word)
    return [*changed, *words[end:]]


def add_model(add: Flags, *, required: bool = True, runtime: bool = True) -> None:
    """Declares the flags that name a model, the scale it runs at and which boxes it keeps.

    Args:
        add: Declares a flag.
        required: Whether `--model` must be given.
        runtime: Whether the command runs the network, so that a program for it can be chosen.
    """
    default = "" if required else f" (default: {DEFAULT.name})"
    add.group("model")
    add(
        "--model",
        required=required,
        help=f"name (ssh-tf models), run folder, weights file or SavedModel{default}",
    )
    add("--which", choices=("last", "best"), help="network of a run folder (default: last)")
    add("--preset", choices=list(PRESETS), help="scale of a data set's published results")
    add("--pyramid", action="store_true", help="the official image pyramid: preset wider_pyramid")
    add("--shorter_px", type=positive, help="size of the shorter side (default: the run's or 1200)")
    add("--longer_px", type=positive, help="limit of the longer side (default: the run's or 1600)")
    add("--score_threshold", type=fraction, help="boxes need a greater score (default: 0.05)")
    add("--top_k", type=positive, help="boxes each module passes to the NMS (default: 1000)")
    add("--max_detections", type=positive, help="limit per image (default: none; export: 750)")
    add("--precision", choices=PRECISIONS, help="the network's arithmetic (default: float32)")
    add(
        "--calibration", metavar="DIR", help="photos like yours, for int8 (default: drawn pictures)"
    )
    if runtime:
        add("--runtime", choices=RUNTIMES, help="what runs the network (default: tensorflow)")
    add.group("input and output")


def add_batch(add: Flags) -> None:
    """Declares how many images a command that detects many gives to the network at once."""
    add(
        "--batch",
        type=whole(1, 1024),
        help="small images of one size that the network sees at once, on a GPU (default: 1)",
    )


def given_settings(arguments: argparse.Namespace) -> list[str]:
    """Returns the flags of `add_model`, without `--model`, that were given."""
    names = ("which", "preset", "pyramid", "runtime", "batch", *_SETTINGS)
    return [name for name in names if getattr(arguments, name, None) not in (None, False)]


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

    model, settings = model_and_settings(arguments, preset=preset)
    return Detector.load(model, progress=progress, **settings)


def model_and_settings(
    arguments: argparse.Namespace, *, preset: str | None = None
) -> tuple[str, dict[str, Any]]:
    """Returns what those flags give to `Detector.load`; see `load_detector`."""
    given = {key: getattr(arguments, key) for key in _SETTINGS}
    settings = {key: value for key, value in given.items() if value is not None}
    name = _preset(arguments, settings) or preset
    for option in ("which", "runtime", "batch"):
        if value := getattr(arguments, option, None):
            settings[option] = value
    return _model(arguments), {**PRESETS.get(name or "", {}), **settings}


def _model(arguments: argparse.Namespace) -> str:
    """Returns the model that was named, or the default, and says so."""
    if arguments.model is not None:
        return str(arguments.model)
    _LOG.info("No --model: %s is used (`ssh-tf models` lists others)", DEFAULT.name)
    return DEFAULT.name


def _preset(arguments: argparse.Namespace, settings: dict[str, Any]) -> str | None:
    """Returns the preset that was asked for, unless other flags contradict it."""
    if arguments.pyramid and arguments.preset not in (None, "wider_pyramid"):
        raise UserError(f"--pyramid is --preset wider_pyramid, not {arguments.preset}. Name one.")
    preset: str | None = "wider_pyramid" if arguments.pyramid else arguments.preset
    sizes = [f"--{name}" for name in ("shorter_px", "longer_px") if name in settings]
    if preset == "wider_pyramid" and sizes:
        flag = "--pyramid" if arguments.pyramid else "--preset wider_pyramid"
        raise UserError(f"{flag} has its own scales. Remove {' and '.join(sizes)}.")
    return preset


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


def whole(least: int, most: int = LARGEST) -> Callable[[str], int]:
    """Returns the parser of a whole number; argparse turns its errors into wrong usage."""

    def parse(text: str) -> int:
        # Ten digits: Python refuses to read numbers of thousands with an error of its own.
        if not re.fullmatch(r"-?\d{1,10}", text, re.ASCII) or not least <= int(text) <= most:
            limits = f"from {least}" if most == LARGEST else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"expected a whole number {limits}, received {text!r}")
        return int(text)

    return parse


def number(least: float, most: float) -> Callable[[str], float]:
    """Returns the parser of a finite number, as `whole` does."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            limits = f"from {least:g} to {most:g}"
            raise argparse.ArgumentTypeError(f"expected a number {limits}, received {text!r}")
        return value

    return parse


positive = whole(1)
from_zero = whole(0)
port = whole(0, 65_535)
fraction = number(0, 1)
