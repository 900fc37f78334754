"""The text of `report.md`, section by section. Must not import TensorFlow."""

import math
from collections.abc import Iterable, Mapping, Sequence

from ssh_tf.evaluation.breakdown import Breakdown, Point
from ssh_tf.evaluation.curves import Curve, RocCurve
from ssh_tf.evaluation.figures import percent, rate_at
from ssh_tf.evaluation.summary import Summary, is_partial
from ssh_tf.evaluation.truth import SETTINGS
from ssh_tf.imaging.plots import printable

# Average precision of the published curves by the official rule (VOCap.m), WIDER val.
PUBLISHED_WIDER: dict[str, dict[str, float]] = {
    "SSH, single scale": {"easy": 0.919219, "medium": 0.907349, "hard": 0.814006},
    "SSH, pyramid": {"easy": 0.93123, "medium": 0.92106, "hard": 0.84582},
    "HR (ResNet-101)": {"easy": 0.925708, "medium": 0.910481, "hard": 0.806046},
    "CMS-RCNN": {"easy": 0.899345, "medium": 0.874512, "hard": 0.624435},
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
_SHOWN_FALSE_POSITIVES = (10, 100, 500, 1000, 2000)
_ROC_NOTE = (
    "Faces found, in percent, at no more than so many false positives. A curve that ends earlier "
    "keeps its last value."
)
# Columns of tables that count: attributes of `Point`.
_COUNTS = ("found", "false", "missed")


def document(summary: Summary, title: str, sections: Iterable[str]) -> str:
    """Joins the sections of a report below a head that says what was evaluated."""
    head = (
        f"# {title}: evaluation\n\n{summary.images:,} images, {summary.detections:,} detections, "
        f"{summary.seconds:,.1f} s.\n\n"
    )
    return head + "\n".join(sections) + _unreadable_section(summary.unreadable)


def ap_section(summary: Summary, lines: Mapping[str, Mapping[str, Curve]]) -> str:
    """Lists average precisions: this detector, then the curves beside it or published numbers.

    Args:
        summary: What was evaluated.
        lines: Setting to method to curve.
    """
    settings = list(lines)
    others = dict.fromkeys(method for named in lines.values() for method in named)
    others.pop(summary.name)
    rows = [
        [method, *(_ap_cell(lines[setting].get(method)) for setting in settings)]
        for method in (summary.name, *others)
    ]
    notes = "Average precision in percent.\n"
    if summary.dataset == "wider" and set(settings) <= set(SETTINGS):
        rows += [] if others else _published_rows(settings)
        notes += f"{_WIDER_NOTE}\n"
        if is_partial(summary, settings):
            notes += f"\n{_PARTIAL_NOTE.format(images=summary.images)}\n"
    if summary.dataset in ("pascal", "afw"):
        notes += f"{_REFINED_NOTE}\n"
    return f"{_table(['detector', *settings], rows)}\n{notes}"


def roc_sections(summary: Summary, lines: Mapping[str, Mapping[str, RocCurve]]) -> list[str]:
    """Lists true positive rates, this detector first.

    Args:
        summary: What was evaluated.
        lines: `discrete` or `continuous` to method to curve.
    """
    return [
        *(_roc_table(name, summary.name, named) for name, named in lines.items()),
        f"{_ROC_NOTE}\n",
    ]


def breakdown_sections(breakdown: Breakdown) -> list[str]:
    """Lists the parts of an evaluation: heights, one score, reliability, the worst images."""
    return [
        _heights_section(breakdown),
        _thresholds_section(breakdown),
        _reliability_section(breakdown),
        _worst_section(breakdown),
    ]


def _published_rows(settings: Iterable[str]) -> list[list[str]]:
    return [
        [method, *(percent(values[setting]) for setting in settings)]
        for method, values in PUBLISHED_WIDER.items()
    ]


def _ap_cell(curve: Curve | None) -> str:
    return "" if curve is None else percent(curve.ap)


def _roc_table(name: str, evaluated: str, curves: Mapping[str, RocCurve]) -> str:
    methods = [evaluated, *(method for method in curves if method != evaluated)]
    rows = [
        [m, *(percent(rate_at(curves[m], limit)) for limit in _SHOWN_FALSE_POSITIVES)]
        for m in methods
    ]
    header = [f"{name}, false positives", *(f"{limit:,}" for limit in _SHOWN_FALSE_POSITIVES)]
    return _table(header, rows)


def _heights_section(breakdown: Breakdown) -> str:
    rows = [
        [each.name, f"{each.faces:,}", _share(each.ap), _share(each.recall)]
        for each in breakdown.heights
    ]
    score = breakdown.operating_point.score
    header = ["face height, px", "faces", "AP, %", f"found at a score of {score:g}, %"]
    return f"## By face height ({breakdown.setting})\n\n{_table(header, rows)}"


def _thresholds_section(breakdown: Breakdown) -> str:
    points = {"operating point": breakdown.operating_point, "best F1": breakdown.best_threshold}
    rows = [
        [
            name,
            f"{point.score:.4g}",
            *map(_share, (point.precision, point.recall, point.f1)),
            *_counts(point),
        ]
        for name, point in points.items()
    ]
    header = ["threshold", "score", "precision, %", "recall, %", "F1, %", *_COUNTS]
    return f"## At one score ({breakdown.setting})\n\n{_table(header, rows)}"


def _reliability_section(breakdown: Breakdown) -> str:
    if not breakdown.reliability:
        return "## Reliability\n\nScores outside of 0 to 1 are no probabilities: not shown.\n"
    rows = [
        [f"{each.start:.1f}-{each.end:.1f}", f"{each.detections:,}", _share(each.right)]
        for each in breakdown.reliability
    ]
    header = ["score", "detections", "right, %"]
    return f"## Reliability ({breakdown.setting})\n\n{_table(header, rows)}"


def _worst_section(breakdown: Breakdown) -> str:
    if not breakdown.worst:
        return "## Worst images\n\nNo image has a mistake.\n"
    rows = [[each.name, *_counts(each.point)] for each in breakdown.worst]
    score = breakdown.operating_point.score
    return f"## Worst images at a score of {score:g}\n\n{_table(['image', *_COUNTS], rows)}"


def _unreadable_section(names: Sequence[str]) -> str:
    if not names:
        return ""
    listed = "".join(f"- {printable(name)}\n" for name in names)
    return f"\n{len(names):,} images could not be read. Their faces count as missed:\n\n{listed}"


def _counts(point: Point) -> list[str]:
    return [f"{getattr(point, key):,}" for key in _COUNTS]


def _share(fraction: float) -> str:
    """Formats a share in percent; an empty cell where there is nothing to share."""
    return percent(fraction) if math.isfinite(fraction) else ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    lines = [header, rule, *rows]
    return "".join(f"| {' | '.join(map(_cell, cells))} |\n" for cells in lines)


def _cell(text: str) -> str:
    return printable(text).replace("|", "\\|")  # a bare one would end the cell
