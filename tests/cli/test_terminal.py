"""Tests of what a person sees."""

import io
import itertools
import logging
import os
import sys
from collections.abc import Callable

import pytest
from tqdm import tqdm

from ssh_tf.cli import terminal


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Öl 顔.jpg", "Öl 顔.jpg"),
        ("\x1b[2J.jpg", r"\x1b[2J.jpg"),  # clears the screen
        ("a\nssh-tf: all is well", r"a\nssh-tf: all is well"),
        ("a\rb\tc\x07", r"a\rb\tc\x07"),
        ("\x9b31m", r"\x9b31m"),  # the C1 form of ESC [
        ("a\u202egpj.exe", r"a\u202egpj.exe"),  # turns the direction of what follows
        ("a\u2028b", r"a\u2028b"),
        (os.fsdecode(b"\xff.jpg"), r"\udcff.jpg"),
    ],
)
def test_a_name_is_one_line_of_printable_signs(name: str, shown: str):
    assert terminal.printable(name) == shown


def test_names_are_safe_on_both_streams_and_in_the_log(capsys: pytest.CaptureFixture[str]):
    terminal.start_output()
    name = "a\x1b[2J\nb" + os.fsdecode(b"\xff")
    terminal.say(name)
    terminal.complain(name)
    logging.getLogger("ssh_tf.x").warning("%s", name)
    out, err = capsys.readouterr()
    assert out == "a\\x1b[2J\\nb\\udcff\n"
    assert err.startswith(out)
    assert err.endswith(f"] {out}")
    assert err.count("\n") == 2


def test_a_stream_that_knows_no_umlauts_shows_their_codes(monkeypatch: pytest.MonkeyPatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.start_output()
    terminal.say("Öl")
    assert stream.buffer.getvalue() == b"\\xd6l\n"


def test_the_work_goes_on_when_nobody_reads():
    reader, writer = os.pipe()
    os.close(reader)
    stdout = sys.stdout
    with os.fdopen(writer, "w") as sys.stdout:
        terminal.say("one")
        terminal.say("two")
    sys.stdout = stdout


def test_the_next_command_can_be_pasted(capsys: pytest.CaptureFixture[str]):
    terminal.next_command("inspect", "my records")
    assert capsys.readouterr().out == "Next: ssh-tf inspect 'my records'\n"


def play_terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Puts a terminal in place of stderr."""
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_bars_and_lines_never_share_a_line(monkeypatch: pytest.MonkeyPatch):
    screen = play_terminal(monkeypatch)
    terminal.start_output()
    tick = terminal.progress("records", 3)
    tick()
    logging.getLogger("ssh_tf.x").warning("a line")
    terminal.complain("an error")
    written = screen.getvalue()
    for text in ("] a line", "an error"):
        line = next(line for line in written.split("\n") if text in line)
        shown = line.rpartition("\r")[2]  # what a carriage return leaves of the line
        assert "records" not in shown
        assert shown.endswith(text)
    assert not terminal._bars


def test_training_continues_its_bar(monkeypatch: pytest.MonkeyPatch):
    screen = play_terminal(monkeypatch)
    on_step = terminal.training_progress(8)
    on_step(6, {})
    on_step(7, {"loss": 0.5})
    on_step(8, {})
    assert "8/8" in screen.getvalue()
    assert "loss=0.5" in screen.getvalue()
    assert not list(tqdm._instances)


def clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Callable[[], float]:
    """Makes every look at the clock take so long."""
    times = itertools.count()
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(times) * seconds)
    return terminal.time.monotonic


@pytest.mark.parametrize(
    ("seconds", "counts"),
    [
        (0.1, []),  # 2.5 s in all: nothing to wonder about
        (1.0, [5, 10, 15, 20, 25]),
        (10.0, [1, 2, 3, 4, 6, 8, 11, 15, 20, 25]),  # less and less often
    ],
)
def test_without_a_terminal_long_work_has_lines(
    seconds: float,
    counts: list[int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    clock(monkeypatch, seconds)
    with caplog.at_level(logging.INFO, logger="ssh_tf"):
        tick = terminal.progress("records", 25)
        for _ in range(25):
            tick()
    assert [message.split(",")[0] for message in caplog.messages] == [
        f"records: {count} of 25" for count in counts
    ]


def test_work_of_unknown_length_has_lines_without_an_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    clock(monkeypatch, 6.0)
    with caplog.at_level(logging.INFO, logger="ssh_tf"):
        terminal.progress("camera", 0)()
    assert caplog.messages == ["camera: 1, 6 s"]


def test_training_says_early_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    clock(monkeypatch, 60.0)
    with caplog.at_level(logging.INFO, logger="ssh_tf"):
        on_step = terminal.training_progress(1000)
        for step in (11, 12, 13):
            on_step(step, {})
        on_step(14, {"loss": 0.5})
    # A minute an update: 987 and 986 minutes.
    assert caplog.messages == [
        "step 13 of 1000: about 16 h left",
        "step 14 of 1000: loss=0.5, 16 h left",
    ]


def test_a_continued_run_with_one_update_ends_with_no_time_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    clock(monkeypatch, 60.0)
    with caplog.at_level(logging.INFO, logger="ssh_tf"):
        terminal.training_progress(4)(4, {"loss": 0.5})
    assert caplog.messages == ["step 4 of 4: loss=0.5, 0 s left"]
