"""Tests of `ssh-tf synth`, `records` and `inspect`."""

import json
from pathlib import Path

import pytest

from ssh_tf import cli
from tests.support.small import encode, picture


def test_synth_and_records_make_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root, out = str(tmp_path / "wider"), str(tmp_path / "records")
    line = f"synth --images 3 --seed 1 --width 160 --height 120 --out {root}"
    assert cli.main(line.split()) == 0
    assert capsys.readouterr().out.startswith(f"3 images in {root}\nNext: ssh-tf records ")
    assert cli.main(["records", "--wider_root", root, "--out", out, "--shards", "2"]) == 0
    assert "3 images, " in capsys.readouterr().out
    assert json.loads((tmp_path / "records" / "manifest.json").read_text())["images"] == 3


def test_a_build_tells_what_is_not_in_it_and_a_second_one_that_it_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "a.png").write_bytes(encode(picture(), ".png"))
    (tmp_path / "b.png").write_bytes(b"no image")
    (tmp_path / "boxes.csv").write_text(
        "image,x1,y1,x2,y2\na.png,1,2,31,42\na.png,9,9,9,9\nb.png,1,2,3,4\n"
    )
    line = f"records --csv {tmp_path / 'boxes.csv'} --images {tmp_path} --out {tmp_path / 'out'}"
    assert cli.main(f"{line} --on_error skip".split()) == 1
    error = capsys.readouterr().err
    assert "1 of 3 boxes have no pixel in their image" in error
    assert "boxes.csv:3: its width or height is 0. Fix them, or set allow_lost." in error
    for _ in range(2):
        assert cli.main(f"{line} --on_error skip --allow_lost".split()) == 0
        out = capsys.readouterr().out
        assert f"left out: {tmp_path / 'b.png'} is neither JPEG nor PNG" in out
        assert f"lost box: {tmp_path / 'boxes.csv'}:3: its width or height is 0" in out
        assert "1 images, 1 of 3 annotated faces" in out
        assert "Next: ssh-tf inspect" in out
