"""Tests of `ssh-tf benchmark`."""

import json
from pathlib import Path

import pytest

from ssh_tf import cli


def test_benchmark_prints_a_row_per_size_and_a_json_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    line = f"benchmark --sizes 48x64 64x48 --runs 1 --csv {tmp_path}/table.csv"
    assert cli.main(line.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[3:5]] == [
        ["tensorflow", "float32", "48x64"],
        ["tensorflow", "float32", "64x48"],
    ]
    header, first, second = (tmp_path / "table.csv").read_text().splitlines()
    assert header.startswith("runtime,precision,height,width,network,end_to_end,flops,faces,ratio,")
    assert first.startswith("tensorflow,float32,48,64,")
    assert second.startswith("tensorflow,float32,64,48,")
    report = json.loads(lines[-1])
    assert [(row["height"], row["width"]) for row in report["results"]] == [(48, 64), (64, 48)]
    assert report["matrix_gflops"] > 0
