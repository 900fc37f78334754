"""One look for all plots: size, letters, colors, grid, files.

Draws with Matplotlib's objects, without its global state or backend. Must not import TensorFlow.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ssh_tf.files import atomic_path

INK, SOFT, GRID = "#1d1d1f", "#65656c", "#dddbd5"
# The page of the local server has the same ink and the same accent.
ACCENT = "#0b6bcb"
# After the accent; told apart by people who see few colors (Okabe and Ito).
OTHERS = ("#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7f7f7f")
_DPI = 150


def new_figure(width: float, height: float) -> Figure:
    """Returns a figure of `width` x `height` inches, whose parts find their places themselves."""
    return Figure(figsize=(width, height), layout="constrained")


def decorate(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    """Gives axes their texts, a faint grid behind the data, and no frame."""
    axes.set_title(
        printable(title), loc="left", color=INK, fontsize=11, fontweight="bold", parse_math=False
    )
    axes.set_xlabel(x_label, color=SOFT)
    axes.set_ylabel(y_label, color=SOFT)
    axes.tick_params(which="both", color=GRID, labelcolor=SOFT)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)


def entitle(figure: Figure, title: str) -> None:
    """Gives a figure of several parts its title."""
    figure.suptitle(
        printable(title), x=0.01, ha="left", color=INK, fontweight="bold", parse_math=False
    )


def add_key(figure: Figure, colors: Mapping[str, str]) -> None:
    """Writes what each color means below a figure."""
    handles = [
        Patch(facecolor=color, edgecolor=SOFT, linewidth=0.6, label=text)
        for text, color in colors.items()
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        labelcolor=INK,
        fontsize=9,
    )


def save_figure(figure: Figure, *paths: Path) -> None:
    """Writes a figure in the formats of the suffixes; the same one gives the same PNG and PDF."""
    for path in paths:
        metadata = {"CreationDate": None} if path.suffix == ".pdf" else None
        with atomic_path(path) as temporary, warnings.catch_warnings():
            # Names may have letters that the font lacks: boxes stand for them.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            figure.savefig(temporary, dpi=_DPI, metadata=metadata)


def printable(name: str) -> str:
    """Replaces what can't be drawn or printed: control characters and bytes that are no text."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
