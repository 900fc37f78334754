"""A run's folder: which network it gives, from what, and what damage costs."""

import functools
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ssh_tf.config import Config, validate
from ssh_tf.errors import UserError
from ssh_tf.model.ohem import training_model
from ssh_tf.model.ssh import SSH
from ssh_tf.model.weights import initialize
from ssh_tf.training.checkpoints import Checkpoints
from ssh_tf.training.run_folder import RunFolder, load_run, settings_of
from ssh_tf.training.state import make_averages

MEANS = (1.0, 2.0, 3.0)
MODULE = {"name": "m2", "stride": 16, "channels": 8, "anchor_scales": [4], "allowed_border": 0}


def config(**train: object) -> Config:
    model = {"backbone": "mobilenet", "modules": [MODULE], "weights": "gone.keras"}
    return validate({"model": model, "train": train}, origin="test")


@functools.cache
def network(seed: int) -> SSH:
    made = SSH(config().model, MEANS)
    initialize(made, seed)
    return made


def begin(path: Path, settings: Config) -> RunFolder:
    path.mkdir(exist_ok=True)
    run = RunFolder(path)
    run.begin(settings, MEANS, "{}")
    return run


def unfinished(path: Path, *seeds: int, settings: Config | None = None) -> RunFolder:
    """A run with a checkpoint for each seed: `ckpt-1`, ..."""
    run = begin(path, settings or config())
    for step, seed in enumerate(seeds, start=1):
        Checkpoints(run.checkpoints, network=network(seed)).save(step)
    return run


def assert_is(loaded: SSH, seed: int) -> None:
    assert loaded.means == MEANS
    for ours, theirs in zip(loaded.get_weights(), network(seed).get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["run", "run[1]"])
def test_an_unfinished_run_is_its_newest_checkpoint_without_the_file_it_began_from(
    tmp_path: Path, name: str
):
    unfinished(tmp_path / name, 1, 2)
    assert_is(load_run(tmp_path / name), 2)


def cut_data(run: RunFolder) -> None:
    data = run.checkpoints / "ckpt-2.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])


def lose_index(run: RunFolder) -> None:
    (run.checkpoints / "ckpt-2.index").unlink()


@pytest.mark.parametrize("damage", [cut_data, lose_index])
def test_a_damaged_checkpoint_is_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[RunFolder], None]
):
    run = unfinished(tmp_path, 1, 2)
    damage(run)
    with caplog.at_level(logging.INFO, "ssh_tf"):
        assert_is(load_run(tmp_path), 1)
    assert "Restored" in caplog.text
    assert ("ckpt-2 can't be read" in caplog.text) == (damage is cut_data)


def test_an_unfinished_run_with_a_moving_average_is_its_average(tmp_path: Path):
    settings = config(ema_decay=0.5, frozen=["conv1"])
    run, made = begin(tmp_path, settings), SSH(settings.model, MEANS)
    made.set_weights(network(1).get_weights())
    made.get_layer("conv1").trainable = False
    averages = make_averages(training_model(made, settings.loss).trainable_variables)
    for average in averages:
        average.assign(average + 1.0)
    Checkpoints(run.checkpoints, network=made, averages=averages).save(1)
    loaded = load_run(tmp_path)
    frozen = network(1).get_layer("conv1")
    np.testing.assert_array_equal(loaded.get_layer("conv1").kernel, frozen.kernel)
    head, before = loaded.get_layer("m2_cls"), network(1).get_layer("m2_cls")
    np.testing.assert_allclose(head.kernel, before.kernel + 1.0, atol=1e-6)


def test_a_finished_run_is_its_last_network_or_its_best(tmp_path: Path):
    run = unfinished(tmp_path, 1)
    with pytest.raises(UserError, match=r"has no best\.keras: nothing was evaluated yet"):
        load_run(tmp_path, "best")
    run.save_last(network(2))
    run.save_if_best(network(3), 1, {"easy": 0.2, "hard": 0.5})
    run.save_if_best(network(4), 2, {"easy": 0.9, "hard": 0.4})
    assert_is(load_run(tmp_path), 2)
    assert_is(load_run(tmp_path, "best"), 3)
    assert json.loads((tmp_path / "best.json").read_text())["step"] == 1


@pytest.mark.parametrize("content", ["", "[]", '{"ap": 3}', '{"ap": {"hard": NaN}}', "[" * 9000])
def test_a_damaged_record_of_the_best_does_not_stop_a_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
):
    run = begin(tmp_path, config())
    (tmp_path / "best.json").write_text(content)
    run.save_if_best(network(1), 5, {"hard": 0.0})
    assert "best.json does not say how good best.keras is" in caplog.text
    assert json.loads((tmp_path / "best.json").read_text()) == {"step": 5, "ap": {"hard": 0.0}}


@pytest.mark.parametrize(
    "content", ["", "3", "{}", '{"means": [1, 2]}', '{"means": [1, 2, NaN]}', '{"means": "abc"}']
)
def test_a_damaged_start_is_named_in_one_line(tmp_path: Path, content: str):
    unfinished(tmp_path, 1)
    (tmp_path / "start.json").write_text(content)
    with pytest.raises(UserError, match=r"start\.json (is not|must hold)") as error:
        load_run(tmp_path)
    assert "\n" not in str(error.value)


def test_a_run_of_before_has_its_means_from_its_first_weights(tmp_path: Path):
    made = config()
    made = made.model_copy(update={"model": made.model.model_copy(update={"weights": "random"})})
    run = unfinished(tmp_path, 1, settings=made)
    (tmp_path / "start.json").unlink()
    assert load_run(tmp_path).means == SSH(made.model).means
    assert run.settings() == made


def test_what_the_first_weights_were_is_written_once(tmp_path: Path):
    begin(tmp_path, config())
    RunFolder(tmp_path).begin(config(steps=3), (9.0, 9.0, 9.0), "{}")
    start = json.loads((tmp_path / "start.json").read_text())
    assert start == {"weights": "gone.keras", "means": list(MEANS)}
    assert RunFolder(tmp_path).settings() == config(steps=3)


@pytest.mark.parametrize("content", [(), ("config.yaml",), ("config.yaml", "checkpoints/old")])
def test_a_folder_without_a_network_is_named(tmp_path: Path, content: tuple[str, ...]):
    for name in content:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"has neither model\.keras nor checkpoints"):
        load_run(tmp_path)


def test_the_files_of_a_run_use_its_settings(tmp_path: Path):
    begin(tmp_path, config(steps=7))
    for name in (".", "model.keras", "best.keras"):
        assert settings_of(tmp_path / name) == config(steps=7)
    assert settings_of(tmp_path / "other.keras") is None
    assert settings_of(tmp_path / "absent" / "model.keras") is None
