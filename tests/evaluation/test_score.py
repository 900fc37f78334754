"""Tests of scoring folders of result files."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from ssh_tf.data.annotations import AnnotatedImage
from ssh_tf.data.readers.wider import split_layout
from ssh_tf.errors import UserError
from ssh_tf.evaluation import fddb
from ssh_tf.evaluation.detections import refuse_fractions, write_boxes
from ssh_tf.evaluation.detections import write_wider as write_result
from ssh_tf.evaluation.score import Options, score_fddb, score_pascal, score_wider
from ssh_tf.evaluation.truth import all_faces, read_truth
from tests.support.small import WIDER_BOXES, write_wider


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    write_wider(tmp_path / "wider", "val")
    return split_layout(tmp_path / "wider", "val").annotations


def write_results(folder: Path, *, shift: float = 0.0) -> Path:
    """Writes the annotated faces as detections, moved by `shift` px."""
    for name, boxes in WIDER_BOXES.items():
        table = np.array(boxes, np.float32).reshape(-1, 4)
        corners = np.concatenate([table[:, :2], table[:, :2] + table[:, 2:]], axis=1) + shift
        write_result(folder, name, corners, np.linspace(0.9, 0.8, len(table)))
    return folder


def test_an_annotation_file_serves_as_ground_truth(annotations: Path):
    truth = read_truth(annotations)
    assert truth.names == ["0--Parade/a", "0--Parade/b", "1--Empty/c", "1--Empty/d"]
    assert [len(kept) for kept in truth.counted["all"]] == [2, 1, 0, 2]


def test_a_folder_serves_as_the_official_ground_truth(test_data: Path):
    truth = read_truth(test_data / "wider" / "ground_truth")
    assert sorted(truth.counted) == ["easy", "hard", "medium"]


def test_right_detections_score_1_and_the_report_says_so(annotations: Path, tmp_path: Path):
    results = write_results(tmp_path / "results")
    curves = score_wider(results, read_truth(annotations), tmp_path / "out")
    assert curves["all"].ap == pytest.approx(1.0)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["dataset"], report["images"], report["detections"]) == ("wider", 4, 6)
    assert report["ap"]["all"] == pytest.approx(1.0)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"report.json", "report.md", "pr_all.png", "pr_all.pdf", "reliability.png"}


@pytest.mark.usefixtures("unsaved")
def test_detections_beside_the_faces_score_0(annotations: Path, tmp_path: Path):
    results = write_results(tmp_path / "results", shift=200)
    curves = score_wider(results, read_truth(annotations), tmp_path / "out")
    assert curves["all"].ap == 0


@pytest.mark.usefixtures("unsaved")
def test_seconds_of_the_detection_are_added(annotations: Path, tmp_path: Path):
    truth, results = read_truth(annotations), write_results(tmp_path / "results")
    score_wider(results, truth, tmp_path / "out", options=Options(seconds=1e6))
    assert json.loads((tmp_path / "out" / "report.json").read_text())["seconds"] > 1e6


@pytest.mark.usefixtures("unsaved")
def test_missing_and_misnamed_result_files_are_told(
    annotations: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    results, truth = write_results(tmp_path / "results"), read_truth(annotations)
    score_wider(results, truth, tmp_path / "out")
    assert caplog.messages == []
    (results / "0--parade").mkdir()
    (results / "0--Parade" / "a.txt").rename(results / "0--parade" / "a.txt")
    score_wider(results, truth, tmp_path / "out", options=Options(unreadable=["0--Parade/a.jpg"]))
    score_wider(results, truth, tmp_path / "out")
    unknown = "1 of 4 result files belong to no image of the ground truth, such as 0--parade/a. "
    missing = "1 of 4 images have no result file, such as 0--Parade/a. "
    assert [message.split("The")[0] for message in caplog.messages] == [unknown, unknown, missing]


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_folder_without_results_is_refused(annotations: Path, tmp_path: Path, name: str):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=rf"{name} (does not exist|has no result files)"):
        score_wider(tmp_path / name, read_truth(annotations), tmp_path / "out")
    assert not (tmp_path / "out" / "report.json").exists()


def test_a_missing_ground_truth_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"absent does not exist. Expected "):
        read_truth(tmp_path / "absent")


def test_an_output_that_is_a_file_is_refused(annotations: Path, tmp_path: Path):
    results = write_results(tmp_path / "results")
    with pytest.raises(UserError, match=r"Output folder .* is not writable"):
        score_wider(results, read_truth(annotations), annotations)


def test_fddb_curves_of_others_are_drawn_and_listed(test_data: Path, tmp_path: Path):
    (tmp_path / "FDDB-fold-01-ellipseList.txt").write_text("a\n1\n20 20 0 50 50 1\n")
    (tmp_path / "sizes.txt").write_text("a 100 100\n")
    (tmp_path / "found.txt").write_text("a\n1\n20 20 0 50 50 0.9\n")
    curves = score_fddb(
        tmp_path / "found.txt",
        tmp_path,
        tmp_path / "sizes.txt",
        tmp_path / "out",
        options=Options(name="ours", published=test_data / "fddb" / "expected"),
    )
    assert curves["continuous"].true_positive_rate.tolist() == [1.0]
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| ours | 100.00 | 100.00 | 100.00 | 100.00 | 100.00 |" in text
    assert re.search(r"\| mtcnn_hualitlc \| 71\.88 \| .* \| 92\.17 \|\n", text)
    assert (tmp_path / "out" / "roc_discrete.png").exists()


def test_a_folder_without_others_curves_is_refused(test_data: Path, tmp_path: Path):
    pascal = test_data / "pascal"
    detections, annotations = pascal / "AFW" / "DPM.txt", pascal / "afw_annotations.csv"
    for score in (
        lambda: score_pascal(
            "afw", detections, annotations, tmp_path, options=Options(published=tmp_path)
        ),
        lambda: score_fddb(
            test_data / "fddb" / "detections_mtcnn_hualitlc.txt",
            test_data / "fddb" / "FDDB-folds",
            test_data / "fddb" / "fddb_image_sizes.txt",
            tmp_path / "fddb",
            options=Options(published=tmp_path / "fddb"),
        ),
    ):
        with pytest.raises(UserError, match=r"(is empty\. Expected|has no) "):
            score()


def test_other_pascal_detectors_are_scored_and_drawn(test_data: Path, tmp_path: Path):
    pascal = test_data / "pascal"
    ours, annotations = pascal / "AFW" / "Ours_Headhunter.txt", pascal / "afw_annotations.csv"
    for out, published in (("alone", None), ("beside", pascal / "AFW")):
        curves = score_pascal(
            "afw", ours, annotations, tmp_path / out, options=Options(published=published)
        )
    alone, beside = (tmp_path / out / "pr_afw.png" for out in ("alone", "beside"))
    assert curves["afw"].ap > 0.9
    assert alone.read_bytes() != beside.read_bytes()


def test_detections_as_fractions_of_the_image_are_refused(
    annotations: Path, test_data: Path, tmp_path: Path
):
    write_boxes(tmp_path / "found", "e/a.jpg", np.array([[0.1, 0.2, 0.3, 0.4]]), np.array([0.9]))
    (tmp_path / "pascal.txt").write_text("a 0.9 0.1 0.2 0.3 0.4\nb 0.8 0 0 1 1\n")
    says = "seem to be fractions of the image"
    with pytest.raises(UserError, match=says):
        score_wider(tmp_path / "found", read_truth(annotations), tmp_path / "out")
    for detections in (tmp_path / "pascal.txt", tmp_path / "found"):
        with pytest.raises(UserError, match=says):
            score_pascal(
                "afw", detections, test_data / "pascal" / "afw_annotations.csv", tmp_path / "out"
            )
    with pytest.raises(UserError, match=says):
        fddb.read_detections(tmp_path / "found")


def test_few_whole_numbers_are_no_fractions():
    refuse_fractions([np.array([[0.0, 0, 1, 1, 0.5]]), np.zeros((0, 5))], "a")


@pytest.mark.usefixtures("unsaved")
def test_empty_result_files_of_others_are_told(
    annotations: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    results = write_results(tmp_path / "results")
    (results / "0--Parade" / "a.txt").write_bytes(b"")
    score_wider(results, read_truth(annotations), tmp_path / "out")
    assert "1 of 4 result files are empty, such as 0--Parade/a.txt" in caplog.text


@pytest.mark.usefixtures("unsaved")
def test_result_files_that_only_look_like_an_image_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    truth = all_faces(
        [
            AnnotatedImage(name, np.ones((1, 4), np.float32), np.zeros((1, 6), np.int64))
            for name in ("\u00e9.jpg", "b.jpg")
        ]
    )
    for name in ("e\u0301.jpg", "b.jpg"):
        write_result(tmp_path / "results", name, np.array([[5.0, 5, 9, 9]]), np.array([0.5]))
    score_wider(tmp_path / "results", truth, tmp_path / "out")
    assert r"'e\u0301' and '\xe9' look the same, but differ in bytes" in caplog.text


def test_a_published_curve_of_the_same_name_is_refused_before_any_report(
    test_data: Path, tmp_path: Path
):
    folder = test_data / "pascal"
    options = Options(name="DPM", published=folder / "AFW")
    with pytest.raises(UserError, match="has a curve of 'DPM', too"):
        score_pascal(
            "afw",
            folder / "AFW" / "DPM.txt",
            folder / "afw_annotations.csv",
            tmp_path,
            options=options,
        )
    assert not (tmp_path / "report.json").exists()
