"""What an evaluation leaves behind: `report.json`, `report.md` and the curves as PNG and PDF.

Draws with Matplotlib's objects, without its global state. Must not import TensorFlow.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssh_tf.errors import UserError
from ssh_tf.evaluation.curves import Curve, RocCurve, load_published, load_roc
from ssh_tf.files import atomic_path, existing_folder, write_text

THIS_RUN = "this run"
WIDER_VAL_IMAGES = 3226

# Average precision of the published curves by the official rule (VOCap.m), WIDER val.
PUBLISHED_WIDER: dict[str, dict[str, float]] = {
    "SSH, single scale": {"easy": 0.91922, "medium": 0.90735, "hard": 0.81401},
    "SSH, pyramid": {"easy": 0.93123, "medium": 0.92106, "hard": 0.84582},
    "HR (ResNet-101)": {"easy": 0.92571, "medium": 0.91048, "hard": 0.80605},
    "CMS-RCNN": {"easy": 0.89934, "medium": 0.87451, "hard": 0.62444},
}

_WIDER_NOTE = (
    "The published rows are computed from the published precision-recall curves of WIDER FACE val "
    "by the same rule. The SSH paper's table has 91.9 / 90.7 / 81.4 and, with the pyramid, "
    "93.1 / 92.1 / 84.5; it gives 62.9 for CMS-RCNN on hard."
)
_REFINED_NOTE = (
    "By face-eval's rules, with its box refinement: one shift and one scale for all boxes, fitted "
    "to the test set in five rounds, as in the published figures."
)
_PARTIAL_NOTE = (
    "Only {images:,} of the 3,226 images of WIDER FACE val were scored: "
    "not comparable with published numbers."
)
_SHOWN_FALSE_POSITIVES = (100, 500, 1000, 2000)

_INK = "#1a1a1a"
_COLOUR = "#c1121f"
_OTHER_COLOURS = ("#1d4e89", "#2a9d8f", "#e09f3e", "#7b5ea7", "#6c757d", "#8d6e63")
_FIGURE_INCHES = (6.4, 5.2)
_DPI = 150
_TOP = 1.01  # a line at 1 shows in its full width


@dataclass(frozen=True, slots=True)
class Summary:
    """What was evaluated.

    Attributes:
        dataset: `wider`, `fddb`, `pascal` or `afw`.
        images: Images that were scored, those without detections included.
        detections: Boxes that were scored.
        seconds: Time the evaluation took, s.
        unreadable: Names of the images that could not be read; their faces count as missed.
    """

    dataset: str
    images: int
    detections: int
    seconds: float
    unreadable: list[str] = field(default_factory=list)


def write_report(
    folder: Path,
    summary: Summary,
    curves: Mapping[str, Curve],
    *,
    published: Path | None = None,
    others: Mapping[str, Mapping[str, Curve]] | None = None,
) -> None:
    """Writes `report.json`, `report.md`, `pr_<setting>.png` and `pr_<setting>.pdf`.

    Args:
        folder: Existing folder to write into; `report.json` comes last.
        summary: What was evaluated.
        curves: Setting to its curve. A NaN average precision becomes `null`.
        published: Folder with published curves, `wider_pr_info_<method>_<setting>.mat`, to draw
            with ours.
        others: Further curves to draw with ours: setting to method to curve.

    Raises:
        UserError: If `published` has no curve of any of the settings, or a damaged one.
    """
    others = published_curves(published, curves) if published else others or {}
    for setting, curve in curves.items():
        figure = _precision_recall_figure(setting, curve, others.get(setting, {}))
        _save(figure, folder / f"pr_{setting}")
    ap = {setting: curve.ap for setting, curve in curves.items()}
    write_text(folder / "report.md", _markdown(summary, _ap_section(summary, ap)))
    finite = {setting: value if math.isfinite(value) else None for setting, value in ap.items()}
    _write_json(folder, summary, {"ap": finite})


def write_roc_report(
    folder: Path,
    summary: Summary,
    curves: Mapping[str, RocCurve],
    *,
    published: Path | None = None,
) -> None:
    """Writes `report.json`, `report.md`, `roc_<name>.png` and `roc_<name>.pdf`.

    Args:
        folder: Existing folder to write into; `report.json` comes last.
        summary: What was evaluated.
        curves: `discrete` and `continuous` to their curves.
        published: Folder of the official program's curves, `<method>DiscROC.txt` and
            `<method>ContROC.txt`, to draw with ours.

    Raises:
        UserError: If `published` has no such curve, or a malformed one.
    """
    others = {name: published_rocs(published, name) if published else {} for name in curves}
    for name, curve in curves.items():
        _save(_roc_figure(name, curve, others[name]), folder / f"roc_{name}")
    write_text(folder / "report.md", _markdown(summary, _roc_section(curves)))
    points = {
        name: {
            "false_positives": curve.false_positives.tolist(),
            "true_positive_rate": curve.true_positive_rate.tolist(),
        }
        for name, curve in curves.items()
    }
    _write_json(folder, summary, points)


def published_curves(folder: Path, settings: Iterable[str]) -> dict[str, dict[str, Curve]]:
    """Returns setting to method to curve; errors as `write_report` has them."""
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


def published_rocs(folder: Path, name: str) -> dict[str, RocCurve]:
    """Returns method to the curve `name`; errors as `write_roc_report` has them."""
    suffix = {"discrete": "DiscROC.txt", "continuous": "ContROC.txt"}[name]
    what = f"the official program's curves, <method>{suffix}"
    files = sorted(existing_folder(folder, what).glob(f"*{suffix}"))
    if not files:
        raise UserError(f"{folder} has no {what}.")
    return {file.name.removesuffix(suffix).strip("_-") or suffix: load_roc(file) for file in files}


def _write_json(folder: Path, summary: Summary, results: Mapping[str, Any]) -> None:
    report = {**asdict(summary), **results}
    write_text(folder / "report.json", json.dumps(report, indent=1, allow_nan=False) + "\n")


def _markdown(summary: Summary, section: str) -> str:
    return (
        f"# {summary.dataset}: evaluation\n\n"
        f"{summary.images:,} images, {summary.detections:,} detections, "
        f"{summary.seconds:,.1f} s.\n\n{section}{_unreadable_section(summary.unreadable)}"
    )


def _unreadable_section(names: Sequence[str]) -> str:
    if not names:
        return ""
    listed = "".join(f"- {name}\n" for name in names)
    return f"\n{len(names):,} images could not be read. Their faces count as missed:\n\n{listed}"


def _ap_section(summary: Summary, ap: Mapping[str, float]) -> str:
    settings = list(ap)
    rows = [[THIS_RUN, *(_percent(ap[setting]) for setting in settings)]]
    notes = "Average precision in percent.\n"
    if summary.dataset == "wider" and set(settings) <= set(PUBLISHED_WIDER["CMS-RCNN"]):
        rows += [
            [method, *(_percent(values[setting]) for setting in settings)]
            for method, values in PUBLISHED_WIDER.items()
        ]
        notes += f"{_WIDER_NOTE}\n"
        if summary.images != WIDER_VAL_IMAGES:
            notes += f"\n{_PARTIAL_NOTE.format(images=summary.images)}\n"
    if summary.dataset in ("pascal", "afw"):
        notes += f"{_REFINED_NOTE}\n"
    return f"{_table(['detector', *settings], rows)}\n{notes}"


def _roc_section(curves: Mapping[str, RocCurve]) -> str:
    rows = [
        [f"{limit:,}", *(_percent(_rate_at(curve, limit)) for curve in curves.values())]
        for limit in _SHOWN_FALSE_POSITIVES
    ]
    note = "Faces found, in percent, at no more than so many false positives.\n"
    return f"{_table(['false positives', *curves], rows)}\n{note}"


def _rate_at(curve: RocCurve, limit: int) -> float:
    return float(curve.true_positive_rate[curve.false_positives <= limit].max(initial=0.0))


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}" if math.isfinite(fraction) else "no faces"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [header, rule, *rows])


def _precision_recall_figure(setting: str, curve: Curve, others: Mapping[str, Curve]) -> Figure:
    figure, axes = _empty_figure("Recall", "Precision", f"Precision-recall, {setting}")
    lines = {
        f"{method}, AP {_percent(other.ap)}": (other.ap, other.recall, other.precision)
        for method, other in {**others, THIS_RUN: curve}.items()
    }
    _plot(axes, lines, legend="lower left")
    axes.set_xlim(0, 1)
    return figure


def _roc_figure(name: str, curve: RocCurve, others: Mapping[str, RocCurve]) -> Figure:
    figure, axes = _empty_figure("False positives", "True positive rate", f"FDDB, {name} score")
    lines = {}
    for method, other in {**others, THIS_RUN: curve}.items():
        rate = _rate_at(other, 1000)
        label = f"{method}, {_percent(rate)} at 1,000 false positives"
        lines[label] = (rate, other.false_positives, other.true_positive_rate)
    _plot(axes, lines, legend="lower right")
    axes.set_xlim(0, _SHOWN_FALSE_POSITIVES[-1])
    return figure


def _plot(
    axes: Axes, lines: Mapping[str, tuple[float, np.ndarray, np.ndarray]], *, legend: str
) -> None:
    """Draws curves, ours last and thick; the legend has the best first.

    Args:
        axes: Where to draw.
        lines: Label to merit, x and y, in the files' order, so that a method has the same colour in
            every figure.
        legend: Its corner.
    """
    handles = []
    for index, (label, (merit, x, y)) in enumerate(lines.items()):
        ours = index == len(lines) - 1
        colour = _COLOUR if ours else _OTHER_COLOURS[index % len(_OTHER_COLOURS)]
        style = "-" if ours else ("-", "--", ":")[index // len(_OTHER_COLOURS) % 3]
        width = 2.4 if ours else 1.3
        (line,) = axes.plot(x, y, style, color=colour, linewidth=width, label=label)
        handles.append((merit, line))
    order = [line for _, line in sorted(handles, key=lambda item: -item[0])]
    axes.legend(handles=order, loc=legend, frameon=False)
    axes.set_ylim(0, _TOP)


def _empty_figure(x_label: str, y_label: str, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_FIGURE_INCHES, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, color=_INK)
    axes.set_xlabel(x_label, color=_INK)
    axes.set_ylabel(y_label, color=_INK)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, stem: Path) -> None:
    """Writes `<stem>.png` and `<stem>.pdf`; the same figure gives the same bytes."""
    for suffix, metadata in ((".png", {}), (".pdf", {"CreationDate": None})):
        with atomic_path(stem.with_suffix(suffix)) as temporary:
            figure.savefig(temporary, dpi=_DPI, metadata=metadata)
