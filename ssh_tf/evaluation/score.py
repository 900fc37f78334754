"""Scores folders of result files by the official protocols. No TensorFlow here."""

import logging
import time
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssh_tf.errors import UserError
from ssh_tf.evaluation import face_eval, fddb, pascal, wider
from ssh_tf.evaluation.breakdown import OPERATING_SCORE, break_down
from ssh_tf.evaluation.curves import AnyCurve, Curve, RocCurve, published_curves, published_rocs
from ssh_tf.evaluation.detections import read_wider, refuse_fractions
from ssh_tf.evaluation.report import write_report, write_roc_report
from ssh_tf.evaluation.summary import THIS_RUN, Summary
from ssh_tf.evaluation.truth import WiderGroundTruth
from ssh_tf.files import existing_folder, output_folder

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """What a report shows beside the evaluation itself.

    Attributes:
        name: What the detector is called in tables and figures.
        published: Folder of curves to show beside. WIDER: `wider_pr_info_*.mat`. FDDB: the official
            program's `<method>DiscROC.txt` and `...ContROC.txt`. Pascal Faces and AFW: other
            detectors' `<method>.txt` in face-eval's format, to score and show, as its own figures
            are made.
        operating_score: The score from which a detection is taken for a face.
        unreadable: Images the detector could not read; their faces count as missed.
        seconds: What the detection took, s; the report adds what the scoring takes.
    """

    name: str = THIS_RUN
    published: Path | None = None
    operating_score: float = OPERATING_SCORE
    unreadable: Sequence[str] = ()
    seconds: float = 0.0


DEFAULTS = Options()


def score_wider(
    detections: str | Path,
    truth: WiderGroundTruth,
    out: str | Path,
    *,
    images: Mapping[str, Path] | None = None,
    options: Options = DEFAULTS,
) -> dict[str, Curve]:
    """Scores a folder of result files by the official protocol and writes the report.

    Args:
        detections: Folder of result files.
        truth: The annotated faces.
        out: Folder for `report.json`, `report.md` and the figures.
        images: `event/stem` to image file, for the sheet of the worst images; None: no sheet.
        options: What the report shows beside.

    Returns:
        Setting to curve.
    """
    started = time.monotonic()
    folder = output_folder(out)
    others = wider_others(options, truth)
    found = read_wider(existing_folder(detections, "WIDER result files"))
    refuse_fractions(found.values(), detections)
    matches = wider.match(found, truth)
    curves = wider.curves(matches, truth)
    _warn_of_gaps(found, truth.names, len(options.unreadable))
    breakdown = break_down(matches, truth, options.operating_score)
    summary = _summary("wider", len(truth.names), found.values(), options, started)
    write_report(folder, summary, curves, others=others, breakdown=breakdown, images=images)
    return curves


def score_fddb(
    detections: str | Path,
    folds: str | Path,
    images: str | Path,
    out: str | Path,
    *,
    options: Options = DEFAULTS,
) -> dict[str, RocCurve]:
    """Scores FDDB detections by the official protocol and writes the report.

    Args:
        detections: A text file in FDDB's format, or a folder of result files in WIDER's.
        folds: Folder of `FDDB-fold-NN-ellipseList.txt`.
        images: FDDB's folder of images, or a text file of lines `name width height`: regions are
            cut at the image's border.
        out: Folder for `report.json`, `report.md` and the figures.
        options: What the report shows beside.

    Returns:
        The `discrete` and the `continuous` curve.
    """
    started = time.monotonic()
    folder = output_folder(out)
    others = fddb_others(options)
    ellipses = fddb.read_ellipses(Path(folds))
    readable = [name for name in ellipses if name not in set(options.unreadable)]
    sizes = fddb.read_image_sizes(Path(images), readable)
    found = fddb.read_detections(Path(detections))
    # Nothing is found in an image that can't be read, so that its size does not matter.
    nothing = {name: np.zeros((0, 5)) for name in options.unreadable}
    curves = fddb.evaluate(found | nothing, ellipses, sizes | dict.fromkeys(nothing, (1, 1)))
    summary = _summary("fddb", len(ellipses), found.values(), options, started)
    write_roc_report(folder, summary, curves, others=others)
    return curves


