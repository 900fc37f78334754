"""Tests of detecting and scoring a split: result files, resuming, broken images."""

import dataclasses
import json
import logging
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from ssh_tf.data.annotations import AnnotatedImage
from ssh_tf.data.readers.wider import find_split, read_annotations, write_annotations
from ssh_tf.errors import UserError
from ssh_tf.evaluation.detections import read_wider, read_wider_file
from ssh_tf.evaluation.result_folder import detect_images
from ssh_tf.evaluation.run import (
    evaluate_fddb,
    evaluate_pascal,
    evaluate_wider,
    open_annotated,
)
from ssh_tf.evaluation.score import Options
from ssh_tf.imaging.files import read_image
from ssh_tf.inference.contract import Boxes, FaceDetector
from tests.conftest import REPOSITORY
from tests.support.small import HEIGHT, WIDER_BOXES, encode, picture, write_wider


class Oracle(FaceDetector):
    """Finds the annotated boxes; it knows the pictures of `write_wider` by their heights."""

    def __init__(self, name: str = "oracle") -> None:
        self.name = name
        self.calls = 0

    def fingerprint(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return "Oracle()"

    def find(self, pixels: np.ndarray) -> Boxes:
        self.calls += 1
        boxes = list(WIDER_BOXES.values())[(pixels.shape[0] - HEIGHT) // 4]
        corners = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes], np.float32)
        scores = np.linspace(0.9, 0.8, len(boxes), dtype=np.float32)
        return corners.reshape(-1, 4), scores


class Blind(FaceDetector):
    """Finds nothing."""

    def fingerprint(self) -> str:
        return "blind"

    def __repr__(self) -> str:
        return "Blind()"

    def find(self, pixels: np.ndarray) -> Boxes:
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)


def detect_split(detector: Any, root: Path, split: str, out: Path, **options: Any) -> list[str]:
    source = find_split(root, split)
    names = [image.name for image in read_annotations(source.annotations)]
    images = {name: source.images_dir / name for name in names}
    return detect_images(detector, images, out, whole_pixels=True, **options)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_wider(tmp_path / "wider", "val")
    return tmp_path / "wider"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def test_each_image_gets_a_result_file_in_its_event_s_folder(root: Path, tmp_path: Path):
    detect_split(Oracle(), root, "val", tmp_path / "out")
    found = read_wider(tmp_path / "out")
    assert sorted(found) == ["0--Parade/a", "0--Parade/b", "1--Empty/c", "1--Empty/d"]
    for name, boxes in WIDER_BOXES.items():
        table = found[name.rsplit(".", 1)[0]]
        np.testing.assert_array_equal(table[:, :4], np.reshape(boxes, (-1, 4)))


def test_an_image_without_detections_has_a_file_that_says_so(root: Path, tmp_path: Path):
    detect_split(Blind(), root, "val", tmp_path / "out")
    boxes, scores = read_wider_file(tmp_path / "out" / "0--Parade" / "a.txt")
    assert (boxes.shape, scores.shape) == ((0, 4), (0,))


def test_results_that_exist_are_kept_and_not_detected_again(root: Path, tmp_path: Path):
    detect_split(Oracle(), root, "val", tmp_path / "out")
    kept = "a.jpg\n1\n1 2 3 4 0.5 \n"
    (tmp_path / "out" / "0--Parade" / "a.txt").write_text(kept)
    (tmp_path / "out" / "0--Parade" / "b.txt").unlink()
    oracle = Oracle()
    detect_split(oracle, root, "val", tmp_path / "out")
    assert oracle.calls == 1
    assert (tmp_path / "out" / "0--Parade" / "a.txt").read_text() == kept
    assert (tmp_path / "out" / "0--Parade" / "b.txt").exists()


@pytest.mark.parametrize("damage", ["", "a.jpg\n", "a.jpg\n2\n1 2 3 4 0.5 \n", "a.jpg\n1\n1 2"])
def test_a_damaged_result_is_detected_again(
    root: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
):
    detect_split(Oracle(), root, "val", tmp_path / "out")
    before = (tmp_path / "out" / "0--Parade" / "a.txt").read_text()
    (tmp_path / "out" / "0--Parade" / "a.txt").write_text(damage)
    if not damage:
        with pytest.raises(UserError, match=r"a\.txt is empty \(1 of 4 files are\)"):
            read_wider(tmp_path / "out")
    detect_split(Oracle(), root, "val", tmp_path / "out")
    assert (tmp_path / "out" / "0--Parade" / "a.txt").read_text() == before
    assert "Its image is detected again" in caplog.text


