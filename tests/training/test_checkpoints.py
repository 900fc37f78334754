"""Checkpoints: the newest that can be read, and none that is half written."""

import logging
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ssh_tf.config import TrainConfig
from ssh_tf.errors import UserError
from ssh_tf.training.checkpoints import Checkpoints
from ssh_tf.training.state import State
from tests.support.small import mirrored
from tests.support.springs import spring_state

CONFIG = TrainConfig(images_per_update=1, ema_decay=0.5, frozen=())


def state(value: float, names: tuple[str, ...] = ("m1_cls",)) -> State:
    made = spring_state(CONFIG, mirrored("CPU:0"), names)
    for variable in (*made.training.trainable_variables, *made.averages):
        variable.assign(np.full(variable.shape, value, np.float32))
    return made


def checkpoints(folder: Path, made: State) -> Checkpoints:
    return Checkpoints(
        folder, network=made.network, optimizer=made.optimizer, averages=made.averages
    )


def values(made: State) -> list[float]:
    return [float(v.numpy()[0]) for v in (*made.training.trainable_variables, *made.averages)]


def saved(folder: Path, *steps: int) -> None:
    """Checkpoints whose weights are their steps."""
    for step in steps:
        checkpoints(folder, state(step)).save(step)


def test_an_empty_folder_begins_at_0(tmp_path: Path):
    made = state(0.25)
    assert checkpoints(tmp_path / "new", made).restore() == 0
    assert set(values(made)) == {0.25}


def test_the_newest_is_restored_and_three_are_kept(tmp_path: Path):
    saved(tmp_path, 2, 9, 10, 11)
    made = state(0.25)
    assert checkpoints(tmp_path, made).restore() == 11
    assert set(values(made)) == {11.0}
    assert {file.name.split(".")[0] for file in tmp_path.glob("ckpt-*")} == {
        "ckpt-9",
        "ckpt-10",
        "ckpt-11",
    }


def cut(data: Path) -> None:
    data.write_bytes(data.read_bytes()[:-7])


def flip_a_bit(data: Path) -> None:
    content = bytearray(data.read_bytes())
    content[9] ^= 1
    data.write_bytes(content)


def delete(data: Path) -> None:
    data.unlink()


def empty_index(data: Path) -> None:
    data.with_name("ckpt-2.index").write_bytes(b"")


def shuffle_index(data: Path) -> None:
    index = data.with_name("ckpt-2.index")
    index.write_bytes(index.read_bytes()[::-1])


@pytest.mark.parametrize("damage", [cut, flip_a_bit, delete, empty_index, shuffle_index])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage
):
    saved(tmp_path, 1, 2)
    damage(tmp_path / "ckpt-2.data-00000-of-00001")
    made = state(0.25)
    with caplog.at_level(logging.INFO, "ssh_tf"):
        assert checkpoints(tmp_path, made).restore() == 1
    assert set(values(made)) == {1.0}
    assert "ckpt-2 can't be read" in caplog.text
    checkpoints(tmp_path, made).save(2)
    assert checkpoints(tmp_path, state(0.25)).restore() == 2


@pytest.mark.parametrize("name", ["run[1]", "run*", "run?", "run\\1", "run 1"])
def test_a_folder_s_name_is_no_pattern(tmp_path: Path, name: str):
    for folder in ("run1", "run11", name):
        saved(tmp_path / folder, 1, 2)
    saved(tmp_path / name, 3, 4)
    made = state(0.25)
    assert checkpoints(tmp_path / name, made).restore() == 4
    assert set(values(made)) == {4.0}
    assert checkpoints(tmp_path / name, made).steps() == [2, 3, 4]
    assert checkpoints(tmp_path / "run1", made).steps() == [1, 2]


def test_what_a_killed_process_left_is_removed_and_other_files_stay(tmp_path: Path):
    saved(tmp_path, 1)
    (tmp_path / "ckpt-6_temp").mkdir()
    (tmp_path / "ckpt-6_temp" / "part-00000-of-00001").write_bytes(b"half")
    (tmp_path / "ckpt-7.data-00000-of-00001").write_bytes(b"no index")
    for name in ("checkpoint", "ckpt.index", "notes.txt"):
        (tmp_path / name).touch()
    made = state(0.25)
    assert checkpoints(tmp_path, made).steps() == [1]
    saved(tmp_path, 2)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "checkpoint",
        "ckpt-1.data-00000-of-00001",
        "ckpt-1.index",
        "ckpt-2.data-00000-of-00001",
        "ckpt-2.index",
        "ckpt.index",
        "notes.txt",
    ]


def test_a_checkpoint_of_tensorflow_s_manager_is_read(tmp_path: Path):
    made = state(7.0)
    parts = {"network": made.network, "optimizer": made.optimizer, "averages": made.averages}
    step = tf.Variable(7, dtype=tf.int64)
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(**parts, step=step), str(tmp_path), max_to_keep=3
    )
    manager.save(checkpoint_number=7)
    made = state(0.25)
    assert checkpoints(tmp_path, made).restore() == 7
    assert set(values(made)) == {7.0}


def test_a_part_of_a_checkpoint_can_be_read_alone(tmp_path: Path):
    saved(tmp_path, 3)
    made = state(0.25)
    assert Checkpoints(tmp_path, averages=made.averages).restore() == 3
    assert [float(average.numpy()[0]) for average in made.averages] == [3.0, 3.0]
    assert {float(v.numpy()[0]) for v in made.training.trainable_variables} == {0.25}


def test_a_lost_list_of_checkpoints_does_no_harm(tmp_path: Path):
    saved(tmp_path, 1, 2)
    (tmp_path / "checkpoint").write_bytes(b"\0nonsense")
    assert checkpoints(tmp_path, state(0.25)).restore() == 2


def test_checkpoints_of_which_none_can_be_read_are_an_error(tmp_path: Path):
    saved(tmp_path, 1, 2)
    for file in tmp_path.glob("ckpt-*.data*"):
        file.write_bytes(b"")
    with pytest.raises(UserError, match=r"None of the 2 checkpoints in .* can be read\. Delete"):
        checkpoints(tmp_path, state(0.25)).restore()


def test_a_checkpoint_of_another_kind_of_run_is_refused(tmp_path: Path):
    saved(tmp_path, 1)
    with pytest.raises(UserError, match="does not fit this run"):
        checkpoints(tmp_path, state(0.25, ("m1_cls", "m2_cls"))).restore()


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path):
    saved(tmp_path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:  # The kernel refuses to write on, as it does on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        with pytest.raises(UserError, match=r"step 2 can't be written .* ckpt-1 is whole"):
            checkpoints(tmp_path, state(2)).save(2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert {file.name.split(".")[0] for file in tmp_path.glob("ckpt-*")} == {"ckpt-1"}
    assert checkpoints(tmp_path, state(0.25)).restore() == 1
