"""Figures of evaluations: precision-recall and ROC curves, reliability, a sheet of images.

Must not import TensorFlow.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from ssh_tf.evaluation.breakdown import ImageResult, ScoreRange
from ssh_tf.evaluation.curves import Curve, RocCurve
from ssh_tf.imaging.plots import (
    ACCENT,
    INK,
    OTHERS,
    SOFT,
    add_key,
    decorate,
    entitle,
    new_figure,
    printable,
)

_FOUND_COLOR, _FALSE_COLOR, _MISSED_COLOR = "#26de5f", "#ff3b30", "#ffffff"
_TOP = 1.01  # a line at 1 shows in its full width
# Where ROC curves are compared in the legend: false positives.
ROC_LIMIT = 1000
_SHEET_COLUMNS = 4
_TILE_INCHES, _TILE_PX = (3.6, 3.0), 480


def precision_recall(
    title: str, curves: Mapping[str, Curve], *, evaluated: str, partial: bool
) -> Figure:
    """Draws precision over recall.

    Args:
        title: Of the figure.
        curves: Method to curve, in the order of the files: a method has the same color in every
            figure.
        evaluated: The method that was evaluated: thick, and on top.
        partial: Whether it was evaluated on a part of the images; it is dashed then.
    """
    figure, axes = _empty_figure("Recall", "Precision", title)
    lines = {
        method: _line(axes, curve.recall, curve.precision, index, method == evaluated, partial)
        for index, (method, curve) in enumerate(curves.items())
    }
    merits = {method: curve.ap for method, curve in curves.items()}
    labels = {method: f"{percent(ap)}  {method}" for method, ap in merits.items()}
    _legend(axes, lines, merits, labels, "AP, %")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, _TOP)
    return figure


def roc(title: str, curves: Mapping[str, RocCurve], *, evaluated: str) -> Figure:
    """Draws the true positive rate over the number of false positives, on a log scale from 1.

    Args:
        title: Of the figure.
        curves: Method to curve, see `precision_recall`.
        evaluated: The method that was evaluated.
    """
    figure, axes = _empty_figure("False positives", "True positive rate", title)
    # The limits come before the lines: a curve without a false positive has no extent to fit.
    axes.set_xscale("log")
    axes.set_xlim(
        1, max(10.0, *(curve.false_positives.max(initial=0) for curve in curves.values()))
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    lines = {
        method: _line(
            axes, curve.false_positives, curve.true_positive_rate, index, method == evaluated
        )
        for index, (method, curve) in enumerate(curves.items())
    }
    merits = {method: rate_at(curve, ROC_LIMIT) for method, curve in curves.items()}
    labels = {
        method: f"{percent(merits[method])}{_end_of(curve)}  {method}"
        for method, curve in curves.items()
    }
    _legend(axes, lines, merits, labels, f"%, at {ROC_LIMIT:,} false positives")
    axes.set_ylim(0, _TOP)
    return figure


def reliability(title: str, ranges: Sequence[ScoreRange]) -> Figure:
    """Draws the share of right detections over the score, and how many there are of each score."""
    figure = new_figure(6.4, 6.4)
    axes, counts = figure.subplots(2, sharex=True, height_ratios=[3, 1])
    decorate(axes, title, "", "Share that found a face")
    decorate(counts, "", "Score", "Detections")
    used = [each for each in ranges if each.detections]
    axes.plot([0, 1], [0, 1], "--", color=INK, linewidth=1)
    axes.plot(
        [r.mean_score for r in used], [r.right for r in used], "o-", color=ACCENT, clip_on=False
    )
    axes.legend(
        ["score = share", "detections, by tenths of the score"],
        frameon=False,
        labelcolor=INK,
        loc="upper left",
    )
    axes.set_ylim(0, _TOP)
    widths = [each.end - each.start for each in ranges]
    heights = [each.detections for each in ranges]
    starts = [each.start for each in ranges]
    counts.bar(starts, heights, widths, align="edge", color=ACCENT, edgecolor="white")
    counts.set_yscale("symlog", linthresh=1)
    counts.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    counts.set_ylim(bottom=0)
    counts.set_xlim(0, 1)
    return figure


def sheet(title: str, images: Sequence[tuple[ImageResult, np.ndarray]]) -> Figure:
    """Draws images with what was found, wrongly found and missed in them.

    Args:
        title: Of the sheet.
        images: At least one; pixels are `[H, W, 3]` uint8 RGB.
    """
    columns = min(_SHEET_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(max(_TILE_INCHES[0] * columns, 6.4), _TILE_INCHES[1] * rows + 0.8)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, (result, pixels) in zip(grid, images, strict=False):
        _draw_result(axes, result, pixels)
    entitle(figure, title)
    colors = {"missed": _MISSED_COLOR, "false": _FALSE_COLOR, "found": _FOUND_COLOR}
    add_key(figure, colors)
    return figure


def percent(fraction: float) -> str:
    """Formats a share in percent; NaN stands for a set without faces."""
    return f"{100 * fraction:.2f}" if np.isfinite(fraction) else "no faces"


def rate_at(curve: RocCurve, limit: int) -> float:
    """Returns the true positive rate at no more than `limit` false positives."""
    return float(curve.true_positive_rate[curve.false_positives <= limit].max(initial=0.0))


def _end_of(curve: RocCurve) -> str:
    """Tells where a curve ends, if that is before the legend's limit."""
    end = curve.false_positives.max(initial=0)
    return "" if end >= ROC_LIMIT else f" (at {end:,.0f}, its end)"


