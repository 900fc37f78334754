"""The files of `face-eval`: annotations of Pascal Faces and AFW, and detections.

Must not import TensorFlow.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np
from scipy.io import loadmat

from ssh_tf.errors import UserError
from ssh_tf.evaluation.detections import (
    content_lines,
    parse_row,
    read_wider,
    refuse_equal_keys,
    refuse_fractions,
)
from ssh_tf.files import existing_file

_MINIMUM_SIDE = 30  # px; lower or narrower faces are ignored
_COLUMNS = 6  # of the annotations
_CORNERS = ("x1", "y1", "x2", "y2")
_ANNOTATIONS = "annotations in face-eval's form, a .mat or .csv file"


@dataclass(frozen=True, slots=True)
class AnnotatedFaces:
    """One image's annotated faces.

    Attributes:
        boxes: `[F, 4]` float64, `x1, y1, x2, y2`, inclusive px from 1.
        ignored: `[F]` bool; a detection of such a face is neither right nor wrong.
    """

    boxes: np.ndarray
    ignored: np.ndarray


@dataclass(frozen=True, slots=True)
class ResultTable:
    """A detector's boxes on all images.

    Attributes:
        images: `[D]` keys, see `image_key`.
        scores: `[D]` float64.
        boxes: `[D, 4]` float64, `x1, y1, x2, y2` in px.
    """

    images: list[str]
    scores: np.ndarray
    boxes: np.ndarray


def image_key(name: str) -> str:
    """Returns the file name up to its first `.`, without folders of either system."""
    return PureWindowsPath(name).name.split(".")[0]


def load_annotations(path: Path) -> dict[str, AnnotatedFaces]:
    """Reads the annotations of Pascal Faces or AFW.

    Args:
        path: face-eval's `Annotations_Face_PASCALLayout_large_fixed.mat` or
            `new_annotations_AFW.mat`, or the same as `.csv` with a header line and the columns
            `image`, `x1`, `y1`, `x2`, `y2` and `ignore` (0 or 1).

    Returns:
        Image key to its faces. Ignored are those flagged and those narrower or lower than 30 px.

    Raises:
        UserError: If the file is not of one of these forms.
    """
    existing_file(path, _ANNOTATIONS)
    try:
        rows = _mat_rows(path) if path.suffix == ".mat" else _csv_rows(path)
        return {image: _faces(np.array(boxes, np.float64)) for image, boxes in rows.items()}
    except UserError:
        raise
    # SciPy raises whatever the damaged bytes lead to.
    except Exception as error:
        raise UserError(f"{path}: expected {_ANNOTATIONS}, received {error!r}.") from error


def read_detections(path: Path) -> ResultTable:
    """Reads detections.

    Args:
        path: A folder of result files in WIDER's format, or one text file in face-eval's with rows
            `image score x1 y1 x2 y2`.

    Returns:
        The detections in the file's order.

    Raises:
        UserError: If a row is malformed; the message starts with `file:line`.
    """
    if path.is_dir():
        tables = read_wider(path)
        refuse_fractions(tables.values(), path)
        return from_tables(tables)
    existing_file(path, "detections in face-eval's text format or a folder in WIDER's")
    images, rows = [], []
    for number, line in content_lines(path):
        name, _, rest = line.partition(" ")
        images.append(image_key(name))
        rows.append(parse_row(path, number, rest, ("score", *_CORNERS)))
    table = np.array(rows).reshape(-1, 5)
    refuse_fractions([table[:, 1:]], path)
    return ResultTable(images, table[:, 0], table[:, 1:])


def from_tables(tables: Mapping[str, np.ndarray]) -> ResultTable:
    """Joins tables per image, `[D, 5]` with `x, y, w, h` in px and score."""
    refuse_equal_keys(tables, image_key)
    joined = np.concatenate([np.zeros((0, 5)), *tables.values()])  # [D, 5]
    images = [image_key(name) for name, t in tables.items() for _ in t]
    corners = np.concatenate([joined[:, :2], joined[:, :2] + joined[:, 2:4]], axis=1)
    return ResultTable(images, joined[:, 4], corners)


def _mat_rows(path: Path) -> dict[str, list[np.ndarray]]:
    """Returns image key to rows `x1, y1, x2, y2, ignore`."""
    entries = {
        str(entry["imgname"].item()): entry["objects"]
        for entry in loadmat(path)["Annotations"].ravel()
    }
    refuse_equal_keys(entries, image_key)
    if min((rows.shape[1] for rows in entries.values()), default=_COLUMNS) < _COLUMNS:
        raise UserError(
            f"{path} has no column for ignored faces: an early version of the annotations. Take "
            "Annotations_Face_PASCALLayout_large_fixed.mat or new_annotations_AFW.mat."
        )
    # Columns: x1, y1, x2, y2, and sixth whether the face is ignored.
    return {image_key(name): list(rows[:, [0, 1, 2, 3, 5]]) for name, rows in entries.items()}


def _csv_rows(path: Path) -> dict[str, list[list[float]]]:
    rows: dict[str, list[list[float]]] = {}
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        for row in csv.DictReader(file):
            box = [float(row[column]) for column in (*_CORNERS, "ignore")]
            rows.setdefault(row["image"], []).append(box)
    if not rows:
        raise ValueError("no face")
    refuse_equal_keys(rows, image_key)
    return {image_key(name): boxes for name, boxes in rows.items()}


def _faces(rows: np.ndarray) -> AnnotatedFaces:
    """Splits `[F, 5]` rows `x1, y1, x2, y2, flag`."""
    rows = rows.reshape(-1, 5)
    sides = rows[:, 2:4] - rows[:, :2]
    return AnnotatedFaces(rows[:, :4], (rows[:, 4] == 1) | (sides < _MINIMUM_SIDE).any(axis=1))
