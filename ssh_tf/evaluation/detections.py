"""Detection result files in WIDER FACE's text format: one writer, one forgiving reader.

Text only, no scoring. Must not import TensorFlow.

A result file `<folder>/<event>/<stem>.txt` holds the image's name, the number of boxes, then one
row `x y w h score` per box. Detectors in circulation write it in slightly different ways; the
reader takes all that leave no doubt about what is meant.
"""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from ssh_tf.errors import UserError
from ssh_tf.files import existing_folder, write_text
from ssh_tf.imaging.folders import IMAGE_SUFFIXES

# In a folder of results that `evaluate` fills: the detector's fingerprint.
ORIGIN = "detector.json"

_LOG = logging.getLogger(__name__)
_ROW = ("x", "y", "w", "h", "score")
_LAYOUT = "detections in WIDER's layout, <event>/<image>.txt"

NumberedLine = tuple[int, str]


def image_key(name: str) -> str:
    """Returns an image's `event/stem`, the key of detections and ground truth.

    Args:
        name: `event/stem` or `event/stem.jpg` (or another image suffix), with `/`. There may be no
            event folder, or several levels.

    Raises:
        ValueError: If the name leads out of the images folder.
    """
    path = PurePosixPath(name)
    if not path.name or ".." in path.parts or path.is_absolute():
        raise ValueError(f"`name` must be a relative path without `..`. Received: {name!r}")
    has_suffix = path.suffix.lower() in IMAGE_SUFFIXES
    return str(path.with_suffix("")) if has_suffix else str(path)


def refuse_equal_keys(names: Iterable[str], key: Callable[[str], str] = image_key) -> None:
    """Refuses two images that would share a result, such as a.jpg and a.png.

    Args:
        names: Of images.
        key: Gives the name of an image's result.

    Raises:
        UserError: Naming both.
    """
    firsts: dict[str, str] = {}
    for name in names:
        other = firsts.setdefault(key(name), name)
        if other != name:
            raise UserError(
                f"{other} and {name} would both have the result {key(name)}. Rename one."
            )


def write_wider(folder: Path, name: str, boxes: np.ndarray, scores: np.ndarray) -> None:
    """Writes one image's detections to `<folder>/<event>/<stem>.txt`, whole or not at all.

    As the official writer does: corners truncated to whole pixels before the size is taken, scores
    with six significant digits, a blank after each row.

    Args:
        folder: The results' folder; the event's folder in it is made where it is missing.
        name: `event/stem` or `event/stem.jpg`.
        boxes: `[D, 4]`, `x1, y1, x2, y2` in px, finite. `D` may be 0.
        scores: `[D]`, in the order to write.

    Raises:
        ValueError: If `name` leads out of `folder`, or the lengths differ.

    References:
        Official `lib/datasets/wider.py`.
    """
    write_boxes(folder, name, np.trunc(boxes) + 0.0, scores)  # + 0.0: no -0


def write_boxes(folder: Path, name: str, boxes: np.ndarray, scores: np.ndarray) -> None:
    """Writes one image's detections like `write_wider`, with fractions of pixels.

    FDDB and Pascal Faces measure overlap finely enough for whole pixels to cost. Arguments and
    errors are those of `write_wider`.
    """
    key = image_key(name)
    header = name if name != key else f"{key}.jpg"
    rows = [
        f"{x1:.6g} {y1:.6g} {x2 - x1:.6g} {y2 - y1:.6g} {score:g} \n"
        for (x1, y1, x2, y2), score in zip(boxes.tolist(), scores.tolist(), strict=True)
    ]
    path = folder / f"{key}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, f"{header}\n{len(rows)}\n" + "".join(rows))


