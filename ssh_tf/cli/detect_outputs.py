"""What `ssh-tf detect` makes of its faces: pictures, crops, files of boxes, a table."""

import argparse
import collections
import contextlib
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ssh_tf.cli.detect_inputs import Inputs
from ssh_tf.cli.flags import Flags, from_zero, number
from ssh_tf.cli.terminal import complain, say
from ssh_tf.config import REDACTIONS
from ssh_tf.errors import UserError
from ssh_tf.files import atomic_path, output_file, output_folder

if TYPE_CHECKING:
    import numpy as np

    from ssh_tf.inference.gallery import Outputs
    from ssh_tf.inference.writers import Entry, Sink, Writer

STDOUT = Path("-")
# Flags that name a file of boxes, and how such files end.
_SUFFIXES = {"json": ".json", "jsonl": ".jsonl", "csv": ".csv", "coco": ".json"}
# A flag, and the one without which it would be ignored.
_NEEDS = {"margin": "crops", "hold": "redact", "redact": "out", "parquet": "ray"}
_MAX_SHOWN = 20
_SHOW_FROM, _REDACT_FROM = 0.5, 0.3  # a face that is missed is worse where faces are hidden


def add_flags(add: Flags) -> None:
    """Declares the flags of outputs."""
    add.group("pictures")
    add("--out", type=Path, help="folder of the pictures and videos; a second call continues")
    add("--redact", choices=REDACTIONS, help="hide the faces in them instead of marking them")
    add("--hold", type=from_zero, help="frames of a video that a lost face stays hidden (5)")
    add("--crops", type=Path, help="folder of the faces, each a picture of its own")
    add("--margin", type=number(0, 10), help="what a crop adds to each side of its box (0.2)")
    add("--show", action="store_true", help="open the pictures on the desktop")
    add.group("boxes")
    add("--json", type=Path, help="file of all boxes, whatever their score; - is the terminal")
    add("--jsonl", type=Path, help="the same, one line per image or frame, written as it goes")
    add("--csv", type=Path, help="the same, one row per face")
    add("--coco", type=Path, help="the same as a COCO data set with scores")
    add("--wider", type=Path, help="folder of the images' boxes as WIDER's text")
    add("--parquet", type=Path, help="folder of the same as Parquet, with --ray; goes on, too")


def check_flags(arguments: argparse.Namespace) -> None:
    """Refuses flags that would be ignored, and files of the wrong kind.

    Raises:
        UserError: Naming them.
    """
    for flag, needed in _NEEDS.items():
        if getattr(arguments, flag) is not None and getattr(arguments, needed) is None:
            raise UserError(f"--{flag} needs --{needed}.")
    files = {flag: path for flag in _SUFFIXES if (path := getattr(arguments, flag)) is not None}
    for flag, path in files.items():
        if list(files.values()).count(path) > 1:
            raise UserError(f"--{flag} {path}: two outputs can't share it. Name another.")
        # A flag taken for a switch, `--json a.jpg b.jpg`, must not cost the photo.
        wrong = path.suffix.lower() != _SUFFIXES[flag]
        if path != STDOUT and wrong and (path.suffix or path.is_file()):
            raise UserError(f"--{flag} {path}: expected a file that ends in {_SUFFIXES[flag]}.")


def outputs(arguments: argparse.Namespace, inputs: Inputs) -> "Outputs":
    """Returns what is made of the inputs.

    Raises:
        UserError: If that is too much to show.
    """
    from ssh_tf.inference.gallery import Outputs

    if arguments.show and (inputs.videos or len(inputs.images) > _MAX_SHOWN):
        raise UserError(f"--show opens at most {_MAX_SHOWN} images, and no videos. Use --out.")
    given = {name: getattr(arguments, name) for name in ("crops", "margin", "hold", "show_from")}
    settings: dict[str, Any] = {"show_from": _REDACT_FROM if arguments.redact else _SHOW_FROM}
    settings |= {name: value for name, value in given.items() if value is not None}
    return Outputs(
        pictures=arguments.out,
        redaction=arguments.redact,
        show=_show if arguments.show else None,
        inputs=inputs.paths(),
        **settings,
    )


def _show(picture: "np.ndarray") -> None:
    from PIL import Image, ImageShow

    if not ImageShow.show(Image.fromarray(picture)):
        raise UserError("No program that shows pictures was found. Use --out.")


def check_files(arguments: argparse.Namespace, inputs: Inputs) -> None:
    """Refuses before the work what could not be written after it.

    Raises:
        UserError: Naming it.
    """
    paths = inputs.paths()
    for flag in _SUFFIXES:
        path = getattr(arguments, flag)
        if path is None or path == STDOUT:
            continue
        if path.resolve() in paths:
            raise UserError(f"--{flag} {path} would overwrite an input. Name another file.")
        output_file(path)
    if arguments.wider is not None:
        from ssh_tf.evaluation.detections import refuse_equal_keys

        if not inputs.images:
            raise UserError("--wider is for images. Remove it.")
        output_folder(arguments.wider)
        names = [name.as_posix() for _, name in inputs.images]
        refuse_equal_keys(names)
        if twice := [name for name, count in collections.Counter(names).items() if count > 1]:
            raise UserError(
                f"Several images are called {twice[0]}. Name folders to tell them apart."
            )


