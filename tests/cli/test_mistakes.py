"""Tests of what a user does wrong: one line, exit code 1."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ssh_tf import cli
from ssh_tf.data.readers.wider import split_layout
from tests.support.commands import COMMANDS

LOG_LINE = re.compile(r"[IW]\d{4} \S+ \d+ \w+\.py:\d+\] ")

MISTAKES = [
    ("demo --config W/absent.yaml --out W/new", "absent.yaml does not exist"),
    ("demo --config W/unknown.yaml --out W/new", "unknown key `train.stpes`. Known keys here: "),
    ("demo --config W/good.yaml --out W/file", "Output folder W/file/pictures is not"),
    ("synth --images 1 --width 9 --out W/new", "width and height must be at least"),
    ("synth --images 1 --out W/file", "Output folder W/file is not writable"),
    ("synth --images 1 --out W/wider", "WIDER_train exists already"),
    ("records --out W/new", "Name --wider_root, or else --csv, --coco"),
    ("records --csv W/file --out W/new", "--csv needs --images"),
    ("inspect W/empty", "W/empty has no manifest.json"),
    ("plot W/empty", "logs.csv has no rows yet"),
    ("records --wider_root W --images W --out W/new", "--images can't be used with --wider_root"),
    ("records --csv W/file --images W --class a --out W/new", "--class can't be used with --csv"),
    ("records --coco W/file --out W/new", "--coco needs --images"),
    ("records --yolo W/file --images W/wider --out W/new", "W/file is a file, not a folder"),
    ("records --wider_root W/absent --out W/new", "W/absent does not exist. Expected a folder"),
    ("records --wider_root W/empty --out W/new", "W/empty has no split 'train'"),
    ("records --wider_root W/wider --split val --out W/new", "Splits there: train."),
    ("records --wider_root W/wider_missing --out W/new", "a.jpg does not exist. Expected an im"),
    ("records --wider_root W/wider_truncated --out W/new", "a.jpg is truncated or corrupt"),
    ("records --wider_root W/wider_text --out W/new", "a.jpg is neither JPEG nor PNG"),
    ("records --wider_root W/wider --out W/file", "Output folder W/file is not writable"),
    ("records --wider_root W/wider --out W/records", "W/records already holds a data set"),
    ("train --config W/absent.yaml --workdir W/new", "absent.yaml does not exist"),
    ("train --config W/unknown.yaml --workdir W/new", "unknown key `train.stpes`. Known keys"),
    ("train --config W/good.yaml --set train.steps=ten --workdir W/new", "`train.steps`: Input"),
    ("train --config W/good.yaml --set steps --workdir W/new", "must have the form a.b=c"),
    ("train --config W/good.yaml --workdir W/file", "Output folder W/file is not writable"),
    ("train --config W/good.yaml --workdir W/other_run", "holds a run of another architecture"),
    (
        "train --config W/good.yaml --set data.records=W/unfinished --workdir W/new",
        "W/unfinished has no manifest.json",
    ),
    ("evaluate --model W/absent --data_root W/wider --out W/new", "W/absent does not exist"),
    ("evaluate --model stub --data_root W/absent --out W/new", "W/absent does not exist"),
    ("evaluate --model stub --data_root W/wider --out W/new", "no split 'val'"),
    (
        "evaluate --model stub --data_root W/wider --split train --out W/file",
        "Output folder W/file is not",
    ),
    (
        "evaluate --model stub --data_root W/wider --split train --out W/new "
        "--ground_truth W/empty",
        "wider_face_val.mat does not exist",
    ),
    ("score --detections W/absent --ground_truth W/gt.txt --out W/new", "W/absent does not exist"),
    ("score --detections W/empty --ground_truth W/gt.txt --out W/new", "has no result files"),
    ("score --detections W/empty --ground_truth W/absent --out W/new", "W/absent does not exist"),
    ("score --detections W/empty --ground_truth W/gt.txt --out W/file", "W/file is not writable"),
    ("detect --model stub --out W/new W/absent.jpg", "W/absent.jpg does not exist"),
    ("detect --model m --out o --pyramid --shorter_px 9 W/images", "--pyramid has its own scales"),
    (
        "detect --model m --out o --preset wider_pyramid --longer_px 9 W/images",
        "--preset wider_pyramid has its own scales. Remove --longer_px.",
    ),
    ("detect --model m --out o --pyramid --preset fddb W/images", "is --preset wider_pyramid, not"),
    ("evaluate --model m --dataset fddb --data_root d --out o", "fddb needs --ground_truth"),
    (
        "evaluate --model m --dataset afw --split val --data_root d --ground_truth g --out o",
        "--split is of no use with --dataset afw",
    ),
    (
        "score --dataset fddb --operating_score 0.7 --detections d --ground_truth g --out o",
        "--operating_score is of no use with --dataset fddb",
    ),
    (
        "score --dataset pascal --images i --detections d --ground_truth g --out o",
        "--images is of no use with --dataset pascal",
    ),
    ("detect --model W/absent --out W/new W/images", "W/absent does not exist"),
    ("detect --model W/file --out W/new W/images", "W/file is not a .keras file"),
    ("detect --model W/empty --out W/new W/images", "W/empty has neither model.keras nor"),
    ("export --model W/absent --out W/new", "W/absent does not exist"),
    ("benchmark --model W/absent", "W/absent does not exist"),
    ("serve --model_dir W/absent", "W/absent does not exist. Expected a folder with the versions"),
    ("export --model stub --out W/file", "Output folder W/file is not writable"),
    ("convert --caffemodel W/absent --out W/new/a.keras", "W/absent does not exist"),
]


@pytest.mark.parametrize(("line", "says"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_one_line_on_stderr_and_exit_code_1(
    line: str,
    says: str,
    world: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
):
    if "--model stub" in line:
        request.getfixturevalue("loads")
    truth = split_layout(world / "wider", "train").annotations
    arguments = line.replace("W/gt.txt", str(truth)).replace("W/", f"{world}/").split()
    assert cli.main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (error,) = (line for line in captured.err.splitlines() if not LOG_LINE.match(line))
    assert error.startswith(f"ssh-tf {arguments[0]}: ")
    assert says.replace("W/", f"{world}/") in error
    assert captured.err.endswith(f"{error}\n")


def test_serve_without_its_extra_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("ssh_tf.cli.serve._EXTRA", ("sys", "absent_one", "absent_two"))
    assert cli.main(["serve"]) == 1
    says = "serve needs absent_one, absent_two. Install it: pip install 'ssh-tf[serving]'"
    assert capsys.readouterr().err == f"ssh-tf serve: {says}\n"


def test_every_command_has_its_mistakes_tested():
    assert {line.split()[0] for line, _ in MISTAKES} == set(COMMANDS) - {
        "models"
    }  # It has no flags.


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs the program as a user does: a process of its own, no log level set."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL"}
    environment = {key: value for key, value in os.environ.items() if key not in quiet}
    return subprocess.run(
        [sys.executable, "-m", "ssh_tf.cli", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


@pytest.mark.slow
def test_a_truncated_jpeg_is_one_line_in_a_real_process_too(world: Path, tmp_path: Path):
    root, out = world / "wider_truncated", tmp_path / "out"
    done = run("records", "--wider_root", str(root), "--out", str(out))
    assert (done.returncode, done.stdout) == (1, "")
    *progress, line = done.stderr.splitlines()
    assert line.startswith(f"ssh-tf records: {root}/WIDER_train/images/0--Parade/a.jpg is trunc")
    assert all(
        re.fullmatch(r"\S+ records: \d of 4, \d+ s, \d+ s left", other) for other in progress
    )


def test_an_unknown_key_is_one_line_in_a_real_process_too(world: Path, tmp_path: Path):
    done = run("train", "--config", str(world / "unknown.yaml"), "--workdir", str(tmp_path / "out"))
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "unknown key `train.stpes`" in line
    assert not (tmp_path / "out").exists()
