"""Tests of `ssh-tf synth`, `records` and `inspect`."""

import json
from pathlib import Path

import pytest

from ssh_tf import cli


def test_synth_and_records_make_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root, out = str(tmp_path / "wider"), str(tmp_path / "records")
    line = f"synth --images 3 --seed 1 --width 160 --height 120 --out {root}"
    assert cli.main(line.split()) == 0
    assert capsys.readouterr().out.startswith(f"3 images in {root}\nNext: ssh-tf records ")
    assert cli.main(["records", "--wider_root", root, "--out", out, "--shards", "2"]) == 0
    assert "3 images, " in capsys.readouterr().out
    assert json.loads((tmp_path / "records" / "manifest.json").read_text())["images"] == 3
