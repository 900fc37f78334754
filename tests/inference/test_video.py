"""Tests of detecting videos: frames, boxes, limits, and what is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from ssh_tf.errors import UserError
from ssh_tf.inference.results import Detections
from ssh_tf.inference.video import detect_video

FRAMES, HEIGHT, WIDTH = 5, 480, 640


class Brightest:
    """Finds one face, whose left border is the frame's mean brightness."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.seen = 0

    def detect(self, image: np.ndarray) -> Detections:
        if self.seen == self.stop_at:
            raise KeyboardInterrupt
        self.seen += 1
        left = image[..., 0].mean()  # red: the order of the channels matters
        boxes = np.array([[left, 10, 250, 90]], np.float32)
        return Detections(boxes, np.array([0.9], np.float32), image.shape[:2])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames at 10 per second; frame i has red 40 i, and no green or blue."""
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (WIDTH, HEIGHT))
    for i in range(FRAMES):
        frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        frame[..., 2] = 40 * i
        writer.write(frame)
    writer.release()
    return path


def read(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (frame := capture.read())[0]:
        frames.append(frame[1][..., ::-1])
    return frames


def test_each_frame_is_detected_and_drawn(clip: Path, tmp_path: Path):
    entries = detect_video(Brightest(), clip, tmp_path)
    assert [entry["frame"] for entry in entries] == [0, 1, 2, 3, 4]
    assert [entry["seconds"] for entry in entries] == [0.0, 0.1, 0.2, 0.3, 0.4]
    for i, entry in enumerate(entries):
        assert (entry["height"], entry["width"]) == (HEIGHT, WIDTH)
        (face,) = entry["faces"]
        assert face["box"][0] == pytest.approx(40 * i, abs=4)  # JPEG's loss
    frames = read(tmp_path / "clip.mp4")
    assert len(frames) == FRAMES
    assert frames[0][90, 200].argmax() == 1  # the lower border of the box is green
    assert frames[4][300, 600, 0] == pytest.approx(160, abs=8)


def test_frames_limits_how_many_are_read(clip: Path, tmp_path: Path):
    finder = Brightest()
    assert len(detect_video(finder, clip, tmp_path, frames=2)) == 2
    assert finder.seen == 2
    assert len(read(tmp_path / "clip.mp4")) == 2


def test_ctrl_c_keeps_the_frames_up_to_there(clip: Path, tmp_path: Path):
    assert len(detect_video(Brightest(stop_at=3), clip, tmp_path)) == 3
    assert len(read(tmp_path / "clip.mp4")) == 3


def test_progress_knows_the_number_of_frames(clip: Path, tmp_path: Path):
    stages, ticks = [], []

    def progress(stage: str, total: int):
        stages.append((stage, total))
        return lambda: ticks.append(1)

    detect_video(Brightest(), clip, tmp_path, progress=progress)
    assert (stages, len(ticks)) == ([("detect clip", FRAMES)], FRAMES)


@pytest.mark.parametrize("content", [b"", b"hello", b"RIFF\x00\x00\x00\x00AVI LIST"])
def test_a_broken_video_is_named_and_nothing_is_written(tmp_path: Path, content: bytes):
    (tmp_path / "bad.mp4").write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.mp4 (can't be opened as a video|gives no frame)"):
        detect_video(Brightest(), tmp_path / "bad.mp4", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


class Camera:
    """Gives grey frames of any size; OpenCV itself writes no video of odd sizes."""

    def __init__(self, height: int, width: int) -> None:
        self.frame = np.full((height, width, 3), 60, np.uint8)

    def isOpened(self) -> bool:  # noqa: N802  OpenCV's name
        return True

    def get(self, prop: int) -> float:
        return {cv2.CAP_PROP_FPS: 10.0}.get(prop, -1.0)

    def read(self) -> tuple[bool, np.ndarray]:
        return True, self.frame

    def release(self) -> None:
        pass


def test_a_camera_s_frames_have_the_time_of_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seconds = iter([100.0, 101.5, 104.25])
    with monkeypatch.context() as patch:
        patch.setattr(cv2, "VideoCapture", lambda number: Camera(HEIGHT, WIDTH))
        patch.setattr("ssh_tf.inference.video.time.monotonic", lambda: next(seconds))
        entries = detect_video(Brightest(), 7, tmp_path, frames=2)
    assert [entry["seconds"] for entry in entries] == [1.5, 4.25]
    assert len(read(tmp_path / "camera7.mp4")) == 2


@pytest.mark.parametrize(("height", "width"), [(481, 641), (65, 97), (3, 500), (1, 1)])
def test_frames_of_odd_sizes_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, height: int, width: int
):
    with monkeypatch.context() as patch:
        patch.setattr(cv2, "VideoCapture", lambda number: Camera(height, width))
        entries = detect_video(Brightest(), 0, tmp_path, frames=2)
    assert [(entry["height"], entry["width"]) for entry in entries] == [(height, width)] * 2
    (first, _) = read(tmp_path / "camera0.mp4")
    assert min(first.shape[:2]) > 0
    assert max(first.shape[:2]) >= 480


def test_a_missing_video_and_camera_are_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"absent\.mp4 does not exist"):
        detect_video(Brightest(), tmp_path / "absent.mp4", tmp_path)
    with pytest.raises(UserError, match=r"Camera 99 can't be opened"):
        detect_video(Brightest(), 99, tmp_path)


def test_the_video_itself_is_never_overwritten(clip: Path, tmp_path: Path):
    own = tmp_path / "own.mp4"
    own.write_bytes(clip.read_bytes())
    with pytest.raises(UserError, match="would overwrite the video itself"):
        detect_video(Brightest(), own, tmp_path)
    assert own.read_bytes() == clip.read_bytes()
