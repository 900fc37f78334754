"""Boxes as a CSV file: one row per face. Must not import TensorFlow."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from ssh_tf.data.annotations import ATTRIBUTES, AnnotatedImage, annotated, check_name
from ssh_tf.errors import UserError

_SIZES = ("x", "y", "w", "h")
_CORNERS = ("x1", "y1", "x2", "y2")
_FORM = (
    f"a header with image,{','.join(_SIZES)} or image,{','.join(_CORNERS)} and, if known, "
    f"{', '.join(ATTRIBUTES)}"
)


def read_csv(content: bytes, file: Path) -> list[AnnotatedImage]:
    """Reads a CSV file of boxes.

    Its header names the columns: `image` (path relative to the images' folder), the box as `x`,
    `y`, `w`, `h` or as `x1`, `y1`, `x2`, `y2` (px, half-open: `w = x2 - x1`) and any of WIDER's
    attributes. Rows of one image may be apart. An image without a face has one row with
    an empty box.

    Args:
        content: The file's bytes, UTF-8.
        file: What it is called in errors.

    Returns:
        The images in the order in which they first occur.

    Raises:
        UserError: If the file is malformed; the message starts with `file:line`.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: expected UTF-8 text ({error.reason}).") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    faces: dict[str, list[list[float]]] = {}
    lines: dict[str, list[int]] = {}
    try:
        columns = _check_header(reader.fieldnames or (), file)
        for row in reader:
            where = f"{file}:{reader.line_num}"
            name = check_name(str(row["image"] or "").strip(), where)
            rows = faces.setdefault(name, [])
            if any((row[key] or "").strip() for key in columns):
                rows.append(_face(row, columns, where))
                lines.setdefault(name, []).append(reader.line_num)
    except csv.Error as error:
        raise UserError(f"{file}:{reader.line_num}: not a row of CSV ({error}).") from error
    if not faces:
        raise UserError(f"{file}: no rows. Expected {_FORM}, and a row per face.")
    given = tuple(name for name in ATTRIBUTES if name in (reader.fieldnames or ()))
    return [
        annotated(name, rows, given=given, file=f"{file}:", rows=lines.get(name, ()))
        for name, rows in faces.items()
    ]


def _check_header(names: Sequence[str], file: Path) -> tuple[str, ...]:
    """Returns the columns of the box."""
    for columns in (_SIZES, _CORNERS):
        expected = {"image", *columns}
        if expected <= set(names) <= expected | set(ATTRIBUTES) and len(set(names)) == len(names):
            return columns
    raise UserError(f"{file}:1: expected {_FORM}, received {','.join(names)[:200]!r}.")


def _face(row: dict[str, str | None], columns: tuple[str, ...], where: str) -> list[float]:
    """Returns `x, y, w, h` and the six attributes."""
    # DictReader puts what has no column under None, and None where there is no value.
    if None in row or None in row.values():
        raise UserError(f"{where}: the row has another number of columns than the header.")
    a, b, c, d = (_number(row[key] or "", key, where) for key in columns)
    box = [a, b, c - a, d - b] if columns == _CORNERS else [a, b, c, d]
    return [*box, *(_number(row.get(key) or "0", key, where) for key in ATTRIBUTES)]


def _number(cell: str, key: str, where: str) -> float:
    try:
        value = float(cell.strip() or ("0" if key in ATTRIBUTES else "nan"))
    except ValueError:
        value = math.nan
    if not abs(value) < 1e9 or (key in ATTRIBUTES and not value.is_integer()):
        kind = "a whole number" if key in ATTRIBUTES else "a number of px"
        raise UserError(f"{where}: expected {kind} as {key}, received {cell[:80]!r}.")
    return value
