"""What a run tells of itself."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.util import event_pb2

from ssh_tf.errors import UserError
from ssh_tf.training.monitor import Monitor, Update
from ssh_tf.training.table import read_table


def update(step: int, loss: list[float], norm: float = 2.0) -> Update:
    terms = {"m1_cls_loss": [np.float32(loss)], "m1_positives": [np.float32([4]), np.float32([8])]}
    return Update(step, terms, norm, [np.array([b"a.jpg"]), np.array([b"b.jpg"])], 0.1)


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


def test_tensorboard_shows_values_in_few_sections(tmp_path: Path):
    watch = monitor(tmp_path)
    watch.add(update(1, [1, 2]))
    watch.write()
    watch.validated(1, {"all": 0.5}, [])
    (events,) = (tmp_path / "logs").iterdir()
    tags = {
        value.tag
        for record in tf.data.TFRecordDataset(str(events)).as_numpy_iterator()
        for value in event_pb2.Event.FromString(record).summary.value
    }
    run = ("learning_rate", "gradient_norm", "images_per_second", "waiting")
    values = {"loss/loss", "loss/m1_cls_loss", "anchors/m1_positives", "ap/all"}
    assert tags == values | {f"run/{name}" for name in run}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (update(7, [np.nan, 1]), r"m1_cls_loss is not finite at step 7 \(images a.jpg, b.jpg\)"),
        (update(8, [1, 1], norm=np.inf), r"The gradient is not finite at step 8 \(images a.jpg"),
    ],
)
def test_numbers_that_are_not_finite_stop_the_run(tmp_path: Path, broken: Update, message: str):
    watch = monitor(tmp_path)
    watch.add(update(6, [1, 1]))
    watch.add(broken)
    watch.add(update(9, [np.nan, np.nan]))
    with pytest.raises(UserError, match=message):
        watch.check()


def test_a_scaled_loss_may_overflow_in_the_gradient_only(tmp_path: Path):
    watch = monitor(tmp_path, scaled=True)
    watch.add(update(1, [1, 1], norm=np.inf))
    watch.check()
    watch.add(update(2, [np.inf, 1]))
    with pytest.raises(UserError, match="m1_cls_loss is not finite"):
        watch.check()


def test_time_of_an_evaluation_is_not_the_training_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    now = [100.0]
    monkeypatch.setattr("ssh_tf.training.monitor.time.monotonic", lambda: now[0])
    watch = monitor(tmp_path)
    now[0] += 0.5
    watch.add(update(1, [1, 1]))
    with watch.paused():
        now[0] += 60.0
    assert watch.write()["images_per_second"] == pytest.approx(2 / 0.5)


def test_a_run_without_validation_has_no_table_of_it(tmp_path: Path):
    watch = monitor(tmp_path)
    assert not (tmp_path / "validation.csv").exists()
    watch.validated(3, {"hard": 0.5}, ())
    assert watch.is_validated(3)
    assert not watch.is_validated(2)
    assert Monitor(tmp_path, step=3, images_per_update=2, scaled=False).is_validated(3)
    assert not Monitor(tmp_path, step=2, images_per_update=2, scaled=False).is_validated(3)
