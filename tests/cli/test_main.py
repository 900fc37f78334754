"""Tests of the program itself: usage, help, exit codes."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ssh_tf import cli
from ssh_tf.cli.flags import parse
from tests.support.commands import COMMANDS


def test_importing_the_command_line_does_not_import_tensorflow():
    code = (
        "import sys, ssh_tf.cli; print(*{'tensorflow', 'keras', 'cv2', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(("line", "help_of"), [("", "ssh-tf"), ("synth", "ssh-tf synth")])
def test_what_is_missing_is_explained_by_help(
    line: str, help_of: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as stop:
        cli.main(line.split())
    assert stop.value.code == 2
    assert capsys.readouterr().err.endswith(f". {help_of} --help tells more.\n")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "unknown",
        "synth",
        "synth --images many --out o",
        "synth --images 0 --out o",
        "records --wider_root w --out o --shards 0",
        "records --wider_root w --out o --workers -1",
        "score --dataset other --detections d --ground_truth g --out o",
        "train --config c --workdir w --epochs 3",
        "benchmark --sizes 400",
        "benchmark --sizes 0x400",
        "benchmark --runs 0",
        "detect --model m --shorter_px 0 --out o a.jpg",
        "detect --model m --top_k 99999999999 --out o a.jpg",
        "detect --model m --score_threshold nan --out o a.jpg",
        "detect --model m --max_detections 1e3 --out o a.jpg",
        "plot run --verbosity loud",
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
    shown = capsys.readouterr().out
    assert f"usage: ssh-tf {command}" in shown
    assert "--verbosity" in shown
    example = shown.rpartition("example:\n  ssh-tf ")[2]
    assert cli.parser().parse_args(example.split()).command == command


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


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("trian", "Did you mean train?"),
        ("plot --otu x run", "Did you mean --out?"),
        ("plot run --shoter-px=9", "unrecognized arguments: --shoter_px=9"),
        ("export --model m --preset pascla", "Did you mean pascal?"),
        ("plot a b", "unrecognized arguments: b"),
        ("plot --\x1b[2J run", r"unrecognized arguments: --\x1b[2J"),
    ],
)
def test_a_word_that_nobody_knows_is_answered_with_the_nearest(
    line: str, hint: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as stop:
        cli.main(line.split())
    assert stop.value.code == 2
    assert hint in capsys.readouterr().err.splitlines()[-1]


def test_a_flag_may_have_dashes_and_its_value_keeps_them(monkeypatch: pytest.MonkeyPatch):
    given = []
    monkeypatch.setattr("ssh_tf.training.plot.plot_run", lambda *a: given.append(a))
    assert cli.main(["plot", "run-1", "--out=a-b.png"]) == 0
    assert given == [("run-1", "a-b.png")]
    words = ["evaluate", "--model", "m", "--data-root", "d", "--ground-truth=g-t", "--out", "o"]
    arguments = parse(cli.parser(), words)
    assert (arguments.data_root, arguments.ground_truth) == ("d", Path("g-t"))


@pytest.mark.parametrize(("flag", "level"), [([], 20), (["-v", "1"], 10), (["--verbosity=-1"], 30)])
def test_verbosity_decides_which_lines_are_shown(
    flag: list[str], level: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ssh_tf.training.plot.plot_run", lambda *_: None)
    assert cli.main(["plot", "run", *flag]) == 0
    assert logging.getLogger("ssh_tf.data").getEffectiveLevel() == level
    assert level == 10 or not logging.getLogger("absl").isEnabledFor(logging.INFO)
