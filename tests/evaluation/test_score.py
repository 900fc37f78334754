"""Tests of scoring folders of result files."""

import json
from pathlib import Path

import numpy as np
import pytest

from ssh_tf.data.readers.wider import split_layout
from ssh_tf.errors import UserError
from ssh_tf.evaluation.curves import load_roc
from ssh_tf.evaluation.detections import write_wider as write_result
from ssh_tf.evaluation.score import Options, score_fddb, score_pascal, score_wider
from ssh_tf.evaluation.truth import read_truth
from tests.small import WIDER_BOXES, write_wider


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
    assert [len(kept) for kept in truth.kept["all"]] == [2, 1, 0, 2]


def test_a_folder_serves_as_the_official_ground_truth(test_data: Path):
    truth = read_truth(test_data / "wider" / "ground_truth")
    assert sorted(truth.kept) == ["easy", "hard", "medium"]


def test_right_detections_score_1_and_the_report_says_so(annotations: Path, tmp_path: Path):
    results = write_results(tmp_path / "results")
    curves = score_wider(results, read_truth(annotations), tmp_path / "out")
    assert curves["all"].ap == pytest.approx(1.0)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["dataset"], report["images"], report["detections"]) == ("wider", 4, 6)
    assert report["ap"]["all"] == pytest.approx(1.0)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"report.json", "report.md", "pr_all.png", "pr_all.pdf", "reliability.png"}


def test_detections_beside_the_faces_score_0(annotations: Path, tmp_path: Path):
    results = write_results(tmp_path / "results", shift=200)
    curves = score_wider(results, read_truth(annotations), tmp_path / "out")
    assert curves["all"].ap == 0


def test_seconds_count_from_when_the_work_began(annotations: Path, tmp_path: Path):
    truth, results = read_truth(annotations), write_results(tmp_path / "results")
    score_wider(results, truth, tmp_path / "out", options=Options(started=-1e6))
    assert json.loads((tmp_path / "out" / "report.json").read_text())["seconds"] > 1e6


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


def test_fddb_curves_of_others_are_drawn_and_read_back_as_scored(test_data: Path, tmp_path: Path):
    fddb = test_data / "fddb"
    curves = score_fddb(
        fddb / "detections_mtcnn_hualitlc.txt",
        fddb / "FDDB-folds",
        fddb / "fddb_image_sizes.txt",
        tmp_path / "out",
        options=Options(published=fddb / "expected"),
    )
    official = load_roc(fddb / "expected" / "mtcnn_hualitlc_DiscROC.txt")
    ours = curves["discrete"]
    np.testing.assert_allclose(official.false_positives, ours.false_positives, atol=1)
    np.testing.assert_allclose(official.true_positive_rate, ours.true_positive_rate, atol=1e-3)
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