def score_pascal(
    dataset: str,
    detections: str | Path,
    annotations: str | Path,
    out: str | Path,
    *,
    options: Options = DEFAULTS,
) -> dict[str, Curve]:
    """Scores Pascal Faces or AFW detections by the protocol of face-eval and writes the report.

    Args:
        dataset: `pascal` or `afw`.
        detections: A text file in face-eval's format, or a folder of result files in WIDER's.
        annotations: face-eval's `.mat`, or the same as `.csv`.
        out: Folder for `report.json`, `report.md` and the figures.
        options: What the report shows beside.

    Returns:
        The curve, under the data set's name.
    """
    started = time.monotonic()
    folder = output_folder(out)
    faces = face_eval.load_annotations(Path(annotations))
    others = pascal_others(options, dataset, faces)
    found = face_eval.read_detections(Path(detections))
    curves = {dataset: pascal.evaluate(found, faces).curve}
    summary = _summary(dataset, len(faces), [found.boxes], options, started)
    write_report(folder, summary, curves, others=others)
    return curves


def wider_others(options: Options, truth: WiderGroundTruth) -> dict[str, dict[str, Curve]]:
    """Reads the published curves to show beside: setting to method to curve.

    Raises:
        UserError: If there is none, a damaged one, or one that has the detector's name.
    """
    if options.published is None:
        return {}
    return _without_own(options, published_curves(options.published, truth.counted))


def fddb_others(options: Options) -> dict[str, dict[str, RocCurve]]:
    """Reads the published curves of FDDB, as `wider_others` does."""
    if options.published is None:
        return {}
    return _without_own(options, published_rocs(options.published))


def pascal_others(
    options: Options, dataset: str, faces: Mapping[str, face_eval.AnnotatedFaces]
) -> dict[str, dict[str, Curve]]:
    """Scores each published `<method>.txt` in face-eval's format, as `wider_others` does."""
    if options.published is None:
        return {}
    what = "other detectors' <method>.txt in face-eval's format"
    files = sorted(existing_folder(options.published, what).glob("*.txt"))
    if not files:
        raise UserError(f"{options.published} is empty. Expected {what}.")
    curves = {file.stem: _published_pascal(file, faces) for file in files}
    return _without_own(options, {dataset: curves})


def _published_pascal(file: Path, faces: Mapping[str, face_eval.AnnotatedFaces]) -> Curve:
    found = face_eval.read_detections(file)
    return pascal.evaluate(found, faces, minimum_iou=pascal.iou_of(file.stem)).curve


def _without_own(
    options: Options, others: dict[str, dict[str, AnyCurve]]
) -> dict[str, dict[str, AnyCurve]]:
    if any(options.name in named for named in others.values()):
        raise UserError(
            f"{options.published} has a curve of {options.name!r}, too. Give the detector that is "
            "evaluated another name."
        )
    return others


def _warn_of_gaps(found: Collection[str], names: Sequence[str], unreadable: int) -> None:
    """Warns of what the protocol ignores in silence: misnamed and missing result files."""
    unknown = sorted(set(found).difference(names))
    missing = [name for name in names if name not in found]
    if unknown:
        _LOG.warning(
            "%d of %d result files belong to no image of the ground truth, such as %s. They are "
            "ignored.%s",
            len(unknown),
            len(found),
            unknown[0],
            _look_alike(unknown, missing),
        )
    if len(missing) > unreadable:
        _LOG.warning(
            "%d of %d images have no result file, such as %s. Their faces count as missed.",
            len(missing),
            len(names),
            missing[0],
        )


def _look_alike(unknown: Iterable[str], missing: Iterable[str]) -> str:
    """Says which result file only differs from an image in how Unicode composes its letters."""
    composed = {unicodedata.normalize("NFC", name): name for name in missing}
    for name in unknown:
        if (image := composed.get(unicodedata.normalize("NFC", name))) is not None:
            return f" {name!a} and {image!a} look the same, but differ in bytes: rename one."
    return ""


def _summary(
    dataset: str, images: int, boxes: Iterable[Sized], options: Options, started: float
) -> Summary:
    return Summary(
        dataset=dataset,
        images=images,
        detections=sum(len(rows) for rows in boxes),
        seconds=options.seconds + time.monotonic() - started,
        unreadable=list(options.unreadable),
        name=options.name,
    )
