"""Tests of `ssh-tf benchmark`: which rows there are, and what is refused or left out."""

import json
from pathlib import Path
from typing import Any

import pytest

from ssh_tf import cli
from ssh_tf.errors import UserError
from ssh_tf.inference.benchmark import cases, memory, timing
from ssh_tf.inference.benchmark.cases import Spec
from tests.inference.benchmark.test_timing import Stub


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Spec]:
    """Loads stand-ins, which take no time; lists what was asked for."""
    asked: list[Spec] = []

    def load(spec: Spec) -> Stub:
        asked.append(spec)
        if spec.precision == "bfloat16":
            raise UserError("This runtime has no bfloat16.")
        stages = {"decode": 0.0, "resize": 0.0, "boxes": 0.0, "network": 0.0, "end_to_end": 0.0}
        return Stub([0.0], stages, spec)

    def peaks(case: Any, spec: Spec, sizes: list[tuple[int, int]]) -> dict[tuple[int, int], float]:
        return dict.fromkeys(sizes, 512.0)

    monkeypatch.setattr(cases, "load_case", load)
    monkeypatch.setattr(memory, "peak_memory", peaks)
    monkeypatch.setattr(timing, "matrix_flops_per_second", lambda: 1e12)
    monkeypatch.setattr("ssh_tf.inference.runtimes.choice.installed_variants", lambda: VARIANTS)
    return asked


VARIANTS = [("tensorflow", "float32"), ("tensorflow", "bfloat16"), ("openvino", "float32")]


def run(line: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert cli.main(f"benchmark --runs 1 {line}".split()) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])["results"]


@pytest.mark.usefixtures("loaded")
def test_there_is_a_row_per_size_and_a_json_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(f"benchmark --sizes 48x64 64x48 --runs 1 --out {tmp_path}/out".split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("1,000 GFLOP/s in a matrix product of 2048 x 2048, float32")
    assert lines[2].startswith("model  runtime     precision")
    assert [line.split()[:4] for line in lines[3:5]] == [
        ["vgg16", "tensorflow", "float32", "48x64"],
        ["vgg16", "tensorflow", "float32", "64x48"],
    ]
    report = json.loads(lines[-1])
    assert [(row["height"], row["width"]) for row in report["results"]] == [(48, 64), (64, 48)]
    assert report["matrix_gflops"] == 1000
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("benchmark.csv", "benchmark.md", "benchmark.png")
    }


def test_all_is_every_model_in_every_variant_with_peers_last(
    loaded: list[Spec], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    line = "--model light,vgg16 --runtime all --precision all --batch 1 4 --peer a.onnx b.onnx"
    rows = run(f"{line} --sizes 48x64", capsys)
    names = [(row["model"], row["runtime"], row["precision"], row["batch"]) for row in rows]
    assert names[:3] == [
        ("light", "tensorflow", "float32", 1),
        ("light", "tensorflow", "float32", 4),
        ("light", "openvino", "float32", 1),
    ]
    assert [name[0] for name in names[3:]] == ["vgg16"] * 3 + ["a.onnx", "b.onnx"]
    assert len(loaded) == 12
    assert "Left out: tensorflow, bfloat16: This runtime has no bfloat16." in caplog.text


def test_all_of_one_kind_is_limited_by_the_other(
    loaded: list[Spec], capsys: pytest.CaptureFixture[str]
):
    rows = run("--runtime all --sizes 48x64", capsys)
    assert [(row["runtime"], row["precision"]) for row in rows] == [
        ("tensorflow", "float32"),
        ("openvino", "float32"),
    ]
    assert len(loaded) == 2


@pytest.mark.usefixtures("loaded")
def test_mistakes_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def refused(line: str) -> str:
        assert cli.main(f"benchmark {line}".split()) == 1
        return capsys.readouterr().err

    assert "This runtime has no bfloat16." in refused("--precision bfloat16")
    assert "There is nothing to time." in refused("--runtime all --precision float16")
    assert "holds no image" in refused(f"--photos {tmp_path}")
