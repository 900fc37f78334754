"""Tests of detecting and scoring a split: result files, resuming, broken images."""

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ssh_tf.data.wider import WiderImage, find_split, read_annotations, write_annotations
from ssh_tf.errors import UserError
from ssh_tf.evaluation.detections import read_wider, read_wider_file
from ssh_tf.evaluation.run import detect_split, evaluate_wider
from ssh_tf.inference.graph import Detections
from tests.small import HEIGHT, WIDER_BOXES, write_wider


class Oracle:
    """Finds the annotated boxes; it knows the pictures of `write_wider` by their heights."""

    def __init__(self, name: str = "oracle") -> None:
        self.name = name
        self.calls = 0

    def fingerprint(self) -> str:
        return self.name

    def detect(self, image: np.ndarray) -> Detections:
        self.calls += 1
        boxes = list(WIDER_BOXES.values())[(image.shape[0] - HEIGHT) // 4]
        corners = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes], np.float32)
        scores = np.linspace(0.9, 0.8, len(boxes), dtype=np.float32)
        return Detections(corners.reshape(-1, 4), scores)


class Blind:
    """Finds nothing."""

    def fingerprint(self) -> str:
        return "blind"

    def detect(self, image: np.ndarray) -> Detections:
        del image
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


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
    (tmp_path / "out" / "0--Parade" / "a.txt").write_text("kept")
    (tmp_path / "out" / "0--Parade" / "b.txt").unlink()
    oracle = Oracle()
    detect_split(oracle, root, "val", tmp_path / "out")
    assert oracle.calls == 1
    assert (tmp_path / "out" / "0--Parade" / "a.txt").read_text() == "kept"
    assert (tmp_path / "out" / "0--Parade" / "b.txt").exists()


def test_results_of_another_detector_are_not_continued(root: Path, tmp_path: Path):
    detect_split(Oracle("one"), root, "val", tmp_path / "out")
    other = Oracle("two")
    with pytest.raises(UserError, match="holds results of another model or of other settings"):
        detect_split(other, root, "val", tmp_path / "out")
    assert other.calls == 0


def test_an_interrupted_run_leaves_whole_files_only(root: Path, tmp_path: Path):
    class Interrupted(Oracle):
        def detect(self, image: np.ndarray) -> Detections:
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().detect(image)

    with pytest.raises(KeyboardInterrupt):
        detect_split(Interrupted(), root, "val", tmp_path / "out")
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(path.name for path in left) == ["a.txt", "b.txt", "detector.json"]
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


def test_finding_every_face_scores_1(root: Path, tmp_path: Path):
    curves = evaluate_wider(Oracle(), root, "val", tmp_path / "out")
    assert list(curves) == ["all"]
    # The box without width is detected too: it is ignored, as its face is no face that counts.
    assert curves["all"].ap == pytest.approx(1.0)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["dataset"], report["images"], report["detections"]) == ("wider", 4, 6)
    assert report["ap"] == {"all": pytest.approx(1.0)}
    assert report["seconds"] >= 0
    assert (tmp_path / "out" / "detections" / "0--Parade" / "a.txt").exists()


def test_faces_of_a_broken_image_count_as_missed(root: Path, tmp_path: Path):
    truncate(root / "WIDER_val" / "images" / "0--Parade" / "a.jpg")
    curves = evaluate_wider(Oracle(), root, "val", tmp_path / "out")
    assert curves["all"].recall.max() == pytest.approx(3 / 5)
    assert curves["all"].ap == pytest.approx(3 / 5)


def test_finding_nothing_scores_0(root: Path, tmp_path: Path):
    assert evaluate_wider(Blind(), root, "val", tmp_path / "out")["all"].ap == 0


def test_the_official_ground_truth_gives_its_three_settings(test_data: Path, tmp_path: Path):
    curves = evaluate_wider(
        Blind(),
        test_data / "wider_mini",
        "val",
        tmp_path / "out",
        ground_truth=test_data / "wider" / "ground_truth",
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
        ("val", "out", "absent", r"absent does not exist. Expected a folder with wider_"),
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
        evaluate_wider(oracle, root, split, tmp_path / out, ground_truth=folder)
    assert oracle.calls == 0


def test_images_that_would_share_a_result_file_are_refused(root: Path, tmp_path: Path):
    split = find_split(root, "val")
    images = read_annotations(split.annotations)
    twin = dataclasses.replace(images[0], name=images[0].name.replace(".jpg", ".png"))
    write_annotations(split.annotations, [*images, twin])
    with pytest.raises(UserError, match=r"a\.jpg and .*a\.png would share a result file"):
        detect_split(Oracle(), root, "val", tmp_path / "out")


def test_ground_truth_of_other_images_is_refused_before_detecting(root: Path, tmp_path: Path):
    truth = tmp_path / "other_bbx_gt.txt"
    write_annotations(truth, [WiderImage("9--X/x.jpg", np.ones((1, 4)), np.zeros((1, 6), int))])
    with pytest.raises(UserError, match=r"0--Parade/a"):
        evaluate_wider(Blind(), root, "val", tmp_path / "out", ground_truth=truth)
    assert not list((tmp_path / "out" / "detections").rglob("*.txt"))
