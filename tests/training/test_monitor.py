"""What a run tells of itself."""

from pathlib import Path

import numpy as np
import pytest

from ssh_tf.errors import UserError
from ssh_tf.training.monitor import Monitor, Table, Update, read_table


def test_a_table_goes_on_where_it_begins_again(tmp_path: Path):
    path = tmp_path / "t.csv"
    table = Table(path, after=0)
    for step in (1, 2, 3):
        table.add({"step": step, "loss": step / 2})
    again = Table(path, after=2)
    again.add({"step": 3, "loss": 9.0})
    assert path.read_text() == "step,loss\n1,0.5\n2,1.0\n3,9.0\n"
    assert read_table(path)[1] == {"step": 2, "loss": 1.0}


def test_a_row_that_was_not_finished_is_left_out(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("step,loss\n1,0.5\n2,1.")
    assert read_table(path) == [{"step": 1, "loss": 0.5}]


def test_another_column_is_added_to_the_rows_before(tmp_path: Path):
    table = Table(tmp_path / "t.csv", after=0)
    table.add({"step": 1, "easy": 0.5})
    table.add({"step": 2, "easy": 0.5, "hard": 0.25})
    assert (tmp_path / "t.csv").read_text() == "step,easy,hard\n1,0.5,\n2,0.5,0.25\n"
    assert np.isnan(read_table(tmp_path / "t.csv")[0]["hard"])


def update(step: int, loss: list[float], norm: float = 2.0) -> Update:
    terms = {"m1_cls_loss": np.float32(loss), "m1_positives": np.float32([4, 8])}
    return Update(step, terms, norm, ["a.jpg", "b.jpg"], 0.1)


def monitor(folder: Path, *, scaled: bool = False) -> Monitor:
    return Monitor(folder, step=0, images_per_update=2, scaled=scaled)


def test_means_are_over_updates_and_images(tmp_path: Path):
    watch = monitor(tmp_path)
    watch.add(update(1, [1, 2]))
    watch.add(update(2, [3, 6], norm=4.0))
    logs = watch.write()
    assert logs["m1_cls_loss"] == logs["loss"] == 3  # (1 + 2 + 3 + 6) / 4
    assert (logs["m1_positives"], logs["gradient_norm"], logs["learning_rate"]) == (6, 3, 0.1)
    watch.add(update(3, [5, 5]))
    assert watch.write()["loss"] == 5  # those before are forgotten
    assert [row["step"] for row in read_table(tmp_path / "logs.csv")] == [2, 3]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (update(7, [np.nan, 1]), r"m1_cls_loss is not finite at step 7 \(images a.jpg, b.jpg\)"),
        (update(8, [1, 1], norm=np.inf), r"The gradient is not finite at step 8 \(images a.jpg"),
    ],
)
def test_numbers_that_are_not_finite_stop_the_run(tmp_path: Path, broken: Update, message: str):
    with pytest.raises(UserError, match=message):
        monitor(tmp_path).add(broken)


def test_a_scaled_loss_may_overflow_in_the_gradient_only(tmp_path: Path):
    watch = monitor(tmp_path, scaled=True)
    watch.add(update(1, [1, 1], norm=np.inf))
    with pytest.raises(UserError, match="m1_cls_loss is not finite"):
        watch.add(update(2, [np.inf, 1]))
