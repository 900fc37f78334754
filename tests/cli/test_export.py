"""Tests of `ssh-tf export` and `convert`."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from ssh_tf import cli
from ssh_tf.config import ExportConfig
from tests.support.commands import Stub


def test_export_passes_model_and_rows_and_prints_the_version(
    loads: list[tuple[Any, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    calls = []

    def export(*arguments: Any, **options: Any) -> str:
        calls.append((arguments, options))
        return "models/3"

    monkeypatch.setattr("ssh_tf.export.savedmodel.export_savedmodel", export)
    flags = "--max_detections 9 --max_pixels 99 --max_bytes 77 --float16 --as_stored --version 5"
    assert cli.main(f"export --model m --out models {flags}".split()) == 0
    options = ExportConfig(max_pixels=99, max_bytes=77, float16=True, upright=False, version=5)
    assert calls == [((Stub.network, Stub.config, "models", options), {})]
    assert loads == [("m", {"max_detections": 9})]  # which reaches the rows by its configuration
    assert capsys.readouterr().out == "Exported models/3\nNext: ssh-tf serve --model_dir models\n"


def test_other_formats_are_written_by_their_own_function(
    loads: list[tuple[Any, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def export(network: Any, config: Any, out: str) -> str:
        assert (network, config) == (Stub.network, Stub.config)
        return out

    monkeypatch.setattr("ssh_tf.inference.runtimes.choice.require_runtime", lambda name: None)
    monkeypatch.setitem(sys.modules, "ssh_tf.export.onnx", SimpleNamespace(export_onnx=export))
    assert cli.main(["export", "--model", "m", "--format", "onnx", "--precision", "bfloat16"]) == 0
    assert capsys.readouterr().out == "Exported export/ssh.onnx\n"
    assert loads == [("m", {"precision": "bfloat16"})]


def test_int8_is_made_by_the_export_alone(
    loads: list[tuple[Any, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
):
    """A detector that is loaded in int8 would be calibrated for nothing."""
    configs = []
    monkeypatch.setattr("ssh_tf.inference.runtimes.choice.require_runtime", lambda name: None)
    stub = SimpleNamespace(export_onnx=lambda network, config, out: configs.append(config))
    monkeypatch.setitem(sys.modules, "ssh_tf.export.onnx", stub)
    flags = "--format onnx --precision int8 --calibration photos"
    assert cli.main(f"export --model m {flags}".split()) == 0
    assert loads == [("m", {})]
    wanted = {"precision": "int8", "calibration": "photos"}
    assert configs == [Stub.config.model_copy(update=wanted)]


def test_flags_of_the_savedmodel_are_refused_for_other_formats(capsys: pytest.CaptureFixture[str]):
    assert (
        cli.main(["export", "--model", "m", "--format", "onnx", "--float16", "--version", "2"]) == 1
    )
    message = "--version and --float16 belong to --format savedmodel alone. Remove them."
    assert message in capsys.readouterr().err
