"""Tests of `ssh-tf detect`."""

import json
from pathlib import Path
from typing import Any

import pytest

from ssh_tf import cli


@pytest.mark.usefixtures("loads")
def test_detect_draws_and_says_how_many_faces(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out, faces = tmp_path / "out", tmp_path / "faces.json"
    line = f"detect --model m --out {out} --json {faces} {world}/images"
    assert cli.main(line.split()) == 0
    assert capsys.readouterr().out == f"1 faces drawn in 1 pictures in {out}\n"
    assert (out / "good.jpg").exists()
    assert len(json.loads(faces.read_text())[0]["faces"]) == 1


def test_detect_reports_unreadable_images_and_does_the_others(
    loads: list[tuple[Any, dict[str, Any]]],
    world: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    del loads
    images = f"{world}/text.jpg {world}/truncated.jpg {world}/images"
    out = f"--out {tmp_path}/out --json {tmp_path}/faces.json --wider {tmp_path}/wider"
    assert cli.main(f"detect --model m {out} {images}".split()) == 1
    printed = capsys.readouterr()
    assert printed.out == f"1 faces drawn in 1 pictures in {tmp_path}/out\n"
    assert printed.err.endswith("\nssh-tf detect: 2 of 3 images can't be read, see above.\n")
    entries = json.loads((tmp_path / "faces.json").read_text())
    assert [sorted(entry) for entry in entries[:2]] == [["error", "image"]] * 2
    assert [face["box"] for face in entries[2]["faces"]] == [[10, 12, 30, 36]]
    written = {path.name: path.read_text().splitlines() for path in (tmp_path / "wider").iterdir()}
    assert len(written) == 3
    assert written["text.txt"][1] == "0"
    assert "10 12 20 24 0.9 " in [line for lines in written.values() for line in lines]
