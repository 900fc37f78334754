"""Tests of `ssh-tf detect`: outputs, what is refused, what goes on, what a second call does."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ssh_tf import cli
from ssh_tf.cli.detect_outputs import Counts
from ssh_tf.errors import UnavailableError
from ssh_tf.inference.contract import FaceDetector
from ssh_tf.inference.detector import Detector
from tests.support.small import encode, picture

BOX = [10.0, 12.0, 30.0, 36.0]


class Stub(FaceDetector):
    """Finds one sure face and one that is not; remembers how many images it saw."""

    def __init__(self) -> None:
        self.seen = 0
        self.error: BaseException | None = None
        self.name = "stub"

    def find(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.seen += 1
        if self.error is not None and self.seen > 1:
            raise self.error
        boxes = np.array([BOX, [50, 30, 70, 50]], np.float32)
        return boxes, np.array([0.9, 0.4], np.float32)

    def fingerprint(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return "Stub()"


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Makes every model load as the one stub."""
    stub = Stub()
    monkeypatch.setattr(Detector, "load", lambda *_, **__: stub)
    return stub


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three photos in `photos/`, which lies in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for name in ("a.jpg", "b.png", "sub/c.jpg"):
        path = tmp_path / "photos" / name
        path.write_bytes(encode(picture(), path.suffix))
    return tmp_path / "photos"


@pytest.fixture
def video(photos: Path) -> Path:
    """Four frames of 96 x 64 px."""
    path = photos.parent / "v.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (96, 64))
    for _ in range(4):
        writer.write(picture())
    writer.release()
    return path


def detect(line: str) -> int:
    return cli.main(["detect", *line.split()])


def entries(path: str) -> list[dict[str, Any]]:
    return json.loads(Path(path).read_text())


def listed(folder: str) -> list[str]:
    paths = (path for path in Path(folder).rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in paths if not path.name.startswith("."))


@pytest.mark.usefixtures("stub", "photos")
def test_all_outputs_of_one_call(capsys: pytest.CaptureFixture[str]):
    flags = "--json j.json --jsonl j.jsonl --csv f.csv --coco c.json --wider w --crops c"
    assert detect(f"--model m photos --out o {flags}") == 0
    printed = capsys.readouterr().out
    assert printed == "3 faces in 3 images, pictures in o, crops in c\n"
    assert listed("o") == ["a.jpg", "b.png", "sub/c.jpg"]
    assert listed("c") == ["a_1.jpg", "b_1.png", "sub/c_1.jpg"]
    assert listed("w") == ["a.txt", "b.txt", "sub/c.txt"]
    assert Path("w/a.txt").read_text().splitlines()[:3] == ["a.jpg", "2", "10 12 20 24 0.9 "]
    found = entries("j.json")
    assert [entry["image"] for entry in found] == [
        "photos/a.jpg",
        "photos/b.png",
        "photos/sub/c.jpg",
    ]
    assert [face["box"] for face in found[0]["faces"]] == [BOX, [50, 30, 70, 50]]
    assert [json.loads(line) for line in Path("j.jsonl").read_text().splitlines()] == found
    assert len(Path("f.csv").read_text().splitlines()) == 1 + 6
    assert len(json.loads(Path("c.json").read_text())["annotations"]) == 6


@pytest.mark.usefixtures("stub", "photos")
def test_without_outputs_there_is_a_table(capsys: pytest.CaptureFixture[str]):
    assert detect("--model m photos/a.jpg") == 0
    assert capsys.readouterr().out.splitlines() == [
        "photos/a.jpg: 96 x 64 px, 1 face",
        "  0.900      10.0     12.0     30.0     36.0",
        "1 face in 1 image",
    ]
    assert listed(".") == ["photos/a.jpg", "photos/b.png", "photos/sub/c.jpg"]


@pytest.mark.usefixtures("stub", "photos")
def test_json_on_stdout_is_alone_there(capsys: pytest.CaptureFixture[str]):
    assert detect("--model m photos --json -") == 0
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)) == 3
    assert "3 faces in 3 images" in printed.err


