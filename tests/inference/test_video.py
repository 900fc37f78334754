"""Tests of detecting videos: frames, boxes, limits, and what is refused."""

import itertools
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ssh_tf.errors import UserError
from ssh_tf.inference.contract import FaceDetector
from ssh_tf.inference.gallery import Outputs
from ssh_tf.inference.video import LostFaces, check_videos, detect_video
from ssh_tf.inference.writers import Entry
from ssh_tf.progress import silent

FRAMES, HEIGHT, WIDTH = 5, 480, 640


class Brightest(FaceDetector):
    """Finds one face, whose left border is the frame's mean brightness."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.seen = 0

    def find(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.seen == self.stop_at:
            raise KeyboardInterrupt
        self.seen += 1
        left = pixels[..., 0].mean()  # red: the order of the channels matters
        return np.array([[left, 10, 250, 90]], np.float32), np.array([0.9], np.float32)

    def fingerprint(self) -> str:
        return "brightest"

    def __repr__(self) -> str:
        return "Brightest()"


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


def detect(source: Path | int, out: Path | None, **settings: Any) -> list[Entry]:
    finder = settings.pop("finder", None) or Brightest()
    frames, progress = settings.pop("frames", None), settings.pop("progress", silent)
    outputs = Outputs(pictures=out, **settings)
    return list(detect_video(finder, source, outputs, frames=frames, progress=progress))


def read(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (frame := capture.read())[0]:
        frames.append(frame[1][..., ::-1])
    return frames


def test_each_frame_is_detected_and_drawn(clip: Path, tmp_path: Path):
    entries = detect(clip, tmp_path)
    assert [entry["frame"] for entry in entries] == [0, 1, 2, 3, 4]
    assert [entry["seconds"] for entry in entries] == [0.0, 0.1, 0.2, 0.3, 0.4]
    for i, entry in enumerate(entries):
        assert (entry["video"], entry["height"], entry["width"]) == (str(clip), HEIGHT, WIDTH)
        (face,) = entry["faces"]
        assert face["box"][0] == pytest.approx(40 * i, abs=4)  # JPEG's loss
    frames = read(tmp_path / "clip.mp4")
    assert len(frames) == FRAMES
    assert frames[0][90, 200].argmax() == 1  # the lower border of the box is green
    assert frames[4][300, 600, 0] == pytest.approx(160, abs=8)


def test_frames_are_read_a_few_ahead_and_none_is_kept(clip: Path, opens: Any):
    """Memory is flat however long a video is."""
    camera = Camera()
    opens(camera)
    entries = detect_video(Brightest(), clip, Outputs())
    for i in range(20):
        next(entries)
        assert i < camera.reads <= i + 40
    entries.close()
    ended = camera.reads
    assert next(entries, None) is None
    assert camera.reads == ended


def test_the_next_frame_is_read_while_the_network_computes(clip: Path, opens: Any):
    camera = Camera()
    opens(camera)

    class Patient(Brightest):
        def find(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            assert camera.second.wait(60)
            return super().find(pixels)

    entries = detect_video(Patient(), clip, Outputs())
    assert next(entries)["frame"] == 0
    entries.close()


def test_a_camera_is_not_read_ahead(opens: Any):
    """Its frames would be old when they are shown."""
    camera = Camera()
    opens(camera)
    entries = detect_video(Brightest(), 0, Outputs())
    for i in range(1, 4):
        assert next(entries)["frame"] == i - 1
        assert camera.reads == i
    entries.close()


def test_frames_limits_how_many_are_read(clip: Path, tmp_path: Path):
    finder = Brightest()
    assert len(detect(clip, tmp_path, finder=finder, frames=2)) == 2
    assert finder.seen == 2
    assert len(read(tmp_path / "clip.mp4")) == 2


def test_ctrl_c_keeps_the_frames_up_to_there_and_is_passed_on(clip: Path, tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        detect(clip, tmp_path, finder=Brightest(stop_at=3))
    assert len(read(tmp_path / "clip.mp4")) == 3


def test_ctrl_c_in_the_first_frame_says_nothing_of_the_video(clip: Path, tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        detect(clip, tmp_path, finder=Brightest(stop_at=0))
    assert list(tmp_path.iterdir()) == []


def test_progress_knows_the_number_of_frames(clip: Path, tmp_path: Path):
    stages, ticks = [], []

    def progress(stage: str, total: int):
        stages.append((stage, total))
        return lambda: ticks.append(1)

    detect(clip, tmp_path, progress=progress)
    assert (stages, len(ticks)) == ([("detect clip", FRAMES)], FRAMES)


@pytest.mark.parametrize("content", [b"", b"hello", b"RIFF\x00\x00\x00\x00AVI LIST"])
def test_a_broken_video_is_named_and_nothing_is_written(tmp_path: Path, content: bytes):
    (tmp_path / "bad.mp4").write_bytes(content)
    (entry,) = detect(tmp_path / "bad.mp4", tmp_path / "out")
    assert "bad.mp4 can't be opened" in entry["error"] or "gives no frame" in entry["error"]
    assert not (tmp_path / "out").exists()


def test_a_video_that_was_cut_off_is_named_and_its_frames_are_kept(clip: Path, tmp_path: Path):
    cut = tmp_path / "cut.avi"
    data = clip.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    *frames, last = detect(cut, tmp_path)
    assert 1 <= len(frames) < FRAMES
    assert f"cut.avi ends after {len(frames)} of {FRAMES} frames" in last["error"]
    assert len(read(tmp_path / "cut.mp4")) == len(frames)


@pytest.mark.parametrize("name", ["12:30.avi", "clip%d.avi", "%s%n.avi", "a|b?*.avi", "\udcff.avi"])
@pytest.mark.parametrize("relative", [False, True])
def test_a_name_is_never_read_as_a_pattern_or_an_address(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, relative: bool
):
    folder = tmp_path / "a:b%d"
    folder.mkdir()
    shutil.copy(clip, folder / name)
    monkeypatch.chdir(folder)
    source, out = (Path(name), Path()) if relative else (folder / name, folder)
    assert len(detect(source, out)) == FRAMES
    assert len(read_any(folder / f"{Path(name).stem}.mp4", tmp_path)) == FRAMES


def read_any(path: Path, folder: Path) -> list[np.ndarray]:
    return read(Path(shutil.copy(path, folder / "copy.mp4")))


class Camera:
    """Gives gray frames at given times; OpenCV itself writes no video of odd sizes or times."""

    def __init__(
        self, height: int = HEIGHT, width: int = WIDTH, *, times: Any = (), rate: float = 10.0
    ) -> None:
        self.frame = np.full((height, width, 3), 60, np.uint8)
        self.times, self.rate, self.time = iter(times or itertools.count()), rate, 0.0
        self.reads, self.second = 0, threading.Event()

    def isOpened(self) -> bool:  # noqa: N802  OpenCV's name
        return True

    def get(self, prop: int) -> float:
        values = {cv2.CAP_PROP_FPS: self.rate, cv2.CAP_PROP_POS_MSEC: 1000 * self.time}
        return values.get(prop, -1.0)

    def read(self) -> tuple[bool, np.ndarray]:
        self.reads += 1
        if self.reads == 2:
            self.second.set()
        time = next(self.times, None)
        self.time = self.time if time is None else time
        return time is not None, self.frame

    def release(self) -> None:
        pass


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Callable[[Camera], None]:
    """Makes the given object what is opened as a video."""
    return lambda camera: monkeypatch.setattr("ssh_tf.inference.frames._capture", lambda *_: camera)


def times_of(source: Path | int, **settings: Any) -> list[float]:
    return [entry["seconds"] for entry in detect(source, None, **settings) if "frame" in entry]


@pytest.mark.parametrize(
    ("stated", "times"),
    [
        pytest.param([0.0, 0.04, 0.5, 2.0], [0.0, 0.04, 0.5, 2.0], id="variable"),
        pytest.param([0.0, 0.0, 0.0], [0.0, 0.1, 0.2], id="none"),
        pytest.param([0.5, 0.4, 0.9], [0.5, 0.6, 0.9], id="backwards"),
        pytest.param([-0.1, 0.1, float("nan")], [0.0, 0.1, 0.2], id="negative-and-nan"),
        pytest.param([float("nan"), float("inf"), 0.3], [0.0, 0.1, 0.3], id="infinite"),
    ],
)
def test_times_are_those_of_the_container_and_ascend(
    clip: Path, opens: Any, stated: list[float], times: list[float]
):
    opens(Camera(times=stated))
    assert times_of(clip) == pytest.approx(times)


@pytest.mark.parametrize("rate", [90_000.0, 0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_replaced(clip: Path, opens: Any, rate: float):
    opens(Camera(times=[0.0, 0.0], rate=rate))
    assert times_of(clip) == pytest.approx([0.0, 0.04])


def test_a_camera_s_frames_have_the_time_of_the_clock(opens: Any, monkeypatch: Any):
    seconds = iter([100.0, 101.5, 104.25])
    opens(Camera())
    monkeypatch.setattr("ssh_tf.inference.frames.time.monotonic", lambda: next(seconds))
    assert times_of(7, frames=2) == [1.5, 4.25]


def test_a_camera_that_is_lost_is_named_and_its_frames_are_kept(tmp_path: Path, opens: Any):
    opens(Camera(times=[0.0, 0.1]))
    *frames, last = detect(3, tmp_path)
    assert len(frames) == 2
    assert last == {
        "video": "3",
        "error": "Camera 3 gives no more frames after 2. Is it connected?",
    }
    assert (tmp_path / "camera3.mp4").exists()


@pytest.mark.parametrize(("height", "width"), [(481, 641), (65, 97), (3, 500), (1, 1)])
def test_frames_of_odd_sizes_are_written(tmp_path: Path, opens: Any, height: int, width: int):
    opens(Camera(height, width))
    entries = detect(0, tmp_path, frames=2)
    assert [(entry["height"], entry["width"]) for entry in entries] == [(height, width)] * 2
    (first, *_) = read(tmp_path / "camera0.mp4")
    assert min(first.shape[:2]) > 0
    assert max(first.shape[:2]) >= 480


def test_a_missing_video_and_camera_are_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"absent\.mp4 does not exist"):
        check_videos([tmp_path / "absent.mp4"], Outputs())
    (entry,) = detect(99, tmp_path)
    assert entry == {"video": "99", "error": "Camera 99 can't be opened as a video."}


def test_the_video_itself_is_never_overwritten(clip: Path, tmp_path: Path):
    own = tmp_path / "own.mp4"
    own.write_bytes(clip.read_bytes())
    outputs = Outputs(pictures=tmp_path, inputs=frozenset([own.resolve()]))
    with pytest.raises(UserError, match="would overwrite an input"):
        check_videos([own], outputs)
    (entry,) = detect_video(Brightest(), own, outputs)
    assert "would overwrite an input" in entry["error"]
    assert own.read_bytes() == clip.read_bytes()


def test_a_turned_video_is_upright(clip: Path, tmp_path: Path):
    """A phone stores the rotation as a matrix of the track's header, `tkhd`."""
    detect(clip, tmp_path, redaction="fill")
    data = bytearray((tmp_path / "clip.mp4").read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # version, times and numbers, reserved, layer
    quarter = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    data[at : at + 36] = np.array(quarter, ">i4").tobytes()
    (tmp_path / "turned.mp4").write_bytes(data)
    entries = detect(tmp_path / "turned.mp4", None)
    assert (entries[0]["height"], entries[0]["width"]) == (WIDTH, HEIGHT)


def test_crops_of_frames_are_numbered(clip: Path, tmp_path: Path):
    detect(clip, None, crops=tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"clip_00000{i}_1.jpg" for i in range(FRAMES)]


def boxes(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_a_lost_face_stays_hidden_for_some_frames():
    a, b, moved = [10.0, 10, 30, 30], [100.0, 10, 130, 50], [13.0, 11, 33, 31]
    lost = LostFaces(hold=2)
    shown = [lost.join(found).tolist() for found in (boxes(a, b), boxes(moved), boxes(), boxes())]
    assert shown == [[a, b], [moved, b], [moved, b], [moved]]
    assert lost.join(boxes(a)).tolist() == [a]


def test_without_hold_only_the_found_faces_are_hidden():
    lost = LostFaces(hold=0)
    lost.join(boxes([10.0, 10, 30, 30]))
    assert len(lost.join(boxes())) == 0


class Blinking(Brightest):
    """Misses the face in the third frame."""

    def find(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.seen += 1
        row = boxes([200, 100, 400, 300]) if self.seen != 3 else boxes()
        return row, np.full(len(row), 0.9, np.float32)


@pytest.mark.parametrize(("hold", "hidden"), [(1, [1, 1, 1, 1, 1]), (0, [1, 1, 0, 1, 1])])
def test_a_face_missed_in_one_frame_is_redacted_there(
    clip: Path, tmp_path: Path, hold: int, hidden: list[int]
):
    detect(clip, tmp_path, finder=Blinking(), redaction="fill", hold=hold)
    gray = [abs(int(frame[200, 300, 1]) - 128) < 10 for frame in read(tmp_path / "clip.mp4")]
    assert gray == [bool(value) for value in hidden]  # the frames themselves are red