def test_the_next_image_is_read_while_the_network_computes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    second_is_read = threading.Event()

    class Patient(Oracle):
        def find(self, pixels: np.ndarray) -> Boxes:
            assert second_is_read.wait(60)
            return super().find(pixels)

    def read(path: Path, *, upright: bool) -> np.ndarray:
        if path.name == "b.png":
            second_is_read.set()
        return read_image(path, upright=upright)

    monkeypatch.setattr("ssh_tf.evaluation.result_folder.read_image", read)
    detect_split(Patient(), root, "val", tmp_path / "out")
    assert len(read_wider(tmp_path / "out")) == 4


def test_results_of_nobody_are_not_continued(root: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("a\n0\n")
    with pytest.raises(UserError, match=r"such as a\.txt, but no detector\.json"):
        detect_split(Oracle(), root, "val", tmp_path / "out")


@pytest.mark.parametrize("damage", [b"", b"ora", b"\xff\xfe\n"])
def test_a_damaged_note_of_the_detector_is_named(root: Path, tmp_path: Path, damage: bytes):
    detect_split(Oracle(), root, "val", tmp_path / "out")
    (tmp_path / "out" / "detector.json").write_bytes(damage)
    with pytest.raises(UserError, match=r"detector\.json is damaged"):
        detect_split(Oracle(), root, "val", tmp_path / "out")


def test_a_folder_without_any_of_the_images_is_refused(root: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"None of the 1 images is there, the first would be .*z"):
        detect_images(Oracle(), {"z": root / "z.jpg"}, tmp_path / "out", whole_pixels=True)
    assert not (tmp_path / "out").exists()


def test_a_name_that_only_looks_like_an_image_s_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    composed, apart = "\u00e9.jpg", "e\u0301.jpg"
    for name in (apart, "b.jpg"):
        (tmp_path / name).write_bytes(encode(picture(HEIGHT)))
    images = {name: tmp_path / name for name in (composed, "b.jpg")}
    detect_images(Blind(), images, tmp_path / "out", whole_pixels=True)
    assert r"'e\u0301.jpg' looks the same, but differs in bytes" in caplog.text


@pytest.mark.usefixtures("unsaved")
def test_seconds_of_earlier_calls_are_reported(root: Path, tmp_path: Path):
    evaluate_wider(Oracle(), open_annotated(root), tmp_path / "out")
    rows = (tmp_path / "out" / "detections" / "seconds.csv").read_text().splitlines()
    assert len(rows) == 4
    # A row cut by a kill is left out.
    (tmp_path / "out" / "detections" / "seconds.csv").write_text("100.5\n200.25\n0.")
    evaluate_wider(Oracle(), open_annotated(root), tmp_path / "out")
    seconds = json.loads((tmp_path / "out" / "report.json").read_text())["seconds"]
    assert 300.75 <= seconds < 400


@pytest.mark.usefixtures("unsaved")
def test_one_evaluation_at_a_time_works_on_a_folder(root: Path, tmp_path: Path):
    class Busy(Oracle):
        def find(self, pixels: np.ndarray) -> Boxes:
            with pytest.raises(UserError, match="another process works on this evaluation"):
                evaluate_wider(Oracle(), open_annotated(root), tmp_path / "out")
            return super().find(pixels)

    assert evaluate_wider(Busy(), open_annotated(root), tmp_path / "out")["all"].ap == 1


def test_results_of_another_detector_are_not_continued(root: Path, tmp_path: Path):
    detect_split(Oracle("one"), root, "val", tmp_path / "out")
    other = Oracle("two")
    with pytest.raises(UserError, match="holds results of another model or of other settings"):
        detect_split(other, root, "val", tmp_path / "out")
    assert other.calls == 0


def test_an_interrupted_run_leaves_whole_files_only(root: Path, tmp_path: Path):
    class Interrupted(Oracle):
        def find(self, pixels: np.ndarray) -> Boxes:
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().find(pixels)

    with pytest.raises(KeyboardInterrupt):
        detect_split(Interrupted(), root, "val", tmp_path / "out")
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(path.name for path in left) == ["a.txt", "b.txt", "detector.json", "seconds.csv"]
    oracle = Oracle()
    detect_split(oracle, root, "val", tmp_path / "out")
    assert oracle.calls == 2


def test_a_broken_image_is_reported_and_the_others_go_on(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    truncate(root / "WIDER_val" / "images" / "0--Parade" / "a.jpg")
    (root / "WIDER_val" / "images" / "0--Parade" / "b.png").unlink()
    with caplog.at_level(logging.WARNING):
        detect_split(Oracle(), root, "val", tmp_path / "out")
    first, second = caplog.messages
    assert "0--Parade/a.jpg is not a whole JPEG or PNG" in first
    assert "0--Parade/b.png can't be read" in second
    assert sorted(read_wider(tmp_path / "out")) == ["1--Empty/c", "1--Empty/d"]


def test_progress_ticks_for_every_image_broken_and_finished_ones_too(root: Path, tmp_path: Path):
    truncate(root / "WIDER_val" / "images" / "0--Parade" / "a.jpg")
    ticks = []

    def progress(stage: str, total: int) -> Callable[[], None]:
        assert (stage, total) == ("evaluate", 4)
        return lambda: ticks.append(stage)

    detect_split(Oracle(), root, "val", tmp_path / "out", progress=progress)
    detect_split(Oracle(), root, "val", tmp_path / "out", progress=progress)
    assert len(ticks) == 8


@pytest.mark.usefixtures("unsaved")
def test_finding_every_face_scores_1(root: Path, tmp_path: Path):
    curves = evaluate_wider(Oracle(), open_annotated(root), tmp_path / "out")
    assert list(curves) == ["all"]
    # The box without width is detected too: it is ignored, as its face is no face that counts.
    assert curves["all"].ap == pytest.approx(1.0)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["dataset"], report["images"], report["detections"]) == ("wider", 4, 6)
    assert report["ap"] == {"all": pytest.approx(1.0)}
    assert report["seconds"] >= 0
    assert (tmp_path / "out" / "detections" / "0--Parade" / "a.txt").exists()


@pytest.mark.usefixtures("unsaved")
def test_faces_of_a_broken_image_count_as_missed(root: Path, tmp_path: Path):
    truncate(root / "WIDER_val" / "images" / "0--Parade" / "a.jpg")
    curves = evaluate_wider(Oracle(), open_annotated(root), tmp_path / "out")
    assert curves["all"].recall.max() == pytest.approx(3 / 5)
    assert curves["all"].ap == pytest.approx(3 / 5)


@pytest.mark.usefixtures("unsaved")
def test_finding_nothing_scores_0(root: Path, tmp_path: Path):
    assert evaluate_wider(Blind(), open_annotated(root), tmp_path / "out")["all"].ap == 0


@pytest.mark.usefixtures("unsaved")
def test_the_official_ground_truth_gives_its_three_settings(test_data: Path, tmp_path: Path):
    curves = evaluate_wider(
        Blind(),
        open_annotated(test_data / "wider_mini", ground_truth=test_data / "wider" / "ground_truth"),
        tmp_path / "out",
    )
    assert {setting: curve.ap for setting, curve in curves.items()} == {
        "easy": 0,
        "medium": 0,
        "hard": 0,
    }


@pytest.mark.parametrize(
    ("split", "out", "truth", "says"),
    [
        ("test", "out", None, "has no split 'test'"),
        ("val", "wider/file", None, r"Output folder .*file is not writable"),
        ("val", "out", "absent", r"absent does not exist. Expected "),
        ("val", "out", "empty", r"wider_face_val.mat does not exist"),
    ],
)
def test_what_cannot_be_used_is_named_before_any_detection(
    root: Path, tmp_path: Path, split: str, out: str, truth: str | None, says: str
):
    (tmp_path / "empty").mkdir()
    (root / "file").touch()
    oracle = Oracle()
    folder = None if truth is None else tmp_path / truth
    with pytest.raises(UserError, match=says):
        evaluate_wider(oracle, open_annotated(root, split, folder), tmp_path / out)
    assert oracle.calls == 0


def test_images_that_would_share_a_result_file_are_refused(root: Path, tmp_path: Path):
    split = find_split(root, "val")
    images = read_annotations(split.annotations)
    twin = dataclasses.replace(images[0], name=images[0].name.replace(".jpg", ".png"))
    write_annotations(split.annotations, [*images, twin])
    with pytest.raises(UserError, match=r"a\.jpg and .*a\.png would both have the result"):
        detect_split(Oracle(), root, "val", tmp_path / "out")


def test_ground_truth_of_other_images_is_refused_before_detecting(root: Path, tmp_path: Path):
    truth = tmp_path / "other_bbx_gt.txt"
    write_annotations(truth, [AnnotatedImage("9--X/x.jpg", np.ones((1, 4)), np.zeros((1, 6), int))])
    with pytest.raises(UserError, match=r"0--Parade/a"):
        evaluate_wider(Blind(), open_annotated(root, ground_truth=truth), tmp_path / "out")
    assert not list((tmp_path / "out" / "detections").rglob("*.txt"))


class Middle(Blind):
    """Finds one face, `[20.25, 30.5, 59.25, 79.5]`, everywhere."""

    def fingerprint(self) -> str:
        return "middle"

    def find(self, pixels: np.ndarray) -> Boxes:
        return np.array([[20.25, 30.5, 59.25, 79.5]], np.float32), np.array([0.9], np.float32)


@pytest.fixture
def fddb(tmp_path: Path) -> tuple[Path, Path]:
    """FDDB's layout with three images of one face each: two at `Middle`'s place, one elsewhere."""
    folds, images = tmp_path / "folds", tmp_path / "originalPics"
    folds.mkdir()
    names = ["2002/07/19/big/img_1", "2002/07/19/big/img_2", "2003/01/01/big/img_3"]
    text = ""
    for name, center in zip(names, ((40, 55), (40, 55), (90, 20)), strict=True):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / f"{name}.jpg").write_bytes(encode(picture(100, 120)))
        text += f"{name}\n1\n25 20 1.5708 {center[0]} {center[1]}  1\n"
    (folds / "FDDB-fold-01-ellipseList.txt").write_text(text)
    return images, folds


