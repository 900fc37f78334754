"""Draws a run's curves from its `logs.csv` and `validation.csv`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ssh_tf.errors import UserError
from ssh_tf.files import existing_folder
from ssh_tf.imaging.plots import ACCENT, INK, OTHERS, decorate, entitle, new_figure, save_figure
from ssh_tf.training.monitor import LOG_FILE, VALIDATION_FILE
from ssh_tf.training.table import read_table

Rows = Sequence[Mapping[str, float]]

_COLORS = (ACCENT, *OTHERS)


def plot_run(workdir: str | Path, out: str | Path | None = None) -> Path:
    """Draws losses, mined anchors, gradient, learning rate, speed and average precision.

    Args:
        workdir: The run's folder.
        out: A `.png`, `.pdf` or `.svg` file; by default `curves.png` in the folder.

    Returns:
        The file.

    Raises:
        UserError: If the folder has no logs, or for another suffix.
    """
    folder = existing_folder(workdir, "a run of `ssh-tf train`")
    rows, validated = read_table(folder / LOG_FILE), read_table(folder / VALIDATION_FILE)
    if not rows:
        raise UserError(
            f"{folder / LOG_FILE} has no rows yet. Wait for train.log_every updates of the run."
        )
    path = Path(out) if out is not None else folder / "curves.png"
    if path.suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"{path} must end in .png, .pdf or .svg.")
    figure = _figure(folder.resolve().name, rows, validated)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, path)
    return path


def _figure(title: str, rows: Rows, validated: Rows) -> Figure:
    figure = new_figure(13, 7.5)
    entitle(figure, title)
    panels = figure.subplots(2, 3).ravel()
    ends = {end: [name for name in rows[0] if name.endswith(end)] for end in _ENDS}
    _lines(panels[0], rows, ["loss", *ends["_cls_loss"]], "Loss, and its class terms")
    _lines(panels[1], rows, ends["_box_loss"], "Box terms of the loss")
    _lines(panels[2], rows, ends["_positives"], "Positive anchors per image")
    _lines(panels[3], rows, ["gradient_norm"], "Norm of the gradient", logarithmic=True)
    _lines(panels[4], rows, ["learning_rate"], "Learning rate")
    if validated:
        settings = [name for name in validated[0] if name != "step"]
        _lines(panels[5], validated, settings, "Average precision", marker="o")
        panels[5].set_ylim(bottom=0)
    else:
        _lines(panels[5], rows, ["images_per_second"], "Images per second")
    return figure


_ENDS = ("_cls_loss", "_box_loss", "_positives")


def _lines(
    axes: Axes,
    rows: Rows,
    names: Sequence[str],
    title: str,
    *,
    marker: str | None = None,
    logarithmic: bool = False,
) -> None:
    steps = [row["step"] for row in rows]
    # The total is dark, so that a module has one color in all panels.
    colors = (INK, *_COLORS) if names[0] == "loss" else _COLORS
    for name, color in zip(names, colors, strict=False):
        values = [row[name] for row in rows]
        mark = marker if marker or len(rows) > 1 else "o"
        axes.plot(steps, values, color=color, label=name, linewidth=1.4, marker=mark, markersize=4)
    decorate(axes, title, "update", "")
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_plainly)
        axes.yaxis.set_minor_formatter(_plainly if _is_narrow(axes) else NullFormatter())
    else:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    if len(names) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def _plainly(value: float, _: object) -> str:
    return f"{value:g}"


def _is_narrow(axes: Axes) -> bool:
    """Whether a logarithmic axis has too few powers of ten to be read by them alone."""
    low, high = axes.get_ylim()
    return high < 100 * low