@pytest.mark.usefixtures("stub", "photos")
def test_a_device_is_written_to_and_not_replaced():
    os.mkfifo("pipe.jsonl")
    reader = os.open("pipe.jsonl", os.O_RDONLY | os.O_NONBLOCK)
    assert detect("--model m photos --jsonl pipe.jsonl --json /dev/null") == 0
    assert len(os.read(reader, 10_000).splitlines()) == 3
    os.close(reader)
    assert Path("/dev/null").is_char_device()


@pytest.mark.usefixtures("stub")
def test_a_video_and_images_share_the_outputs(video: Path, capsys: pytest.CaptureFixture[str]):
    assert detect(f"--model m photos {video.name} --out o --json j.json --redact fill") == 0
    # From 0.3 on, where faces are hidden.
    printed = capsys.readouterr().out
    assert printed == "14 faces in 3 images and 4 frames, pictures in o\n"
    assert [entry.get("frame") for entry in entries("j.json")] == [None] * 3 + [0, 1, 2, 3]
    assert "v.mp4" in listed("o")


BAD = {
    "empty.jpg": b"",
    "text.jpg": b"hello",
    "html.jpg": b"<!DOCTYPE html><html></html>",
    "cut.jpg": encode(picture())[:-300],
    "header.jpg": encode(picture())[:100],
    "cut.png": encode(picture(), ".png")[:-300],
    "signature.png": b"\x89PNG\r\n\x1a\n",
    "zeros.png": bytes(1000),
    "bomb.png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
    + b"\x00\x01\x00\x00" * 2
    + b"\x08\x02\0\0\0",
    "pdf.png": b"%PDF-1.7",
    "cut.gif": b"GIF89a\x10\x00\x10\x00",
    "cut.webp": b"RIFF\x24\x00\x00\x00WEBPVP8 ",
    "cut.bmp": b"BM\x00\x00",
    "cut.tif": b"II*\x00\x08\x00\x00\x00",
    "svg.jpg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "gzip.jpg": b"\x1f\x8b\x08\x00",
    "m" * 240 + ".gif": b"GIF89a",
    "new\nline.jpg": b"x",
    "esc\x1b[31m.jpg": b"x",
    "utf\udcff.jpg": b"x",
}


def test_bad_files_of_20_kinds_cost_themselves_alone_and_a_second_call_continues(
    stub: Stub, photos: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    for name, content in BAD.items():
        (photos / name).write_bytes(content)
    for call in (3, 0):
        stub.seen = 0
        caplog.clear()
        with caplog.at_level(logging.INFO):
            assert detect("--model m photos --out o --json j.json") == 1
        printed = capsys.readouterr()
        assert printed.out == "3 faces in 3 images, pictures in o\n"
        assert "20 of 23 images and videos failed, see above." in printed.err
        found = entries("j.json")
        assert len(found) == 23
        failed = {Path(entry["image"]).name for entry in found if "error" in entry}
        assert failed == set(BAD)
        assert sum("Failed: " in message for message in caplog.messages) == 20
        assert stub.seen == call
        assert listed("o") == ["a.jpg", "b.png", "sub/c.jpg"]


def test_another_threshold_or_model_is_another_work(stub: Stub, photos: Path):
    seen = []
    for flags in ("", "", "--show_from 0.2", "--redact blur", "--redact fill", "--redact fill"):
        stub.seen = 0
        assert detect(f"--model m photos --out o {flags}") == 0
        seen.append(stub.seen)
    assert seen == [3, 0, 3, 3, 3, 0]
    stub.name, stub.seen = "another", 0
    assert detect("--model m photos --out o --redact fill") == 0
    assert stub.seen == 3
    assert photos.is_dir()


@pytest.mark.parametrize(
    "flag", ["--json j.json", "--jsonl j.jsonl", "--coco j.json", "--csv j.csv"]
)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), UnavailableError("No answer from there")])
def test_what_was_found_before_the_end_is_kept(
    stub: Stub, photos: Path, flag: str, error: BaseException
):
    stub.error = error
    code = detect(f"--model m photos --out o {flag}")
    assert code == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert listed("o") == ["a.jpg"]
    text = Path(flag.split()[1]).read_text()
    assert "photos/a.jpg" in text
    assert "photos/b.png" not in text
    if flag.endswith("j.json"):
        json.loads(text)
    stub.error, stub.seen = None, 0
    assert detect(f"--model m photos --out o {flag}") == 0
    assert stub.seen == 2