def _line(
    axes: Axes, x: np.ndarray, y: np.ndarray, index: int, evaluated: bool, partial: bool = False
) -> Line2D:
    if evaluated:
        style = "--" if partial else "-"
        (line,) = axes.plot(x, y, style, color=ACCENT, linewidth=2.4, zorder=3)
        return line
    style = ("-", "--", ":")[index // len(OTHERS) % 3]
    color = OTHERS[index % len(OTHERS)]
    (line,) = axes.plot(x, y, style, color=color, linewidth=1.3)
    return line


def _legend(
    axes: Axes,
    lines: Mapping[str, Line2D],
    merits: Mapping[str, float],
    labels: Mapping[str, str],
    title: str,
) -> None:
    """Writes a legend beside the axes, where it hides no curve, the best first."""
    # NaN compares with nothing: it goes last.
    order = sorted(lines, key=lambda method: -np.nan_to_num(merits[method], nan=-1.0))
    legend = axes.legend(
        [lines[method] for method in order],
        [printable(labels[method]) for method in order],
        title=title,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0,
        frameon=False,
        labelcolor=INK,
        alignment="left",
    )
    legend.get_title().set_color(SOFT)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a `$` in a method's name is no formula


def _empty_figure(x_label: str, y_label: str, title: str) -> tuple[Figure, Axes]:
    figure = new_figure(8.8, 5.2)
    axes = figure.add_subplot()
    decorate(axes, title, x_label, y_label)
    return figure, axes


def _draw_result(axes: Axes, result: ImageResult, pixels: np.ndarray) -> None:
    scale = min(1.0, _TILE_PX / max(pixels.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    axes.imshow(small, extent=(0, pixels.shape[1], pixels.shape[0], 0))
    axes.set_anchor("N")  # titles of one row stand on one line
    for boxes, color in (
        (result.missed, _MISSED_COLOR),
        (result.found, _FOUND_COLOR),
        (result.false, _FALSE_COLOR),
    ):
        for x, y, w, h in boxes.tolist():
            axes.add_patch(Rectangle((x, y), w, h, fill=False, edgecolor=color, linewidth=1.2))
    point = result.point
    counts = f"{point.missed} missed, {point.false} false, {point.found} found"
    axes.set_title(f"{_short(result.name)}\n{counts}", fontsize=8, color=INK, parse_math=False)


def _short(name: str, most: int = 44) -> str:
    name = printable(name)
    return name if len(name) <= most else f"...{name[-most + 3 :]}"
