"""The look of plots, and their files."""

from pathlib import Path

import pytest

from ssh_tf.imaging import plots


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_the_same_figure_gives_the_same_bytes(tmp_path: Path, suffix: str):
    for name in "ab":
        figure = plots.new_figure(3, 2)
        axes = figure.add_subplot()
        plots.decorate(axes, "title", "x", "y")
        axes.plot([0, 1], [0, 1])
        plots.save_figure(figure, tmp_path / f"{name}{suffix}")
    first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in "ab")
    assert first == second


def test_titles_are_drawn_as_they_are_written():
    figure = plots.new_figure(3, 2)
    axes = figure.add_subplot()
    plots.decorate(axes, "$x^", "", "")
    plots.entitle(figure, "a\x1b[2J")
    figure.draw_without_rendering()  # a formula would be refused
    assert axes.get_title(loc="left") == "$x^"
    assert figure.get_suptitle() == "a\N{REPLACEMENT CHARACTER}[2J"


def test_a_key_explains_each_color():
    figure = plots.new_figure(3, 2)
    plots.add_key(figure, {"missed": "#ffffff", "false": "#ff0000"})
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["missed", "false"]
