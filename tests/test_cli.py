"""Tests of the command line: exit codes, one line per mistake, and what each command calls."""

import json
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssh_tf import cli
from ssh_tf.cli import terminal
from ssh_tf.config import PRESETS, ExportConfig
from ssh_tf.data.builder import build_records
from ssh_tf.data.readers.wider import split_layout
from ssh_tf.data.sources import open_wider
from ssh_tf.errors import InterruptedRunError
from ssh_tf.evaluation.curves import RocCurve
from ssh_tf.inference.detector import Detector
from ssh_tf.inference.results import Detections
from tests.small import encode, picture, small_config, write_wider

COMMANDS = (
    "demo",
    "synth",
    "records",
    "inspect",
    "plot",
    "train",
    "evaluate",
    "score",
    "detect",
    "export",
    "convert",
    "benchmark",
    "serve",
)


class Stub:
    """A detector that finds one face everywhere."""

    network = "network"
    config = small_config().detect

    def fingerprint(self) -> str:
        return "stub"

    def detect(self, image: np.ndarray) -> Detections:
        boxes = np.array([[10, 12, 30, 36]], np.float32)
        return Detections(boxes, np.array([0.9], np.float32), image.shape[:2], image)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """Makes every model load as `Stub`; lists what was asked for."""
    calls: list[tuple[Any, dict[str, Any]]] = []

    def load(path: Any, **settings: Any) -> Stub:
        calls.append((path, settings))
        return Stub()

    monkeypatch.setattr(Detector, "load", load)
    return calls


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the commands below are given, good and bad."""
    world = tmp_path_factory.mktemp("world")
    for name in ("empty", "unfinished", "images", "other_run"):
        (world / name).mkdir()
    (world / "file").write_text("hello")
    (world / "unknown.yaml").write_text("train: {stpes: 1}")
    modules = "[{name: m9, stride: 8, channels: 4, anchor_scales: [1], allowed_border: 0}]"
    (world / "other_run" / "config.yaml").write_text(f"model: {{modules: {modules}}}")
    (world / "good.yaml").write_text(
        f"model: {{weights: random}}\ndata: {{records: {world}/records}}"
    )
    (world / "images" / "good.jpg").write_bytes(encode(picture()))
    for name in ("wider", "wider_text", "wider_truncated", "wider_missing"):
        write_wider(world / name)
    image = "WIDER_train/images/0--Parade/a.jpg"
    (world / "wider_text" / image).write_text("hello")
    (world / "wider_truncated" / image).write_bytes(encode(picture())[:-300])
    (world / "wider_missing" / image).unlink()
    build_records(open_wider(world / "wider", "train"), world / "records", shards=1)
    return world


MISTAKES = [
    ("demo --config W/absent.yaml --out W/new", "absent.yaml does not exist"),
    ("demo --config W/unknown.yaml --out W/new", "unknown key `train.stpes`. Known keys here: "),
    ("demo --config W/good.yaml --out W/file", "Output folder W/file is not writable"),
    ("synth --images 0 --out W/new", "--images must be at least 1. Received: 0."),
    ("synth --images 1 --out W/file", "Output folder W/file is not writable"),
    ("synth --images 1 --out W/wider", "WIDER_train exists already"),
    ("records --out W/new", "Name --wider_root, or else --csv with --images."),
    ("records --csv W/file --out W/new", "--csv needs --images"),
    ("inspect W/empty", "W/empty has no manifest.json"),
    ("plot W/empty", "logs.csv has no rows yet"),
    ("records --wider_root W/absent --out W/new", "W/absent does not exist. Expected a folder"),
    ("records --wider_root W/empty --out W/new", "W/empty has no split 'train'"),
    ("records --wider_root W/wider --split val --out W/new", "Splits there: train."),
    ("records --wider_root W/wider_missing --out W/new", "a.jpg does not exist. Expected an im"),
    ("records --wider_root W/wider_truncated --out W/new", "a.jpg is truncated or corrupt"),
    ("records --wider_root W/wider_text --out W/new", "a.jpg is neither JPEG nor PNG"),
    ("records --wider_root W/wider --out W/file", "Output folder W/file is not writable"),
    ("records --wider_root W/wider --out W/records", "W/records already holds a data set"),
    ("records --wider_root W/wider --out W/new --shards 0", "--shards and --workers must be"),
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
    ("evaluate --model stub --data_root W/wider --out W/file", "Output folder W/file is not"),
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
    ("evaluate --model m --dataset fddb --data_root d --out o", "fddb needs --ground_truth"),
    ("detect --model W/absent --out W/new W/images", "W/absent does not exist"),
    ("detect --model W/file --out W/new W/images", "W/file is not a .keras file"),
    ("detect --model W/empty --out W/new W/images", "W/empty has neither model.keras nor"),
    ("detect --model W/file --shorter_px 0 --out W/new W/images", "`detect.shorter_px`: Input"),
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
    assert captured.err.startswith(f"ssh-tf {arguments[0]}: ")
    assert says.replace("W/", f"{world}/") in captured.err
    assert captured.err.endswith("\n")
    assert captured.err.count("\n") == 1


def test_every_command_has_its_mistakes_tested():
    assert {line.split()[0] for line, _ in MISTAKES} == set(COMMANDS)


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


def test_importing_the_command_line_does_not_import_tensorflow():
    code = (
        "import sys, ssh_tf.cli; print(*{'tensorflow', 'keras', 'cv2', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    "line",
    [
        "",
        "unknown",
        "synth",
        "synth --images many --out o",
        "score --dataset other --detections d --ground_truth g --out o",
        "train --config c --workdir w --epochs 3",
        "benchmark --sizes 400",
        "benchmark --sizes 0x400",
        "benchmark --runs 0",
    ],
)
def test_wrong_usage_exits_with_2(line: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        cli.main(line.split())
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: ssh-tf")


def test_help_lists_every_command_and_nothing_else(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("    ") and line[4] != " "]
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_its_help(command: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    assert f"usage: ssh-tf {command}" in capsys.readouterr().out


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.strip() == cli.__version__


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (
            OSError(28, "No space left on device", "a.tmp"),
            1,
            "a.tmp: No space left on device. Free some space, or name another folder.",
        ),
        (OSError("odd"), 1, "odd."),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_a_full_disk_and_ctrl_c_end_without_a_traceback(
    error: BaseException,
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("ssh_tf.data.sources.open_wider", fail)
    assert cli.main(["records", "--wider_root", "a", "--out", "b"]) == code
    assert capsys.readouterr().err.strip() == f"ssh-tf records: {says}"


def test_an_error_of_our_own_is_not_hidden(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("ssh_tf.data.sources.open_wider", fail)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["records", "--wider_root", "a", "--out", "b"])


def test_synth_and_records_make_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root, out = str(tmp_path / "wider"), str(tmp_path / "records")
    line = f"synth --images 3 --seed 1 --width 160 --height 120 --out {root}"
    assert cli.main(line.split()) == 0
    assert capsys.readouterr().out == f"3 images in {root}\n"
    assert cli.main(["records", "--wider_root", root, "--out", out, "--shards", "2"]) == 0
    assert "3 images, " in capsys.readouterr().out
    assert json.loads((tmp_path / "records" / "manifest.json").read_text())["images"] == 3


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
    line = f"evaluate --model m --dataset {dataset} --data_root d --ground_truth {world} --out o"
    assert cli.main(line.split()) == 0
    assert loads == [("m", dict(PRESETS[preset]) if preset else {})]


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        ("", {}),
        ("--shorter_px 400 --longer_px 800", {"shorter_px": 400, "longer_px": 800}),
        ("--pyramid", PRESETS["wider_pyramid"]),
        ("--preset fddb", {"shorter_px": 400, "longer_px": 800, "pyramid_px": ()}),
        ("--preset fddb --longer_px 900", {**PRESETS["fddb"], "longer_px": 900}),
        ("--score_threshold 0.2 --top_k 9", {"score_threshold": 0.2, "top_k": 9}),
    ],
)
def test_model_flags_reach_the_detector(
    flags: str,
    settings: dict[str, Any],
    loads: list[tuple[Any, dict[str, Any]]],
    world: Path,
    tmp_path: Path,
):
    line = f"detect --model m --out {tmp_path} {flags} {world}/images"
    assert cli.main(shlex.split(line)) == 0
    assert loads == [("m", settings)]


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
    assert capsys.readouterr().out == "Exported models/3\n"


def test_train_passes_file_and_overrides(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    calls = []

    def train(config: Any, workdir: str, **_: Any) -> str:
        calls.append((config.train.steps, config.train.seed, config.model.weights, workdir))
        return "run/model.keras"

    monkeypatch.setattr("ssh_tf.training.trainer.train", train)
    line = f"train --config {world}/good.yaml --workdir run --set train.steps=7 --set train.seed=5"
    assert cli.main(line.split()) == 0
    assert calls == [(7, 5, "random", "run")]
    assert capsys.readouterr().out == "Saved run/model.keras\n"


def test_a_training_that_a_signal_stopped_has_an_exit_code_of_its_own(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def train(*_: Any, **__: Any) -> str:
        raise InterruptedRunError("stopped by SIGTERM after step 3", signal.SIGTERM)

    monkeypatch.setattr("ssh_tf.training.trainer.train", train)
    assert cli.main(f"train --config {world}/good.yaml --workdir run".split()) == 143
    assert capsys.readouterr().err.endswith("ssh-tf train: stopped by SIGTERM after step 3\n")


def test_plot_names_its_picture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("ssh_tf.training.plot.plot_run", lambda *given: "/".join(given))
    assert cli.main(["plot", "run", "--out", "x.png"]) == 0
    assert capsys.readouterr().out == "Curves in run/x.png\n"


def test_progress_is_a_line_every_tenth_where_there_is_no_terminal(
    caplog: pytest.LogCaptureFixture,
):
    with caplog.at_level(logging.INFO, logger="ssh_tf"):
        tick = terminal.progress("records", 25)
        for _ in range(25):
            tick()
    counts = [message.split(",")[0] for message in caplog.messages]
    assert len(counts) == 10
    assert (counts[0], counts[-1]) == ("records: 3 of 25", "records: 25 of 25")


def test_benchmark_prints_a_row_per_size_and_a_json_line(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["benchmark", "--sizes", "48x64", "64x48", "--runs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[3:5]] == ["48x64", "64x48"]
    report = json.loads(lines[-1])
    assert [(row["height"], row["width"]) for row in report["results"]] == [(48, 64), (64, 48)]
    assert report["matrix_gflops"] > 0