def test_fddb_is_detected_and_scored(fddb: tuple[Path, Path], tmp_path: Path):
    curves = evaluate_fddb(Middle(), *fddb, tmp_path / "out")
    assert curves["discrete"].true_positive_rate.max() == pytest.approx(2 / 3)
    assert curves["discrete"].false_positives.max() == 1
    table = read_wider(tmp_path / "out" / "detections")["2002/07/19/big/img_1"]
    np.testing.assert_allclose(table, [[20.25, 30.5, 39, 49, 0.9]])  # no whole pixels
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["images"], report["detections"], report["unreadable"]) == (3, 3, [])


def test_an_unreadable_fddb_image_counts_as_missed(fddb: tuple[Path, Path], tmp_path: Path):
    truncate(fddb[0] / "2002/07/19/big/img_2.jpg")
    for _ in range(2):  # the second run finds results, and reports the same
        curves = evaluate_fddb(Middle(), *fddb, tmp_path / "out")
        assert curves["discrete"].true_positive_rate.max() == pytest.approx(1 / 3)
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        assert report["unreadable"] == ["2002/07/19/big/img_2"]
    text = (tmp_path / "out" / "report.md").read_text()
    assert (
        "1 images could not be read. Their faces count as missed:\n\n- 2002/07/19/big/img_2" in text
    )