def test_a_broken_video_among_good_items_is_named(
    stub: Stub, video: Path, capsys: pytest.CaptureFixture[str]
):
    Path("broken.mp4").write_bytes(video.read_bytes()[:300])
    assert detect("--model m photos/a.jpg broken.mp4 v.mp4 --out o --json j.json") == 1
    assert "1 of 3 images and videos failed" in capsys.readouterr().err
    assert listed("o") == ["a.jpg", "v.mp4"]
    assert [entry.get("video") for entry in entries("j.json")] == [
        None,
        "broken.mp4",
        *["v.mp4"] * 4,
    ]
    stub.seen = 0
    assert detect("--model m photos/a.jpg broken.mp4 v.mp4 --out o --json again.json") == 1
    assert stub.seen == 0
    assert entries("again.json") == entries("j.json")


@pytest.mark.usefixtures("stub", "photos")
def test_two_at_once_on_one_folder_are_told_apart(capsys: pytest.CaptureFixture[str]):
    from ssh_tf.files import folder_lock

    Path("o").mkdir()
    with folder_lock(Path("o"), "output folder"):
        assert detect("--model m photos --out o") == 1
    assert "another process works on this output folder" in capsys.readouterr().err
    assert detect("--model m photos --out o") == 0


@pytest.mark.usefixtures("stub", "photos")
def test_results_inside_the_folder_are_no_inputs_of_the_next_call(
    capsys: pytest.CaptureFixture[str],
):
    for _ in range(2):
        assert detect("--model m photos --out photos/out --crops photos/crops") == 0
        assert capsys.readouterr().out.startswith("3 faces in 3 images")
    assert detect("--model m photos/out/a.jpg --out photos/out/again") == 0


@pytest.mark.usefixtures("stub", "photos")
def test_images_of_one_name_are_told_apart_where_nothing_is_written_by_name():
    Path("other").mkdir()
    Path("other/a.jpg").write_bytes(encode(picture()))
    assert detect("--model m photos/a.jpg other/a.jpg photos/a.jpg --json j.json") == 0
    assert [entry["image"] for entry in entries("j.json")] == ["photos/a.jpg", "other/a.jpg"]


@pytest.mark.usefixtures("stub", "photos")
def test_hidden_and_other_files_are_counted_and_named(caplog: pytest.LogCaptureFixture):
    Path("photos/notes.txt").write_text("hello")
    Path("photos/.thumbnails").mkdir()
    with caplog.at_level(logging.INFO):
        assert detect("--model m photos --out o") == 0
    assert "Skipped 2 that are no images: photos/.thumbnails, photos/notes.txt" in caplog.messages


MISTAKES = [
    ("--model m --out o", "Name images, folders or videos, or else --camera"),
    ("--model m --out o --camera 0 photos", "Name images, folders or videos, or else"),
    ("--model m --server http://x photos", "--model and --server exclude each other."),
    ("--server http://x --top_k 3 photos", "--server has its own settings. Remove --top_k."),
    ("--model m --out o empty", "empty holds no image"),
    ("--model m --out o absent.mp4", "absent.mp4 does not exist"),
    ("--model m --out o https:/absent", "https:/absent does not exist"),
    ("--model m --out file photos", "Output folder file is not writable"),
    ("--model m --out photos photos", "photos/a.jpg would overwrite an input"),
    ("--model m --out o photos/a.jpg a.jpg", "photos/a.jpg and a.jpg would both become a.jpg"),
    ("--model m --out o a.avi a.mov", "a.mov would both become a.mp4"),
    ("--model m --out . v.mp4", "v.mp4 would overwrite an input"),
    ("--model m photos --json folder.json", "folder.json is a folder. Name a file"),
    ("--model m photos --json file/a.json", "Output folder file is not writable"),
    ("--model m --out o photos --wider file", "Output folder file is not writable"),
    ("--model m --out o twins --wider w", "a.jpg and a.png would both have the result a."),
    ("--model m --out o v.mp4 --wider w", "--wider is for images."),
    ("--model m photos/a.jpg a.jpg --wider w", "Several images are called a.jpg."),
    # A flag taken for a switch.
    ("--model m --out o --json a.jpg photos", "--json a.jpg: expected a file that ends in .json."),
    ("--model m --out o --json new.jpg photos", "--json new.jpg: expected a file that ends in"),
    ("--model m --out o --json file photos", "--json file: expected a file that ends in .json."),
    ("--model m --out o --csv a.jpg photos", "--csv a.jpg: expected a file that ends in .csv."),
    ("--model m --out o --coco v.mp4 photos", "--coco v.mp4: expected a file that ends in .json."),
    ("--model m --out o --jsonl a.jpg photos", "--jsonl a.jpg: expected a file that ends in"),
    ("--model m --json photo.json photo.json", "--json photo.json would overwrite an input."),
    ("--model m --json x.json --coco x.json photos", "two outputs can't share it"),
    ("--model m --json - --jsonl - photos", "two outputs can't share it"),
    ("--model m --margin 0.3 photos", "--margin needs --crops."),
    ("--model m --redact blur photos", "--redact needs --out."),
    ("--model m --out o --hold 3 photos", "--hold needs --redact."),
    ("--model m --out o --frames 3 photos", "--frames is for videos."),
    ("--model m --show v.mp4", "--show opens at most 20 images, and no videos."),
]