def read_wider_file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads one image's detections.

    Taken as well as the official form: any header line or none, no count, blank lines, CRLF, a
    count such as `5.0`, an empty file (no detections), decimals, columns after the score, any order
    of rows, any finite scores.

    Args:
        path: A result file.

    Returns:
        boxes: `[D, 4]` float64, `x, y, w, h` in px, in the file's order.
        scores: `[D]` float64.

    Raises:
        UserError: If a row is malformed, or the count is or does not fit; the message starts with
            `file:line`.
    """
    table = _read_table(path)
    return table[:, :4], table[:, 4]


def read_wider(folder: Path) -> dict[str, np.ndarray]:
    """Reads every `<event>/<stem>.txt` below `folder`, at any depth.

    A file without any byte holds no detections, as in the official tool, and a warning says so. In
    a folder that `evaluate` wrote it is damage: there each file has at least a count.

    Args:
        folder: A folder of result files. Other suffixes and whatever is hidden are ignored.

    Returns:
        `event/stem` to `[D, 5]` float64, `x, y, w, h` in px and score, sorted by name.

    Raises:
        UserError: If the folder is missing or has no result file, or a file is malformed.
    """
    names = sorted(result_files(existing_folder(folder, _LAYOUT)))
    if not names:
        raise UserError(f"{folder} has no result files. Expected {_LAYOUT}.")
    empty = [name for name in names if not (folder / name).stat().st_size]
    if empty and (folder / ORIGIN).exists():
        raise UserError(
            f"{folder / empty[0]} is empty ({len(empty)} of {len(names)} files are), though it was "
            "written with a count at least. Evaluate again: its image is then detected again."
        )
    if empty:
        _LOG.warning(
            "%d of %d result files are empty, such as %s. They count as images in which nothing "
            "was found.",
            len(empty),
            len(names),
            empty[0],
        )
    return {name.with_suffix("").as_posix(): _read_table(folder / name) for name in names}


def result_files(folder: Path) -> Iterator[Path]:
    """Yields the result files below a folder, relative to it.

    Hidden are a Mac's copies, `._a.txt`, and what a killed process left half-written.
    """
    for path in folder.rglob("*.txt"):
        name = path.relative_to(folder)
        if not any(part.startswith(".") for part in name.parts) and path.is_file():
            yield name


def refuse_fractions(tables: Iterable[np.ndarray], source: object) -> None:
    """Refuses detections that all lie in the first pixel: they are fractions of the image.

    Args:
        tables: `[D, 4]` or wider, `x, y, w, h` in px first.
        source: What the detections are called in the error.

    Raises:
        UserError: If no value of any box is above 1, and they are not all whole numbers.
    """
    boxes = np.concatenate([np.zeros((0, 4)), *(table[:, :4] for table in tables)])
    if np.abs(boxes).max(initial=0) <= 1 and (boxes % 1).any():
        raise UserError(
            f"{source}: no value of any box is above 1, so they seem to be fractions of the image. "
            "Expected px. Multiply x and w by the image's width, y and h by its height."
        )


def content_lines(path: Path) -> list[NumberedLine]:
    """Returns a text file's lines that are not blank, stripped, with their numbers from 1."""
    # Only names may hold anything else than ASCII.
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    # DOS editors end files with Ctrl-Z; old Mac files end lines with CR alone.
    lines = text.replace("\x1a", "").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def parse_count(path: Path, number: int, text: str) -> int:
    """Parses a line that holds a number of boxes; `5.0` is 5.

    Raises:
        UserError: If it holds anything else than one whole number from 0.
    """
    try:
        count = float(text)
    except ValueError:
        count = -1.0
    if count < 0 or not count.is_integer():
        raise UserError(
            f"{path}:{number}: expected the number of boxes, received {text[:80]!r}. "
            "Write the image's name, the number of boxes, then one row per box."
        )
    return int(count)


def parse_row(path: Path, number: int, text: str, names: Sequence[str]) -> list[float]:
    """Parses the first `len(names)` numbers of a row.

    Raises:
        UserError: If there are fewer, or one is not a finite number; `names` says what they are.
    """
    try:
        row = [float(token) for token in text.split()[: len(names)]]
    except ValueError:
        row = []
    # The sum of finite numbers is finite (but for absurdly large ones), and cheap.
    if len(row) != len(names) or not math.isfinite(sum(row)):
        raise UserError(
            f"{path}:{number}: expected a row `{' '.join(names)}` of finite numbers, "
            f"received {text[:80]!r}. Fix the row."
        )
    return row


def _read_table(path: Path) -> np.ndarray:
    """Returns `[D, 5]` float64, `x, y, w, h, score`."""
    lines = content_lines(path)
    if not lines:
        return np.zeros((0, len(_ROW)))
    if not (_is_row(lines[0]) or _starts_with_count(lines)):
        lines = lines[1:]  # the image's name
    if not lines:
        raise UserError(f"{path}:2: expected the number of boxes, received nothing. Complete it.")
    rows = lines if _is_row(lines[0]) else _counted_rows(path, lines)
    return np.array([parse_row(path, *row, _ROW) for row in rows]).reshape(-1, len(_ROW))


def _counted_rows(path: Path, lines: list[NumberedLine]) -> list[NumberedLine]:
    """Takes off the first line, the number of the others."""
    (number, count), rows = lines[0], lines[1:]
    if parse_count(path, number, count) != len(rows):
        raise UserError(
            f"{path}:{number}: expected {count} rows, received {len(rows)}. "
            "Fix the count or complete the file."
        )
    return rows


def _starts_with_count(lines: list[NumberedLine]) -> bool:
    """Tells a count from a name that is a number: it is `0` alone, or boxes follow at once."""
    if len(lines) == 1:
        return lines[0][1] == "0"
    return _is_number(lines[0][1]) and _is_row(lines[1])


def _is_row(line: NumberedLine) -> bool:
    tokens = line[1].split()
    return len(tokens) >= len(_ROW) and all(map(_is_number, tokens[: len(_ROW)]))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