@pytest.mark.parametrize("dataset", ["pascal", "afw"])
def test_pascal_faces_and_afw_are_detected_and_scored(dataset: str, tmp_path: Path):
    images = tmp_path / "images"
    (images / "deep").mkdir(parents=True)
    for name in ("a.jpg", "deep/b.png", "stray.jpg"):
        (images / name).write_bytes(encode(picture(100, 120), Path(name).suffix))
    annotations = tmp_path / "faces.csv"
    annotations.write_text(
        "image,x1,y1,x2,y2,ignore\na,20,30,59,79,0\nb,20,30,59,79,0\nabsent,20,30,59,79,0\n"
    )
    curves = evaluate_pascal(dataset, Middle(), images, annotations, tmp_path / "out")
    assert curves[dataset].ap == pytest.approx(2 / 3)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["ap"] == {dataset: pytest.approx(2 / 3)}
    assert report["unreadable"] == ["absent"]
    assert sorted(read_wider(tmp_path / "out" / "detections")) == ["a", "b"]


# Dies as by a power cut, its third result written aside but not yet under its name.
KILLED = """
import os, signal, sys
from pathlib import Path
from ssh_tf.evaluation.run import evaluate_wider, open_annotated
from tests.evaluation.test_run import Oracle

rename = Path.replace

def replace(path, target):
    if target.name == "c.txt":
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)

Path.replace = replace
evaluate_wider(Oracle(), open_annotated(sys.argv[1]), sys.argv[2])
"""


def results(folder: Path) -> dict[str, bytes]:
    """Returns what a user sees below `folder`, without the seconds it took."""
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    shown = [file for file in files if not any(part.startswith(".") for part in file.parts)]
    contents = {file.as_posix(): (folder / file).read_bytes() for file in shown}
    for name, seconds in (
        ("report.json", rb'"seconds": [\d.e-]+'),
        ("report.md", rb"[\d.]+ s\."),
        ("detections/seconds.csv", rb"(?s)\A.+"),
    ):
        contents[name], count = re.subn(seconds, b"", contents[name])
        assert count == 1
    return contents


