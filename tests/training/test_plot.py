"""A run's curves as a picture."""

from pathlib import Path

import cv2
import pytest

from ssh_tf.errors import UserError
from ssh_tf.training.plot import plot_run
from ssh_tf.training.table import Table


def write_logs(folder: Path, *, rows: int, validated: bool) -> None:
    table = Table(folder / "logs.csv", after=0)
    for step in range(1, rows + 1):
        terms = {
            f"m{i}_{term}": 1.0 / step
            for i in (1, 2, 3)
            for term in ("cls_loss", "box_loss", "positives", "negatives")
        }
        others = {"loss": 3.0 / step, "learning_rate": 0.1, "gradient_norm": 2.0 / step}
        table.add({"step": step, **others, **terms, "images_per_second": 4.0})
    if validated:
        Table(folder / "validation.csv", after=0).add({"step": rows, "easy": 0.9, "hard": 0.4})


@pytest.mark.parametrize(("rows", "validated"), [(1, False), (30, True)])
def test_curves_are_drawn_with_and_without_validation(tmp_path: Path, rows: int, validated: bool):
    write_logs(tmp_path, rows=rows, validated=validated)
    picture = cv2.imread(str(plot_run(tmp_path)))
    assert picture.shape[1] > 1000
    assert picture.std() > 5  # something is drawn


def test_what_can_not_be_drawn_is_said(tmp_path: Path):
    with pytest.raises(UserError, match="has no rows yet"):
        plot_run(tmp_path)
    write_logs(tmp_path, rows=2, validated=False)
    with pytest.raises(UserError, match=r"curves\.jpg must end in \.png, \.pdf or \.svg"):
        plot_run(tmp_path, tmp_path / "curves.jpg")
    with pytest.raises(UserError, match=r"does not exist\. Expected a folder with a run"):
        plot_run(tmp_path / "absent")
