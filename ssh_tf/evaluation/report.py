"""What an evaluation leaves behind: `report.json`, `report.md` and figures.

Must not import TensorFlow.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ssh_tf.evaluation import figures, markdown
from ssh_tf.evaluation.breakdown import Breakdown, ImageResult, Point
from ssh_tf.evaluation.curves import AnyCurve, Curve, RocCurve
from ssh_tf.evaluation.summary import WIDER_VAL_IMAGES, Summary, is_partial, title_of
from ssh_tf.files import write_text
from ssh_tf.imaging.plots import save_figure


def write_report(
    folder: Path,
    summary: Summary,
    curves: Mapping[str, Curve],
    *,
    others: Mapping[str, Mapping[str, Curve]] | None = None,
    breakdown: Breakdown | None = None,
    images: Mapping[str, Path] | None = None,
) -> None:
    """Writes `report.json`, `report.md`, `pr_<setting>.png` and `pr_<setting>.pdf`.

    With `breakdown` also `reliability.png`; with `images` also `worst.jpg`.

    Args:
        folder: Existing folder to write into; `report.json` comes last.
        summary: What was evaluated.
        curves: Setting to its curve. A NaN average precision becomes `null`.
        others: Further curves for table and figure: setting to method to curve.
        breakdown: Parts of the evaluation to report.
        images: `event/stem` to image file, for the sheet of the worst images.
    """
    title, partial = title_of(summary.dataset, curves), is_partial(summary, curves)
    lines = _with_own(summary, curves, {} if others is None else others)
    part = f" (dashed: {summary.images:,} of {WIDER_VAL_IMAGES:,} images)" if partial else ""
    for setting, named in lines.items():
        heading = (title if len(curves) == 1 else f"{title}, {setting}") + part
        figure = figures.precision_recall(heading, named, evaluated=summary.name, partial=partial)
        save_figure(figure, folder / f"pr_{setting}.png", folder / f"pr_{setting}.pdf")
    sections = [markdown.ap_section(summary, lines)]
    results: dict[str, Any] = {"ap": _finite_ap(curves)}
    if breakdown is not None:
        sections += markdown.breakdown_sections(breakdown)
        results |= _breakdown_results(breakdown)
        _draw_breakdown(folder, breakdown, images or {}, title)
    write_text(folder / "report.md", markdown.document(summary, title, sections))
    _write_json(folder, summary, results)


def write_roc_report(
    folder: Path,
    summary: Summary,
    curves: Mapping[str, RocCurve],
    *,
    others: Mapping[str, Mapping[str, RocCurve]] | None = None,
) -> None:
    """Writes `report.json`, `report.md`, `roc_<name>.png` and `roc_<name>.pdf`.

    Args:
        folder: Existing folder to write into; `report.json` comes last.
        summary: What was evaluated.
        curves: `discrete` and `continuous` to their curves.
        others: Further curves for table and figure: `discrete` or `continuous` to method to curve.
    """
    title = title_of(summary.dataset, curves)
    lines = _with_own(summary, curves, {} if others is None else others)
    for name, named in lines.items():
        figure = figures.roc(f"{title}, {name} score", named, evaluated=summary.name)
        save_figure(figure, folder / f"roc_{name}.png", folder / f"roc_{name}.pdf")
    sections = markdown.roc_sections(summary, lines)
    write_text(folder / "report.md", markdown.document(summary, title, sections))
    points = {
        name: {
            "false_positives": curve.false_positives.tolist(),
            "true_positive_rate": curve.true_positive_rate.tolist(),
        }
        for name, curve in curves.items()
    }
    _write_json(folder, summary, points)


def _with_own(
    summary: Summary,
    curves: Mapping[str, AnyCurve],
    others: Mapping[str, Mapping[str, AnyCurve]],
) -> dict[str, dict[str, AnyCurve]]:
    """Adds this detector's curve to those of others, last: setting to method to curve."""
    return {name: {**others.get(name, {}), summary.name: curve} for name, curve in curves.items()}


def _finite_ap(curves: Mapping[str, Curve]) -> dict[str, Any]:
    return {setting: _finite(curve.ap) for setting, curve in curves.items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _write_json(folder: Path, summary: Summary, results: Mapping[str, Any]) -> None:
    report = {**asdict(summary), **results}
    write_text(folder / "report.json", json.dumps(report, indent=1, allow_nan=False) + "\n")


def _breakdown_results(breakdown: Breakdown) -> dict[str, Any]:
    return {
        "setting": breakdown.setting,
        "operating_point": _point_results(breakdown.operating_point),
        "best_threshold": _point_results(breakdown.best_threshold),
        "ap_by_height": {
            each.name: {"faces": each.faces, "ap": _finite(each.ap), "recall": _finite(each.recall)}
            for each in breakdown.heights
        },
        "reliability": [
            {key: _finite(value) for key, value in asdict(each).items()}
            for each in breakdown.reliability
        ],
        "worst": [{"image": each.name, **_counts(each.point)} for each in breakdown.worst],
    }


def _point_results(point: Point) -> dict[str, Any]:
    return {
        "score": _finite(point.score),
        "precision": _finite(point.precision),
        "recall": _finite(point.recall),
        "f1": _finite(point.f1),
        **_counts(point),
    }


def _counts(point: Point) -> dict[str, int]:
    return {"found": point.found, "false": point.false, "missed": point.missed}


def _draw_breakdown(
    folder: Path, breakdown: Breakdown, images: Mapping[str, Path], title: str
) -> None:
    if breakdown.reliability:
        figure = figures.reliability(f"{title}: reliability", breakdown.reliability)
        save_figure(figure, folder / "reliability.png")
    shown = _with_pixels(breakdown, images)
    if shown:
        score = breakdown.operating_point.score
        figure = figures.sheet(f"{title}: the worst images at a score of {score:g}", shown)
        save_figure(figure, folder / "worst.jpg")


def _with_pixels(
    breakdown: Breakdown, images: Mapping[str, Path]
) -> list[tuple[ImageResult, np.ndarray]]:
    """Reads the worst images, turned as their boxes are; those that can't be read are left out."""
    turned = cv2.IMREAD_COLOR | (0 if breakdown.upright else cv2.IMREAD_IGNORE_ORIENTATION)
    shown = []
    for result in breakdown.worst:
        path = images.get(result.name)
        if path is not None and path.is_file():
            content = np.frombuffer(path.read_bytes(), np.uint8)
            pixels = cv2.imdecode(content, turned) if len(content) else None  # [H, W, 3], BGR
            if pixels is not None:
                shown.append((result, np.ascontiguousarray(pixels[..., ::-1])))
    return shown