def test_a_killed_evaluation_ends_with_the_report_of_an_undisturbed_one(root: Path, tmp_path: Path):
    truncate(root / "WIDER_val/images/1--Empty/d.jpg")
    code = [sys.executable, "-c", KILLED, str(root), str(tmp_path / "killed")]
    done = subprocess.run(code, cwd=REPOSITORY, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert sorted(read_wider(tmp_path / "killed" / "detections")) == ["0--Parade/a", "0--Parade/b"]
    oracle = Oracle()
    evaluate_wider(oracle, open_annotated(root), tmp_path / "killed")
    assert oracle.calls == 1
    evaluate_wider(Oracle(), open_annotated(root), tmp_path / "undisturbed")
    assert results(tmp_path / "killed") == results(tmp_path / "undisturbed")
    report = json.loads((tmp_path / "killed" / "report.json").read_text())
    assert report["unreadable"] == ["1--Empty/d.jpg"]


def test_an_image_too_large_for_the_memory_ends_the_run_and_is_not_counted_as_missed(
    root: Path, tmp_path: Path
):
    class Exhausted(Oracle):
        def find(self, pixels: np.ndarray) -> Boxes:
            raise UserError("needs more memory")

    with pytest.raises(UserError, match="needs more memory"):
        evaluate_wider(Exhausted(), open_annotated(root), tmp_path / "out")
    assert not (tmp_path / "out" / "report.json").exists()


def test_published_curves_are_read_before_any_detection(
    root: Path, fddb: tuple[Path, Path], tmp_path: Path
):
    annotations, empty = tmp_path / "faces.csv", tmp_path / "empty"
    annotations.write_text("image,x1,y1,x2,y2,ignore\na,20,30,59,79,0\n")
    empty.mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(encode(picture()))
    oracle, out = Oracle(), tmp_path / "out"
    for evaluate in (
        lambda: evaluate_wider(oracle, open_annotated(root), out, options=Options(published=empty)),
        lambda: evaluate_fddb(oracle, *fddb, out, options=Options(published=empty)),
        lambda: evaluate_pascal(
            "afw", oracle, tmp_path / "images", annotations, out, options=Options(published=empty)
        ),
    ):
        with pytest.raises(UserError, match=r"empty (has no|is empty)"):
            evaluate()
    assert oracle.calls == 0


@pytest.mark.usefixtures("unsaved")
def test_a_photo_and_its_mask_of_one_name_are_refused_and_named(tmp_path: Path):
    annotations, root = tmp_path / "faces.csv", tmp_path / "VOC2012"
    annotations.write_text("image,x1,y1,x2,y2,ignore\na.jpg,20,30,59,79,0\n")
    for name in ("JPEGImages/a.jpg", "SegmentationObject/a.png", "x/b.jpg", "y/b.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encode(picture(), Path(name).suffix))
    oracle = Oracle()
    # Of the two b, nobody asks.
    says = r"JPEGImages/a\.jpg and SegmentationObject/a\.png would both have the result a\."
    with pytest.raises(UserError, match=says):
        evaluate_pascal("pascal", oracle, root, annotations, tmp_path / "out")
    assert oracle.calls == 0
    evaluate_pascal("pascal", Blind(), root / "JPEGImages", annotations, tmp_path / "out")


@pytest.mark.usefixtures("unsaved")
def test_own_annotations_need_no_layout_and_follow_the_exif_orientation(tmp_path: Path):
    """A photo of 60 x 40 px that viewers show as 40 x 60, with a box drawn on either."""
    (tmp_path / "photos").mkdir()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned by a quarter
    Image.fromarray(picture(40, 60)).save(tmp_path / "photos" / "a.jpg", exif=exif)
    (tmp_path / "boxes.csv").write_text("image,x,y,w,h\na.jpg,5,20,20,30\n")
    sizes = []

    class Found(Blind):
        def find(self, pixels: np.ndarray) -> Boxes:
            sizes.append(pixels.shape[:2])
            boxes = np.array([[5, 20, 25, 50], [0, 0, 3, 3]], np.float32)
            return boxes, np.array([0.9, 0.1], np.float32)

    for boxes_on in ("upright", "stored"):
        data = open_annotated(
            tmp_path / "photos", ground_truth=tmp_path / "boxes.csv", boxes_on=boxes_on
        )
        curves = evaluate_wider(Found(), data, tmp_path / boxes_on)
        assert curves["all"].ap == 1
    assert sizes == [(60, 40), (40, 60)]
