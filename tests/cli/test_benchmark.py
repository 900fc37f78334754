"""Tests of `ssh-tf benchmark`."""

import json

import pytest

from ssh_tf import cli


def test_benchmark_prints_a_row_per_size_and_a_json_line(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["benchmark", "--sizes", "48x64", "64x48", "--runs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[3:5]] == ["48x64", "64x48"]
    report = json.loads(lines[-1])
    assert [(row["height"], row["width"]) for row in report["results"]] == [(48, 64), (64, 48)]
    assert report["matrix_gflops"] > 0
