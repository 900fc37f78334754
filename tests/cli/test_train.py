"""Tests of `ssh-tf train` and `plot`."""

import signal
from pathlib import Path
from typing import Any

import pytest

from ssh_tf import cli
from ssh_tf.errors import InterruptedRunError


def test_train_passes_file_and_overrides(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    calls = []

    def train(config: Any, workdir: str, **_: Any) -> str:
        calls.append((config.train.steps, config.train.seed, config.model.weights, workdir))
        return "run/model.keras"

    monkeypatch.setattr("ssh_tf.training.trainer.train", train)
    line = f"train --config {world}/good.yaml --workdir run --set train.steps=7 --set train.seed=5"
    assert cli.main(line.split()) == 0
    assert calls == [(7, 5, "random", "run")]
    assert capsys.readouterr().out.splitlines() == [
        "Saved run/model.keras",
        "Next: ssh-tf detect --model run PHOTOS --out pictures",
    ]


def test_a_training_that_a_signal_stopped_has_an_exit_code_of_its_own(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def train(*_: Any, **__: Any) -> str:
        raise InterruptedRunError("stopped by SIGTERM after step 3", signal.SIGTERM)

    monkeypatch.setattr("ssh_tf.training.trainer.train", train)
    assert cli.main(f"train --config {world}/good.yaml --workdir run".split()) == 143
    assert capsys.readouterr().err.endswith("ssh-tf train: stopped by SIGTERM after step 3\n")


def test_plot_names_its_picture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("ssh_tf.training.plot.plot_run", lambda *given: "/".join(given))
    assert cli.main(["plot", "run", "--out", "x.png"]) == 0
    assert capsys.readouterr().out == "Curves in run/x.png\n"
