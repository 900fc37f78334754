"""Curves that evaluations produce, and the average precision of one.

Also reads published precision-recall curves. Must not import TensorFlow.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np
from scipy.io import loadmat

from ssh_tf.errors import UserError
from ssh_tf.evaluation.detections import content_lines, parse_row
from ssh_tf.files import existing_folder

DISCRETE, CONTINUOUS = "discrete", "continuous"

_ROC_SUFFIXES = {DISCRETE: "DiscROC.txt", CONTINUOUS: "ContROC.txt"}
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HDF5_OFFSET = 512  # MATLAB's own header comes first


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision over recall.

    Attributes:
        ap: Average precision in `[0, 1]`; NaN where no face counts.
        precision: `[T]` float64 in `[0, 1]`; NaN where nothing is detected yet.
        recall: `[T]` float64 in `[0, 1]`, not falling.
    """

    ap: float
    precision: np.ndarray
    recall: np.ndarray


@dataclass(frozen=True, slots=True)
class RocCurve:
    """Rate of faces found over the number of false positives.

    Attributes:
        false_positives: `[T]` float64, not falling.
        true_positive_rate: `[T]` float64 in `[0, 1]`.
        thresholds: `[T]` float64, falling: the lowest score counted at each point.
    """

    false_positives: np.ndarray
    true_positive_rate: np.ndarray
    thresholds: np.ndarray


AnyCurve = TypeVar("AnyCurve", Curve, RocCurve)


def voc_ap(recall: np.ndarray, precision: np.ndarray) -> float:
    """Computes the area under the curve's falling envelope: all points, PASCAL VOC 2010 and later.

    Args:
        recall: `[T]` in `[0, 1]`, not falling. `T` may be 0.
        precision: `[T]` in `[0, 1]`. NaN (0/0) counts as absent, as MATLAB's `max` has it.

    Returns:
        The average precision in `[0, 1]`; NaN if a recall is NaN.

    References:
        Official `lib/wider_eval_tools/VOCap.m`.
    """
    steps = np.diff(np.concatenate([[0.0], recall, [1.0]]))
    envelope = np.fmax.accumulate(np.concatenate([precision, [0.0]])[::-1])[::-1]
    return float(np.sum(steps * envelope))


def load_published(path: Path) -> tuple[str, Curve]:
    """Reads a published curve in the WIDER tool's form, `wider_pr_info_<method>_<setting>.mat`.

    Args:
        path: A MATLAB file, version 5 or 7.3 (HDF5), whose variables are `pr_cruve` (their
            spelling), precision and recall, and `legend_name`.

    Returns:
        The method's name, and the curve with its average precision.

    Raises:
        UserError: If the file is not of this form.
    """
    try:
        name, table = _read_hdf5(path) if _is_hdf5(path) else _read_mat5(path)
        precision, recall = np.asarray(table, np.float64).reshape(-1, 2).T
    # SciPy and h5py raise whatever the damaged bytes lead to.
    except Exception as error:
        raise UserError(
            f"{path}: expected a MATLAB file with `pr_cruve` and `legend_name`, received {error!r}."
            " Take it from WIDER FACE's evaluation tool, or leave it out."
        ) from error
    return name, Curve(voc_ap(recall, precision), precision, recall)


def load_roc(path: Path) -> RocCurve:
    """Reads a curve that FDDB's official program wrote.

    Args:
        path: Rows `true_positive_rate false_positives`, with or without a threshold after them,
            from the most false positives to the fewest.

    Returns:
        The curve, from the fewest to the most. Thresholds not in the file are NaN.

    Raises:
        UserError: If a row is malformed; the message starts with `file:line`.
    """
    rows = []
    for number, line in content_lines(path):
        rate, positives = parse_row(path, number, line, ("true_positive_rate", "false_positives"))
        rows.append((positives, rate, *map(float, line.split()[2:3])))
    table = np.array([(*row, math.nan)[:3] for row in rows]).reshape(-1, 3)[::-1]
    return RocCurve(*table.T)


def published_curves(folder: Path, settings: Iterable[str]) -> dict[str, dict[str, Curve]]:
    """Reads all published curves of WIDER FACE below a folder.

    Args:
        folder: Holds `wider_pr_info_<method>_<setting>_val.mat`, at any depth.
        settings: Those wanted: `easy`, `medium`, `hard`.

    Returns:
        Setting to method to curve.

    Raises:
        UserError: If there is none of any of the settings, or a damaged one.
    """
    existing_folder(folder, "published curves wider_pr_info_<method>_<setting>.mat")
    found = {
        setting: dict(
            load_published(path)
            for path in sorted(folder.rglob(f"wider_pr_info_*_{setting}_*.mat"))
        )
        for setting in settings
    }
    if not any(found.values()):
        raise UserError(
            f"{folder} has no published curves of {', '.join(found)}. "
            "Expected wider_pr_info_<method>_<setting>.mat in it."
        )
    return found


def published_rocs(folder: Path) -> dict[str, dict[str, RocCurve]]:
    """Reads all curves of FDDB's official program in a folder.

    Args:
        folder: Holds `<method>DiscROC.txt` and `<method>ContROC.txt`.

    Returns:
        `discrete` and `continuous` to method to curve.

    Raises:
        UserError: If there is none of either, or a malformed one.
    """
    return {name: _rocs(folder, suffix) for name, suffix in _ROC_SUFFIXES.items()}


def _rocs(folder: Path, suffix: str) -> dict[str, RocCurve]:
    what = f"the official program's curves, <method>{suffix}"
    files = sorted(existing_folder(folder, what).glob(f"*{suffix}"))
    if not files:
        raise UserError(f"{folder} has no {what}.")
    return {file.name.removesuffix(suffix).strip("_-") or suffix: load_roc(file) for file in files}


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(_HDF5_OFFSET)
        return file.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE


def _read_hdf5(path: Path) -> tuple[str, np.ndarray]:
    with h5py.File(path) as file:
        letters = np.asarray(file["legend_name"]).ravel()
        # MATLAB stores columns first.
        return "".join(map(chr, letters)), np.asarray(file["pr_cruve"]).T


def _read_mat5(path: Path) -> tuple[str, np.ndarray]:
    content = loadmat(path)
    return str(content["legend_name"].item()), content["pr_cruve"]