@pytest.mark.parametrize(("line", "says"), MISTAKES)
def test_a_mistake_is_one_line_and_costs_no_file(
    line: str, says: str, stub: Stub, video: Path, capsys: pytest.CaptureFixture[str]
):
    for folder in ("empty", "twins", "folder.json"):
        Path(folder).mkdir()
    for name in ("file", "a.avi", "a.mov"):
        Path(name).write_text("hello")
    for name in ("a.jpg", "twins/a.jpg", "twins/a.png", "photo.json"):
        Path(name).write_bytes(encode(picture()))
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert detect(line) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("ssh-tf detect: ")
    assert says in printed.err
    assert printed.err.count("\n") == 1
    assert stub.seen == 0
    after = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert {path: data for path, data in after.items() if path in before} == before
    assert video.exists()


@pytest.mark.parametrize(
    "line",
    [
        "--out o --camera -1",
        "--out o --frames 0 a.mp4",
        "--out o --show_from nan a.jpg",
        "--out o --show_from 1.5 a.jpg",
        "--out o --show_from high a.jpg",
        "--crops c --margin -0.1 a.jpg",
        "--crops c --margin nan a.jpg",
        "--out o --redact smear a.jpg",
        "--out o --redact blur --hold -1 a.mp4",
    ],
)
def test_wrong_usage_exits_with_2(line: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        detect(line)
    assert stop.value.code == 2
    assert "usage: ssh-tf detect" in capsys.readouterr().err


def test_ctrl_c_ends_a_camera_as_it_should(stub: Stub, photos: Path, monkeypatch: Any):
    class Camera:
        def isOpened(self) -> bool:  # noqa: N802  OpenCV's name
            return True

        def get(self, prop: int) -> float:
            return -1.0

        def read(self) -> tuple[bool, np.ndarray]:
            return True, picture()

        def release(self) -> None:
            pass

    monkeypatch.setattr("ssh_tf.inference.frames._capture", lambda *_: Camera())
    stub.error = KeyboardInterrupt()
    assert detect("--model m --camera 0 --out o --json j.json") == 0
    assert len(entries("j.json")) == 1
    assert listed("o") == ["camera0.mp4"]
    assert photos.is_dir()


def test_counts_of_failed_videos():
    counts = Counts(0.5)
    for entry in ({"video": "v", "frame": 0, "faces": []}, {"video": "v", "error": "cut"}):
        counts.add(entry)
    assert (counts.items, counts.failed, counts.frames) == (1, 1, 1)


def test_pictures_are_shown_by_the_desktop_s_program(
    stub: Stub, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    shown: list[Any] = []
    monkeypatch.setattr("PIL.ImageShow.show", lambda image: shown.append(image) or True)
    assert detect("--model m photos --show") == 0
    assert len(shown) == 3
    monkeypatch.setattr("PIL.ImageShow.show", lambda image: False)
    assert detect("--model m photos/a.jpg --show") == 1
    assert "of 1 images and videos failed" in capsys.readouterr().err
    assert (stub.seen, photos.is_dir()) == (4, True)
