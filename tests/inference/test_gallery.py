"""Tests of detecting many files: pictures, JSON, and what is refused before anything is lost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ssh_tf.errors import UserError
from ssh_tf.imaging.folders import find_images
from ssh_tf.inference.gallery import detect_files, picture_of
from ssh_tf.inference.results import Detections
from tests.small import encode, picture


class Stub:
    """A detector that finds the same two faces everywhere."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def detect(self, image: np.ndarray) -> Detections:
        self.seen.append(image.shape)
        boxes = np.array([[5, 6, 25, 36.123456], [50, 10, 70, 30]], np.float32)
        return Detections(boxes, np.array([0.9, 0.3], np.float32), image.shape[:2])


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Two images in two folders."""
    folder = tmp_path / "album"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(encode(picture(64, 96)))
    (folder / "sub" / "b.png").write_bytes(encode(picture(40, 80), ".png"))
    return folder


def detect(out: Path, *paths: Path, **settings: object) -> list[dict[str, Any]]:
    return detect_files(Stub(), find_images(paths).images, out, **settings)


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_each_image_gets_a_picture_under_its_relative_name(album: Path, tmp_path: Path):
    detect(tmp_path / "out", album)
    assert files(tmp_path / "out") == ["a.jpg", "sub/b.png"]


def test_only_sure_faces_are_drawn_but_all_are_returned(album: Path, tmp_path: Path):
    (entry,) = detect(tmp_path / "out", album / "sub")
    drawn = cv2.imread(str(tmp_path / "out" / "b.png"))[..., ::-1]
    plain = picture(40, 80).repeat(6, axis=0).repeat(6, axis=1)  # 80 px enlarged to 480
    changed = (drawn != plain).any(axis=-1)
    assert changed[36:210, 30:150].any()
    assert not changed[:, 290:].any()
    assert (entry["image"], entry["height"], entry["width"]) == (str(album / "sub/b.png"), 40, 80)
    assert entry["faces"] == [
        {"box": [5, 6, 25, 36.12], "score": 0.9},
        {"box": [50, 10, 70, 30], "score": 0.3},
    ]


def test_show_from_decides_what_is_drawn(album: Path, tmp_path: Path):
    detect(tmp_path / "all", album / "sub", show_from=0.0)
    detect(tmp_path / "none", album / "sub", show_from=0.95)
    plain = picture(40, 80).repeat(6, axis=0).repeat(6, axis=1)
    shown, bare = (cv2.imread(str(tmp_path / name / "b.png")) for name in ("all", "none"))
    assert (shown[..., ::-1] != plain)[:, 290:].any()
    np.testing.assert_array_equal(bare[..., ::-1], plain)


def test_a_score_at_the_limit_is_drawn():
    boxes = np.array([[100, 200, 120, 230]], np.float32)
    found = Detections(boxes, np.array([0.5], np.float32), (500, 500))
    plain = np.zeros((500, 500, 3), np.uint8)
    assert picture_of(plain, found, 0.5).any()
    assert not picture_of(plain, found, 0.501).any()


def test_progress_ticks_once_per_image(album: Path, tmp_path: Path):
    ticks = []

    def progress(stage: str, total: int) -> Callable[[], None]:
        assert (stage, total) == ("detect", 2)
        return lambda: ticks.append(stage)

    detect(tmp_path / "out", album, progress=progress)
    assert len(ticks) == 2


def test_a_broken_image_is_named_and_the_others_are_done(
    album: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    broken = album / "a.jpg"
    broken.write_bytes(broken.read_bytes()[:-100])
    bad, good = detect(tmp_path / "out", album)
    assert files(tmp_path / "out") == ["sub/b.png"]
    assert bad == {"image": str(broken), "error": f"{broken} is not a whole JPEG or PNG image."}
    assert len(good["faces"]) == 2
    assert "a.jpg is not a whole JPEG or PNG image. It is passed over." in caplog.text


def test_an_output_that_is_a_file_is_refused_before_any_work(album: Path, tmp_path: Path):
    (tmp_path / "out").touch()
    stub = Stub()
    with pytest.raises(UserError, match="out is not writable"):
        detect_files(stub, find_images([album]).images, tmp_path / "out")
    assert stub.seen == []


@pytest.mark.parametrize("named", ["album", "album/a.jpg"])
def test_the_images_themselves_are_never_overwritten(album: Path, tmp_path: Path, named: str):
    before = (album / "a.jpg").read_bytes()
    with pytest.raises(UserError, match=r"a\.jpg would overwrite an image\. Name another --out"):
        detect(album, tmp_path / named)
    assert (album / "a.jpg").read_bytes() == before


def test_two_images_of_one_name_are_refused(album: Path, tmp_path: Path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.jpg").write_bytes(encode(picture()))
    with pytest.raises(UserError, match=r"album/a\.jpg and .*other/a\.jpg would both become"):
        detect(tmp_path / "out", album, tmp_path / "other")
    assert not (tmp_path / "out").exists()


def test_an_image_of_another_suffix_is_drawn_as_png(album: Path, tmp_path: Path):
    (album / "a.jpg").rename(album / "scan")
    detect(tmp_path / "out", album / "scan")
    assert files(tmp_path / "out") == ["scan.png"]
    assert cv2.imread(str(tmp_path / "out" / "scan.png")) is not None