def sinks(
    stack: contextlib.ExitStack, arguments: argparse.Namespace, inputs: Inputs, *, show_from: float
) -> "list[Sink]":
    """Opens the files of boxes; they are whole when the stack is left, however it is left.

    The terminal gets the faces of at least `show_from`, files get all.
    """
    from ssh_tf.inference import writers

    makers: dict[str, Writer] = {
        "json": writers.json_array,
        "jsonl": writers.json_lines,
        "csv": writers.csv_rows,
        "coco": writers.coco,
    }
    opened = []
    for flag, writer in makers.items():
        path = getattr(arguments, flag)
        if path is not None:
            file = stack.enter_context(_text_file(path, at_once=flag == "jsonl"))
            opened.append(stack.enter_context(writer(file)))
    if arguments.wider is not None:
        opened.append(_wider_sink(arguments.wider, inputs))
    if _for_the_terminal(arguments):
        opened.append(functools.partial(_print_table, show_from=show_from))
    return opened


@contextlib.contextmanager
def _text_file(path: Path, *, at_once: bool) -> Iterator[TextIO]:
    """Opens a file that keeps what was written to it when the work ends with an exception."""
    write = functools.partial(Path.open, mode="w", encoding="utf-8", errors="surrogateescape")
    if path == STDOUT:
        yield sys.stdout
    elif at_once or (path.exists() and not path.is_file()):  # A device can't be replaced.
        with write(path) as file:
            yield file
    else:
        failure = None
        with atomic_path(path) as temporary, write(temporary) as file:
            try:
                yield file
            except BaseException as error:  # Ctrl-C as well; raised again when the file is whole.
                failure = error
        if failure is not None:
            raise failure


def _wider_sink(folder: Path, inputs: Inputs) -> "Sink":
    import numpy as np

    from ssh_tf.evaluation.detections import write_wider

    names = {str(path): name.as_posix() for path, name in inputs.images}

    def write(entry: "Entry") -> None:
        if "image" in entry:
            faces = entry.get("faces", [])
            boxes = np.array([face["box"] for face in faces], np.float32).reshape(-1, 4)
            scores = np.array([face["score"] for face in faces], np.float32)
            write_wider(folder, names[entry["image"]], boxes, scores)

    return write


def _for_the_terminal(arguments: argparse.Namespace) -> bool:
    """Whether nothing else was asked for."""
    files = ("out", "crops", "wider", "parquet", *_SUFFIXES)
    return not arguments.show and all(getattr(arguments, flag) is None for flag in files)


def _print_table(entry: "Entry", *, show_from: float) -> None:
    """Prints the faces of at least this score, best first."""
    name = entry.get("image") or f"{entry['video']}, frame {entry.get('frame', '')}"
    if "error" in entry:
        return
    from ssh_tf.imaging.draw import counted

    faces = [face for face in entry["faces"] if face["score"] >= show_from]
    say(f"{name}: {entry['width']} x {entry['height']} px, {counted(len(faces), 'face')}")
    for face in faces:
        x1, y1, x2, y2 = face["box"]
        say(f"  {face['score']:.3f}  {x1:8.1f} {y1:8.1f} {x2:8.1f} {y2:8.1f}")


class Counts:
    """What the last line says.

    Args:
        show_from: Minimum score of the faces that count.
    """

    def __init__(self, show_from: float) -> None:
        self._show_from = show_from
        self._last = ""
        self.items = 0  # images and videos, failed ones included
        self.images = self.frames = self.faces = self.failed = 0

    def add_all(self, images: int, faces: int, failed: int) -> None:
        """Counts images, the faces in them that count, and images that failed."""
        self.items += images + failed
        self.images, self.faces = self.images + images, self.faces + faces
        self.failed += failed

    def add(self, entry: "Entry") -> None:
        """Counts an entry; those of a video come one after the other."""
        name = entry.get("image") or entry["video"]
        self.items, self._last = self.items + (name != self._last), name
        if "error" in entry:
            self.failed += 1
            return
        self.images += "image" in entry
        self.frames += "frame" in entry
        self.faces += sum(face["score"] >= self._show_from for face in entry["faces"])


def summarize(arguments: argparse.Namespace, counts: Counts) -> None:
    """Prints what was found and where it is.

    Raises:
        UserError: If something failed: the exit code is to say so.
    """
    from ssh_tf.imaging.draw import counted

    parts = [counted(counts.images, "image")] if counts.images or not counts.frames else []
    parts += [counted(counts.frames, "frame")] if counts.frames else []
    places = {"pictures": arguments.out, "crops": arguments.crops, "boxes": arguments.parquet}
    where = "".join(f", {name} in {path}" for name, path in places.items() if path is not None)
    to_stdout = any(getattr(arguments, flag) == STDOUT for flag in _SUFFIXES)
    line = f"{counted(counts.faces, 'face')} in {' and '.join(parts)}{where}"
    (complain if to_stdout else say)(line)
    if counts.failed:
        raise UserError(f"{counts.failed} of {counts.items} images and videos failed, see above.")
