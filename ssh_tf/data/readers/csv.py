"""Own boxes as a CSV file: one row per face. Must not import TensorFlow."""

import csv
import io
import math
from pathlib import Path

import numpy as np

from ssh_tf.data.annotations import ATTRIBUTES, AnnotatedImage, check_name
from ssh_tf.errors import UserError

_BOX = ("x", "y", "w", "h")
_COLUMNS = ("image", *_BOX)
_FORM = f"a header with {','.join(_COLUMNS)} and, if known, {', '.join(ATTRIBUTES)}"


def read_csv(content: bytes, file: Path) -> list[AnnotatedImage]:
    """Reads a CSV file of boxes.

    Its header names the columns: `image` (path relative to the images' folder), `x`, `y`, `w`, `h`
    (px) and any of WIDER's attributes. Rows of one image need not stand together. An image without
    a face has one row with an empty box.

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
    rows: dict[str, list[list[float]]] = {}
    try:
        _check_header(reader.fieldnames or (), file)
        for row in reader:
            where = f"{file}:{reader.line_num}"
            name = check_name(str(row["image"] or "").strip(), where)
            faces = rows.setdefault(name, [])
            if any((row[key] or "").strip() for key in _BOX):
                faces.append(_face(row, where))
    except csv.Error as error:
        raise UserError(f"{file}:{reader.line_num}: not a row of CSV ({error}).") from error
    if not rows:
        raise UserError(f"{file}: no rows. Expected {_FORM}, and a row per face.")
    tables = {
        name: np.array(faces, np.float64).reshape(-1, 4 + len(ATTRIBUTES))
        for name, faces in rows.items()
    }
    return [
        AnnotatedImage(name, table[:, :4].astype(np.float32), table[:, 4:].astype(np.int64))
        for name, table in tables.items()
    ]


def _check_header(names: object, file: Path) -> None:
    columns = [str(name) for name in names] if isinstance(names, (list, tuple)) else []
    unknown = [name for name in columns if name not in (*_COLUMNS, *ATTRIBUTES)]
    missing = [name for name in _COLUMNS if name not in columns]
    if missing or unknown or len(set(columns)) < len(columns):
        raise UserError(f"{file}:1: expected {_FORM}, received {','.join(columns)!r}.")


def _face(row: dict[str, str | None], where: str) -> list[float]:
    values = []
    if None in row or None in row.values():
        raise UserError(f"{where}: the row has another number of columns than the header.")
    for key in (*_BOX, *ATTRIBUTES):
        cell = (row.get(key) or "").strip()
        try:
            value = float(cell) if cell or key in _BOX else 0.0
        except ValueError:
            value = math.nan
        if not abs(value) < 1e9 or (key in ATTRIBUTES and not value.is_integer()):
            kind = "a whole number" if key in ATTRIBUTES else "a number of px"
            raise UserError(f"{where}: expected {kind} as {key}, received {cell!r}.")
        values.append(value)
    return values
