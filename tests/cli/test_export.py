"""Tests of `ssh-tf export` and `convert`."""

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
