"""Figures: what the legend says, in which order, and odd names."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from ssh_tf.evaluation import figures
from ssh_tf.evaluation.breakdown import ImageResult
from ssh_tf.evaluation.curves import Curve, RocCurve
from ssh_tf.imaging.plots import save_figure

CURVE = Curve(0.5, np.array([np.nan, 1.0, 0.5]), np.array([0.0, 0.25, 0.5]))
ROC = RocCurve(np.array([0.0, 1.0, 310.0]), np.array([0.0, 0.5, 0.75]), np.array([9.0, 0.9, 0.1]))


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_best_curve_comes_first_in_the_legend_and_no_face_last() -> None:
    curves = {
        "Nothing": replace(CURVE, ap=np.nan),
        "Weak": replace(CURVE, ap=0.25),
        "Strong": replace(CURVE, ap=0.75),
        "ours": CURVE,
    }
    figure = figures.precision_recall("title", curves, evaluated="ours", partial=False)
    expected = ["75.00  Strong", "50.00  ours", "25.00  Weak", "no faces  Nothing"]
    assert legend(figure) == expected


def test_legend_stands_beside_the_axes() -> None:
    figure = figures.precision_recall("title", {"ours": CURVE}, evaluated="ours", partial=False)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert axes.get_legend().get_window_extent().x0 >= axes.get_window_extent().x1


def test_a_part_of_the_images_is_dashed() -> None:
    for partial, style in ((True, "--"), (False, "-")):
        figure = figures.precision_recall(
            "title", {"ours": CURVE}, evaluated="ours", partial=partial
        )
        assert figure.axes[0].get_lines()[0].get_linestyle() == style


def test_roc_has_a_log_scale_and_says_where_a_short_curve_ends() -> None:
    long = replace(ROC, false_positives=np.array([0.0, 1000.0, 2000.0]))
    figure = figures.roc("title", {"long": long, "ours": ROC}, evaluated="ours")
    assert legend(figure) == ["75.00 (at 310, its end)  ours", "50.00  long"]
    assert figure.axes[0].get_xscale() == "log"
    assert figure.axes[0].get_xlim() == (1, 2000)


def test_roc_without_any_false_positive_is_drawn(tmp_path: Path) -> None:
    perfect = RocCurve(np.zeros(1), np.ones(1), np.ones(1))
    save_figure(figures.roc("title", {"ours": perfect}, evaluated="ours"), tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


@pytest.mark.parametrize("name", ["_hidden", "$x^", "\udcff", "a\x1b[2J", "人脸", "%d {} \\"])
def test_a_name_is_drawn_whatever_it_holds(name: str, tmp_path: Path) -> None:
    figure = figures.precision_recall(name, {name: CURVE}, evaluated=name, partial=False)
    assert len(legend(figure)) == 1
    save_figure(figure, tmp_path / "a.png", tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_a_sheet_has_a_tile_per_image_with_its_counts() -> None:
    box, none = np.array([[1.0, 2, 30, 40]]), np.zeros((0, 4))
    result = ImageResult("e/$a", 0.5, box, box, none)
    pixels = np.zeros((40, 60, 3), np.uint8)
    figure = figures.sheet("title", [(result, pixels)] * 5)
    shown = [axes for axes in figure.axes if axes.get_images()]
    assert [axes.get_title() for axes in shown] == ["e/$a\n0 missed, 1 false, 1 found"] * 5
    assert len(shown[0].patches) == 2
