"""A benchmark's table as CSV and Markdown, and its bars as a picture."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ssh_tf.files import write_text
from ssh_tf.imaging.plots import ACCENT, INK, add_key, decorate, entitle, new_figure, save_figure
from ssh_tf.inference.benchmark.timing import Timing

FILES = ("benchmark.csv", "benchmark.md", "benchmark.png")

# Of a detector from a file to boxes, and of its network alone: ours, and those of others.
_OURS, _OTHERS = ("#a6c8eb", ACCENT), ("#d4d4d4", "#6c757d")
_ROW_INCHES, _PANEL_INCHES, _NAME_INCHES = 0.32, 3.4, 2.8
# Room right of the longest bar for its figure, as a factor on the logarithmic axis.
_ROOM = 3.5

# Title of a column, and its text; what is not known is empty.
_COLUMNS: Sequence[tuple[str, Callable[[Timing, float], str]]] = (
    ("model", lambda row, rate: row.model),
    ("runtime", lambda row, rate: row.runtime),
    ("precision", lambda row, rate: row.precision),
    ("input", lambda row, rate: f"{row.height}x{row.width}"),
    ("batch", lambda row, rate: str(row.batch)),
    ("network ms", lambda row, rate: _number(row.network, 1e3, 1)),
    ("GFLOP/s", lambda row, rate: _number(row.flops_per_second, 1e-9, 0)),
    ("of matrix %", lambda row, rate: _number(row.flops_per_second, 100 / rate, 0)),
    ("file to boxes ms", lambda row, rate: _number(row.end_to_end, 1e3, 1)),
    ("ratio", lambda row, rate: _number(row.ratio, 1, 3)),
    ("images/s", lambda row, rate: _number(row.images_per_second, 1, 1)),
    ("decode ms", lambda row, rate: _number(row.decode, 1e3, 1)),
    ("resize ms", lambda row, rate: _number(row.resize, 1e3, 1)),
    ("boxes ms", lambda row, rate: _number(row.boxes, 1e3, 1)),
    ("faces", lambda row, rate: str(row.faces)),
    ("peak MiB", lambda row, rate: _number(row.memory_mib, 1, 0)),
)
TITLES = tuple(title for title, _ in _COLUMNS)


def cells(row: Timing, matrix_rate: float) -> list[str]:
    """Returns a row's texts, in the order of `TITLES`.

    Args:
        row: What was measured.
        matrix_rate: Of `matrix_flops_per_second`.
    """
    return [text(row, matrix_rate) for _, text in _COLUMNS]


def write_report(folder: Path, rows: Sequence[Timing], *, device: str, matrix_rate: float) -> None:
    """Writes `FILES`.

    Args:
        folder: Is there.
        rows: At least one.
        device: What computed.
        matrix_rate: Of `matrix_flops_per_second`.
    """
    write_text(folder / FILES[0], _csv(rows))
    write_text(folder / FILES[1], _markdown(rows, device, matrix_rate))
    save_figure(_figure(rows, device), folder / FILES[2])


def _number(value: float | None, factor: float, digits: int) -> str:
    return "" if value is None else f"{factor * value:,.{digits}f}"


def _csv(rows: Sequence[Timing]) -> str:
    """Returns every field as it was measured: seconds, operations, MiB."""
    tables = [dataclasses.asdict(row) | {"ratio": row.ratio} for row in rows]
    lines = [",".join(tables[0]), *(",".join(map(_plain, table.values())) for table in tables)]
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> str:
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n') else text


def _markdown(rows: Sequence[Timing], device: str, matrix_rate: float) -> str:
    head = f"{device}; {matrix_rate / 1e9:,.0f} GFLOP/s in a float32 matrix product. Medians."
    align = ["---" if i < 3 else "---:" for i in range(len(TITLES))]
    table = [TITLES, align, *(cells(row, matrix_rate) for row in rows)]
    return "\n".join([head, "", *("| " + " | ".join(line) + " |" for line in table)]) + "\n"


def _figure(rows: Sequence[Timing], device: str) -> Figure:
    """A panel per size, a bar per detector: file to boxes, and in it the network alone."""
    sizes = list(dict.fromkeys((row.height, row.width) for row in rows))
    names = list(dict.fromkeys(map(_name, rows)))
    width = _NAME_INCHES + _PANEL_INCHES * len(sizes)
    figure = new_figure(width, 1.4 + _ROW_INCHES * len(names))
    panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for axes, size in zip(panels, sizes, strict=True):
        decorate(axes, f"{size[0]} x {size[1]} px", "", "")
        _bars(axes, [row for row in rows if (row.height, row.width) == size], names)
    entitle(figure, f"ms per image on {device}")
    keys = {"from a file to boxes": _OURS[0], "the network alone": _OURS[1]}
    if any(row.flops is None for row in rows):
        keys["detectors of others"] = _OTHERS[0]
    add_key(figure, keys)
    return figure


def _bars(axes: Axes, rows: Sequence[Timing], names: Sequence[str]) -> None:
    heights = [names.index(_name(row)) for row in rows]
    whole = [1e3 * row.end_to_end for row in rows]
    network = [1e3 * (row.network or 0.0) for row in rows]
    colors = [_OTHERS if row.flops is None else _OURS for row in rows]
    axes.barh(heights, whole, height=0.72, color=[around for around, _ in colors])
    axes.barh(heights, network, height=0.36, color=[alone for _, alone in colors])
    for height, value, inner in zip(heights, whole, network, strict=True):
        text = f" {value:,.1f}" if value < 100 else f" {value:,.0f}"
        axes.text(max(value, inner), height, text, va="center", fontsize=9, color=INK)
    known = [value for value in (*whole, *network) if value > 0]
    axes.set_xscale("log")
    axes.set_xlim(min(known) / 2, max(known) * _ROOM)
    axes.set_yticks(range(len(names)), names, fontsize=9, color=INK)
    axes.set_ylim(len(names) - 0.5, -0.5)  # The first one on top.
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def _name(row: Timing) -> str:
    batch = f", batch {row.batch}" if row.batch > 1 else ""
    return f"{row.model}, {row.runtime}, {row.precision}{batch}"
