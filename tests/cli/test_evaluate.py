"""Tests of `ssh-tf evaluate` and `score`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssh_tf import cli
from ssh_tf.config import PRESETS
from ssh_tf.data.readers.wider import split_layout
from ssh_tf.evaluation.curves import RocCurve


@pytest.mark.usefixtures("loads")
def test_evaluate_and_score_agree(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out, again = tmp_path / "out", tmp_path / "again"
    line = f"evaluate --model m --data_root {world}/wider --split train --out {out}"
    assert cli.main(line.split()) == 0
    first = capsys.readouterr().out
    truth = split_layout(world / "wider", "train").annotations
    line = f"score --detections {out}/detections --ground_truth {truth} --out {again}"
    assert cli.main(line.split()) == 0
    assert first.splitlines()[0] == capsys.readouterr().out.splitlines()[0]
    assert first.startswith("all      AP 0.")
    assert (again / "report.json").exists()


@pytest.mark.parametrize(
    ("dataset", "preset"), [("wider", None), ("fddb", "fddb"), ("pascal", "pascal"), ("afw", "afw")]
)
def test_evaluate_runs_at_the_data_set_s_scale(
    dataset: str,
    preset: str | None,
    loads: list[tuple[Any, dict[str, Any]]],
    world: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    nothing = {"discrete": RocCurve(*np.zeros((3, 1)))} if dataset == "fddb" else {}
    name = "pascal" if dataset == "afw" else dataset
    monkeypatch.setattr(f"ssh_tf.evaluation.run.evaluate_{name}", lambda *_, **__: nothing)
    monkeypatch.setattr("ssh_tf.evaluation.run.open_annotated", lambda *_, **__: None)
    line = f"evaluate --model m --dataset {dataset} --data_root d --ground_truth {world} --out o"
    assert cli.main(line.split()) == 0
    assert loads == [("m", dict(PRESETS[preset]) if preset else {})]


def test_a_batch_is_asked_for_only_where_it_is_given(
    loads: list[tuple[Any, dict[str, Any]]], world: Path, tmp_path: Path
):
    line = f"evaluate --model m --data_root {world}/wider --split train --out {tmp_path}"
    assert cli.main(f"{line}/one".split()) == 0
    assert cli.main(f"{line}/eight --batch 8".split()) == 0
    assert loads == [("m", {}), ("m", {"batch": 8})]
