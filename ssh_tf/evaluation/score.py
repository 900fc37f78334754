"""Scores folders of result files by the official protocols. No TensorFlow here."""

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence, Sized
from pathlib import Path

import numpy as np

from ssh_tf.data.readers.wider import read_annotations
from ssh_tf.errors import UserError
from ssh_tf.evaluation import fddb, pascal
from ssh_tf.evaluation.curves import Curve, RocCurve
from ssh_tf.evaluation.detections import read_wider
from ssh_tf.evaluation.report import Summary, write_report, write_roc_report
from ssh_tf.evaluation.wider import WiderGroundTruth, all_faces, evaluate, load_ground_truth
from ssh_tf.files import existing_folder, output_folder

_LOG = logging.getLogger(__name__)


def wider_truth(folder: Path) -> WiderGroundTruth:
    """Reads the official `.mat` files, or a WIDER annotation file if `folder` is one.

    Args:
        folder: Folder with `wider_{face,easy,medium,hard}_val.mat`, or a `_bbx_gt.txt` file.
    """
    if folder.is_file():
        return all_faces(read_annotations(folder))
    return load_ground_truth(existing_folder(folder, "wider_{face,easy,medium,hard}_val.mat"))


def score_wider(
    detections: str | Path,
    truth: WiderGroundTruth,
    out: str | Path,
    *,
    published: Path | None = None,
    unreadable: Sequence[str] = (),
    started: float | None = None,
) -> dict[str, Curve]:
    """Scores a folder of result files by the official protocol and writes the report.

    Args:
        detections: Folder of result files.
        truth: The annotated faces.
        out: Folder for `report.json`, `report.md` and the curves.
        published: Folder of `wider_pr_info_*.mat` curves to draw beside.
        unreadable: Images the detector could not read, for the report.
        started: `time.monotonic()` when the work began; by default now.

    Returns:
        Setting to curve.
    """
    started = time.monotonic() if started is None else started
    folder = output_folder(out)
    found = read_wider(existing_folder(detections, "WIDER result files"))
    curves = evaluate(found, truth)
    _warn_of_gaps(found, truth.names, len(unreadable))
    summary = _summary("wider", len(truth.names), found.values(), unreadable, started)
    write_report(folder, summary, curves, published=published)
    return curves


def _warn_of_gaps(found: Collection[str], names: Sequence[str], unreadable: int) -> None:
    """Tells of what the protocol passes over in silence: misnamed and missing result files."""
    strange = sorted(set(found).difference(names))
    if strange:
        _LOG.warning(
            "%d of %d result files are of no image of the ground truth, such as %s. They are "
            "passed over.",
            *(len(strange), len(found), strange[0]),
        )
    missing = [name for name in names if name not in found]
    if len(missing) > unreadable:
        _LOG.warning(
            "%d of %d images have no result file, such as %s. Their faces count as missed.",
            *(len(missing), len(names), missing[0]),
        )


def score_fddb(
    detections: str | Path,
    folds: str | Path,
    images: str | Path,
    out: str | Path,
    *,
    published: Path | None = None,
    unreadable: Sequence[str] = (),
    started: float | None = None,
) -> dict[str, RocCurve]:
    """Scores FDDB detections by the official protocol and writes the report.

    Args:
        detections: A text file in FDDB's format, or a folder of result files in WIDER's.
        folds: Folder of `FDDB-fold-NN-ellipseList.txt`.
        images: FDDB's folder of images, or a text file of lines `name width height`: regions are
            cut at the image's border.
        out: Folder for `report.json`, `report.md` and the curves.
        published: Folder of the official program's `<method>DiscROC.txt` and `...ContROC.txt`, to
            draw beside.
        unreadable: Images the detector could not read. They have no detection.
        started: `time.monotonic()` when the work began; by default now.

    Returns:
        The `discrete` and the `continuous` curve.
    """
    started = time.monotonic() if started is None else started
    folder = output_folder(out)
    ellipses = fddb.read_ellipses(Path(folds))
    readable = [name for name in ellipses if name not in set(unreadable)]
    sizes = fddb.read_image_sizes(Path(images), readable)
    found = fddb.read_detections(Path(detections))
    # Nothing is found in an image that can't be read, so its size is of no account.
    missed = {name: np.zeros((0, 5)) for name in unreadable}
    curves = fddb.evaluate(found | missed, ellipses, sizes | dict.fromkeys(unreadable, (1, 1)))
    summary = _summary("fddb", len(ellipses), found.values(), unreadable, started)
    write_roc_report(folder, summary, curves, published=published)
    return curves


def score_pascal(
    dataset: str,
    detections: str | Path,
    annotations: str | Path,
    out: str | Path,
    *,
    published: Path | None = None,
    unreadable: Sequence[str] = (),
    started: float | None = None,
) -> dict[str, Curve]:
    """Scores Pascal Faces or AFW detections by the protocol of face-eval and writes the report.

    Args:
        dataset: `pascal` or `afw`.
        detections: A text file in face-eval's format, or a folder of result files in WIDER's.
        annotations: face-eval's `.mat`, or the same as `.csv`.
        out: Folder for `report.json`, `report.md` and the curve.
        published: Folder of other detectors' `<method>.txt` in face-eval's format, to score and
            draw beside, as its own figures are made.
        unreadable: Images the detector could not read, for the report.
        started: `time.monotonic()` when the work began; by default now.

    Returns:
        The curve, under the data set's name.
    """
    started = time.monotonic() if started is None else started
    folder = output_folder(out)
    faces = pascal.load_annotations(Path(annotations))
    found = pascal.read_detections(Path(detections))
    curves = {dataset: pascal.evaluate(found, faces).curve}
    summary = _summary(dataset, len(faces), [found.boxes], unreadable, started)
    others = {} if published is None else {dataset: score_others(published, faces)}
    write_report(folder, summary, curves, others=others)
    return curves


def score_others(folder: Path, faces: Mapping[str, pascal.Faces]) -> dict[str, Curve]:
    """Scores each `<method>.txt` in face-eval's format; returns method to curve.

    Raises:
        UserError: If there is none, or a malformed one.
    """
    what = "other detectors' <method>.txt in face-eval's format"
    files = sorted(existing_folder(folder, what).glob("*.txt"))
    if not files:
        raise UserError(f"{folder} is empty. Expected {what}.")
    return {file.stem: pascal.evaluate(pascal.read_detections(file), faces).curve for file in files}


def _summary(
    dataset: str,
    images: int,
    boxes: Iterable[Sized],
    unreadable: Sequence[str],
    started: float,
) -> Summary:
    return Summary(
        dataset=dataset,
        images=images,
        detections=sum(len(rows) for rows in boxes),
        seconds=time.monotonic() - started,
        unreadable=list(unreadable),
    )
