"""Tests of detecting many files: pictures, JSON, and what is refused before anything is lost."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from ssh_tf.errors import UserError
from ssh_tf.imaging.draw import save_picture
from ssh_tf.imaging.folders import find_images
from ssh_tf.inference.contract import FaceDetector
from ssh_tf.inference.gallery import Outputs, detect_files, picture_of
from ssh_tf.inference.results import Detections
from ssh_tf.progress import silent
from tests.support.small import encode, picture


class Stub(FaceDetector):
    """A detector that finds the same two faces everywhere."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def find(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.seen.append(pixels.shape)
        boxes = np.array([[5, 6, 25, 36.123456], [50, 10, 70, 30]], np.float32)
        return boxes, np.array([0.9, 0.3], np.float32)

    def fingerprint(self) -> str:
        return "stub"

    def __repr__(self) -> str:
        return "Stub()"


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Two images in two folders."""
    folder = tmp_path / "album"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(encode(picture(64, 96)))
    (folder / "sub" / "b.png").write_bytes(encode(picture(40, 80), ".png"))
    return folder


def detect(out: Path, *paths: Path, **settings: object) -> list[dict[str, Any]]:
    images = find_images(paths).images
    progress = settings.pop("progress", silent)
    inputs = frozenset(path.resolve() for path, _ in images)
    outputs = Outputs(pictures=out, inputs=inputs, **settings)
    return list(detect_files(Stub(), images, outputs, progress=progress))


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_each_image_gets_a_picture_under_its_relative_name(album: Path, tmp_path: Path):
    detect(tmp_path / "out", album)
    assert files(tmp_path / "out") == ["a.jpg", "sub/b.png"]


def test_only_sure_faces_are_drawn_but_all_are_returned(album: Path, tmp_path: Path):
    (entry,) = detect(tmp_path / "out", album / "sub")
    drawn = cv2.imread(str(tmp_path / "out" / "b.png"))[:240, :, ::-1]  # without the key
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
    shown, bare = (cv2.imread(str(tmp_path / name / "b.png"))[:240] for name in ("all", "none"))
    assert (shown[..., ::-1] != plain)[:, 290:].any()
    np.testing.assert_array_equal(bare[..., ::-1], plain)


def test_a_score_at_the_limit_is_drawn():
    plain = np.zeros((500, 500, 3), np.uint8)
    boxes = np.array([[100, 200, 120, 230]], np.float32)
    found = Detections(boxes, np.array([0.5], np.float32), (500, 500), plain)
    assert picture_of(found, Outputs(show_from=0.5))[:500].any()
    assert not picture_of(found, Outputs(show_from=0.501))[:500].any()


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
    assert "a.jpg is not a whole JPEG or PNG image." in caplog.text


@pytest.mark.parametrize("named", ["album", "album/a.jpg"])
def test_the_images_themselves_are_never_overwritten(album: Path, tmp_path: Path, named: str):
    before = (album / "a.jpg").read_bytes()
    with pytest.raises(UserError, match=r"a\.jpg would overwrite an input\. Name another folder"):
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


def test_crops_are_the_sure_faces_with_a_margin(album: Path, tmp_path: Path):
    (entry,) = detect(None, album / "sub", crops=tmp_path / "crops", margin=0.5)
    assert len(entry["faces"]) == 2
    assert entry["crops"] == [str(tmp_path / "crops" / "b_1.png")]
    assert files(tmp_path) == ["album/a.jpg", "album/sub/b.png", "crops/b_1.png"]
    # Box 5, 6, 25, 36.12: 10 and 15.06 px more on each side, as far as the 80 x 40 image reaches.
    cut = cv2.imread(str(tmp_path / "crops" / "b_1.png"))[..., ::-1]
    np.testing.assert_array_equal(cut, picture(40, 80)[:40, :35])


def test_a_crop_never_overwrites_an_input(album: Path):
    (album / "a_1.jpg").write_bytes(encode(picture(64, 96)))
    before = (album / "a_1.jpg").read_bytes()
    entries = detect(None, album, crops=album)
    assert ["error" in entry for entry in entries] == [True, False, False]
    assert "a_1.jpg would overwrite an input" in entries[0]["error"]
    assert (album / "a_1.jpg").read_bytes() == before


@pytest.mark.parametrize("redaction", ["blur", "pixelate", "fill"])
def test_a_redacted_picture_has_the_size_of_the_image_and_no_boxes(
    album: Path, tmp_path: Path, redaction: str
):
    detect(tmp_path / "out", album / "sub", redaction=redaction)
    result = cv2.imread(str(tmp_path / "out" / "b.png"))[..., ::-1]
    image = picture(40, 80)
    assert result.shape == image.shape
    assert (result != image)[10:30, 8:22].any(axis=-1).mean() > 0.9
    np.testing.assert_array_equal(result[:, 45:], image[:, 45:])


def test_nothing_of_the_original_file_but_pixels_is_in_a_picture(album: Path, tmp_path: Path):
    """A thumbnail in EXIF shows every face that the picture itself hides."""
    image = Image.fromarray(picture(64, 96))
    exif = Image.Exif()
    exif[0x010E] = "a secret description"
    exif.get_ifd(0x8825)[1] = "N"
    secret = encode(picture(16, 24))
    image.save(album / "a.jpg", exif=exif.tobytes() + secret, comment=b"a secret comment")
    (album / "a.jpg").write_bytes((album / "a.jpg").read_bytes() + secret)  # a trailer
    detect(tmp_path / "out", album / "a.jpg", redaction="fill", crops=tmp_path / "crops")
    for path in (tmp_path / "out" / "a.jpg", tmp_path / "crops" / "a_1.jpg"):
        data = path.read_bytes()
        assert b"secret" not in data
        assert b"Exif" not in data
        assert data.count(b"\xff\xd8\xff") == 1


def test_pictures_can_be_shown(album: Path):
    shown: list[np.ndarray] = []
    detect(None, album / "sub", show=shown.append)
    assert [picture.shape for picture in shown] == [(262, 480, 3)]


def test_a_picture_that_its_format_can_t_hold_costs_that_image_alone(album: Path, tmp_path: Path):
    (album / "long.jpg").write_bytes(encode(np.zeros((1, 66_000, 3), np.uint8), ".png"))
    entries = detect(tmp_path / "out", album, redaction="fill")
    assert ["error" in entry for entry in entries] == [False, True, False]
    assert "a picture of 66000 x 1 px can't be written" in entries[1]["error"]


def test_a_picture_is_written_while_the_network_computes_the_next(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    second = threading.Event()

    class Signalling(Stub):
        def find(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            if len(self.seen) == 1:
                second.set()
            return super().find(pixels)

    def save(path: Path, pixels: np.ndarray) -> None:
        assert second.wait(60)
        save_picture(path, pixels)

    monkeypatch.setattr("ssh_tf.inference.gallery.save_picture", save)
    outputs = Outputs(pictures=tmp_path / "out")
    assert len(list(detect_files(Signalling(), find_images([album]).images, outputs))) == 2
    assert files(tmp_path / "out") == ["a.jpg", "sub/b.png"]
