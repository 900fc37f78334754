"""Tests of written videos: times, sizes, sound, and that they are whole or absent."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssh_tf.errors import UserError
from ssh_tf.inference.recording import Recording, plain_path

HEIGHT, WIDTH = 48, 64


def gray(level: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def record(path: Path, times: Sequence[float], rate: float = 10.0) -> list[int]:
    """Writes pictures of gray 40, 80, ... and returns the levels of the file's frames."""
    with Recording(path, rate, None) as recording:
        for i, seconds in enumerate(times):
            recording.add(gray(40 * (i % 6 + 1)), seconds)
    return [40 * round(frame.mean() / 40) for frame in frames(path)]


def frames(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    found = []
    while (frame := capture.read())[0]:
        found.append(frame[1])
    return found


@pytest.mark.parametrize(
    ("times", "levels"),
    [
        pytest.param([0, 0.1, 0.2], [40, 80, 120], id="regular"),
        pytest.param([0.0], [40], id="one"),
        pytest.param([0, 0.1, 0.4, 0.5], [40, 80, 80, 80, 120, 160], id="a-gap-is-filled"),
        pytest.param([0, 0.09, 0.21, 0.3], [40, 80, 120, 160], id="trembling"),
        pytest.param([0, 0.1, 0.11, 0.12], [40, 80, 120, 160], id="too-dense-ones-are-kept"),
        pytest.param([5, 5.1, 5.2], [40, 80, 120], id="a-late-start"),
    ],
)
def test_pictures_stand_at_their_times(tmp_path: Path, times: list[float], levels: list[int]):
    assert record(tmp_path / "a.mp4", times) == levels


def test_a_stated_rate_that_is_only_a_mean_is_not_used(tmp_path: Path):
    """Pictures at 20 per second, then a second without any: 7 in 1.3 s, about 5 per second."""
    dense = [i / 20 for i in range(5)]
    count = len(record(tmp_path / "a.mp4", [*dense, 1.2, 1.25], rate=4.7))
    assert cv2.VideoCapture(str(tmp_path / "a.mp4")).get(cv2.CAP_PROP_FPS) == 20
    assert count == 26  # 1.25 s x 20, and the last one


def test_a_damaged_time_does_not_fill_the_disk(tmp_path: Path):
    assert len(record(tmp_path / "a.mp4", [0, 0.1, 1e9, 1e9 + 0.1])) == 1 + 100 + 1 + 1


@pytest.mark.parametrize("rate", [119.8801, 29.97003, 1 / 3, 90_000.0, 59.94006])
def test_every_rate_can_be_written(tmp_path: Path, rate: float):
    assert len(record(tmp_path / "a.mp4", [0, 1 / rate], rate=rate)) >= 2


def test_pictures_of_another_size_are_scaled(tmp_path: Path):
    with Recording(tmp_path / "a.mp4", 10, None) as recording:
        recording.add(gray(100), 0)
        recording.add(gray(100, 2 * HEIGHT, WIDTH), 0.1)
    assert [frame.shape for frame in frames(tmp_path / "a.mp4")] == [(HEIGHT, WIDTH, 3)] * 2


def test_without_pictures_there_is_no_file(tmp_path: Path):
    with Recording(tmp_path / "sub" / "a.mp4", 10, None):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_exception_keeps_the_pictures_up_to_there(tmp_path: Path):
    def interrupted() -> None:
        with Recording(tmp_path / "a.mp4", 10, None) as recording:
            recording.add(gray(40), 0)
            recording.add(gray(80), 0.1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(frames(tmp_path / "a.mp4")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_frames_that_were_not_written_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As on a full disk, of which OpenCV says nothing."""

    writer = cv2.VideoWriter

    class Full:
        fourcc = writer.fourcc

        def __init__(self, *arguments: object) -> None:
            self.isOpened = lambda: True
            self.write = lambda image: None
            self.release = writer(*arguments).release

    monkeypatch.setattr("ssh_tf.inference.recording.cv2.VideoWriter", Full)
    with pytest.raises(UserError, match="0 of 2 frames could be written"):
        record(tmp_path / "a.mp4", [0, 0.1])
    assert list(tmp_path.iterdir()) == []


def test_a_plain_path_leads_to_a_file_of_any_name(tmp_path: Path):
    odd = tmp_path / "a:%d\udcff.mp4"
    odd.write_text("content")
    with plain_path(odd) as path:
        assert path.read_text() == "content"
        assert path.suffix == ".mp4"
        assert not set(str(path)) & set(":%\udcff")
    assert odd.exists()


FFMPEG = """#!/bin/sh
echo "$@" >> "{log}"
case "$*" in *"-c:a {fails}"*) echo no such codec >&2; exit 1;; esac
for last; do :; done
printf sound > "${{last#file:}}"
"""


@pytest.mark.parametrize(
    ("fails", "result", "calls"),
    [("nothing", True, 1), ("copy", True, 2), ("", False, 2)],
    ids=["copied", "encoded", "failed"],
)
def test_the_sound_is_copied_or_encoded_or_said_to_be_missing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fails: str,
    result: bool,
    calls: int,
):
    tool = tmp_path / "bin" / "ffmpeg"
    tool.parent.mkdir()
    tool.write_text(FFMPEG.format(log=tmp_path / "log", fails=fails))
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=os.pathsep)
    path = tmp_path / "a.mp4"
    with Recording(path, 10, tmp_path / "source.mp4") as recording:
        recording.add(gray(40), 0)
    assert (path.read_bytes() == b"sound") is result
    assert ("has no sound, since ffmpeg failed: no such codec" in caplog.text) is not result
    commands = (tmp_path / "log").read_text().splitlines()
    assert len(commands) == calls
    assert f"-i file:{tmp_path}/source.mp4" in commands[0]
    assert "-map_metadata -1 -map_metadata:s -1" in commands[0]


def test_without_ffmpeg_the_missing_sound_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with Recording(tmp_path / "a.mp4", 10, tmp_path / "source.mp4") as recording:
        recording.add(gray(40), 0)
    assert "has no sound, since ffmpeg is not installed" in caplog.text
    assert len(frames(tmp_path / "a.mp4")) == 1
