"""Reports: the keys programs read, the tables people read, and the pictures."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssh_tf.evaluation.breakdown import Breakdown, HeightRange, ImageResult, Point, ScoreRange
from ssh_tf.evaluation.curves import Curve, RocCurve
from ssh_tf.evaluation.report import write_report, write_roc_report
from ssh_tf.evaluation.summary import Summary
from tests.support.small import encode, picture

SUMMARY = Summary(dataset="wider", images=3226, detections=9, seconds=1.5)
CURVE = Curve(0.5, np.array([np.nan, 1.0, 0.5]), np.array([0.0, 0.25, 0.5]))
CURVES = {"easy": CURVE, "medium": CURVE, "hard": CURVE}
ROC = RocCurve(np.array([0.0, 1.0, 600.0]), np.array([0.0, 0.5, 0.75]), np.array([9.0, 0.9, 0.1]))


def _json(folder: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    text = (folder / "report.json").read_text()
    content: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return content


@pytest.mark.usefixtures("unsaved")
def test_json_has_the_stable_keys(tmp_path: Path) -> None:
    write_report(tmp_path, SUMMARY, CURVES)
    assert _json(tmp_path) == {
        "dataset": "wider",
        "images": 3226,
        "detections": 9,
        "seconds": 1.5,
        "unreadable": [],
        "name": "this run",
        "ap": {"easy": 0.5, "medium": 0.5, "hard": 0.5},
    }


@pytest.mark.usefixtures("unsaved")
def test_setting_without_faces_is_null_and_still_valid_json(tmp_path: Path) -> None:
    write_report(tmp_path, SUMMARY, {"easy": Curve(np.nan, CURVE.precision, CURVE.recall)})
    assert _json(tmp_path)["ap"] == {"easy": None}
    assert "| this run | no faces |" in (tmp_path / "report.md").read_text()


@pytest.mark.usefixtures("unsaved")
def test_table_compares_with_the_published_detectors(tmp_path: Path) -> None:
    write_report(tmp_path, SUMMARY, CURVES)
    text = (tmp_path / "report.md").read_text()
    assert "| this run | 50.00 | 50.00 | 50.00 |" in text
    assert "| SSH, pyramid | 93.12 | 92.11 | 84.58 |" in text
    assert "not comparable" not in text


@pytest.mark.usefixtures("unsaved")
def test_part_of_the_images_is_said_to_be_not_comparable(tmp_path: Path) -> None:
    part = Summary(dataset="wider", images=23, detections=9, seconds=1.0)
    write_report(tmp_path, part, CURVES)
    assert "Only 23 of the 3,226" in (tmp_path / "report.md").read_text()


@pytest.mark.usefixtures("unsaved")
@pytest.mark.parametrize(("dataset", "setting"), [("wider", "all"), ("pascal", "pascal")])
def test_other_settings_have_no_published_rows(tmp_path: Path, dataset: str, setting: str) -> None:
    summary = Summary(dataset=dataset, images=2, detections=9, seconds=1.0)
    write_report(tmp_path, summary, {setting: CURVE})
    text = (tmp_path / "report.md").read_text()
    assert f"| detector | {setting} |" in text
    assert "HR" not in text


def test_curves_are_drawn_as_png_and_pdf(tmp_path: Path) -> None:
    write_report(tmp_path, SUMMARY, CURVES)
    for setting in CURVES:
        assert (tmp_path / f"pr_{setting}.png").read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / f"pr_{setting}.pdf").read_bytes().startswith(b"%PDF")
    assert len(list(tmp_path.iterdir())) == 8


def test_the_same_curves_give_the_same_bytes(tmp_path: Path) -> None:
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        write_report(tmp_path / run, SUMMARY, {"easy": CURVE})
    for file in ("report.json", "report.md", "pr_easy.png", "pr_easy.pdf"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert b"CreationDate" not in (tmp_path / "a" / "pr_easy.pdf").read_bytes()


def test_other_curves_stand_in_the_table_and_in_the_figure(tmp_path: Path) -> None:
    for run, others in (("with", {"easy": {"Other": CURVE}}), ("without", None)):
        (tmp_path / run).mkdir()
        write_report(tmp_path / run, SUMMARY, {"easy": CURVE}, others=others)
    with_other, without = (tmp_path / run / "pr_easy.png" for run in ("with", "without"))
    assert with_other.read_bytes() != without.read_bytes()
    text = (tmp_path / "with" / "report.md").read_text()
    assert "| Other | 50.00 |" in text
    # The curves that were asked for take the place of the published numbers.
    assert "SSH, pyramid" not in text


@pytest.mark.usefixtures("unsaved")
def test_a_method_without_a_curve_of_a_setting_has_an_empty_cell(tmp_path: Path) -> None:
    curves = {"easy": CURVE, "hard": CURVE}
    write_report(tmp_path, SUMMARY, curves, others={"hard": {"Other": CURVE}})
    assert "| Other |  | 50.00 |" in (tmp_path / "report.md").read_text()


@pytest.mark.usefixtures("unsaved")
def test_roc_table_counts_the_limit_itself(tmp_path: Path) -> None:
    curve = RocCurve(np.array([100.0, 101.0]), np.array([0.5, 0.75]), np.array([0.9, 0.1]))
    write_roc_report(tmp_path, SUMMARY, {"discrete": curve})
    text = (tmp_path / "report.md").read_text()
    assert "| discrete, false positives | 10 | 100 | 500 | 1,000 | 2,000 |" in text
    assert "| this run | 0.00 | 50.00 | 75.00 | 75.00 | 75.00 |" in text


def test_roc_report_has_both_curves_whole(tmp_path: Path) -> None:
    summary = Summary(dataset="fddb", images=2845, detections=9, seconds=1.0)
    write_roc_report(tmp_path, summary, {"discrete": ROC, "continuous": ROC})
    content = _json(tmp_path)
    points = {"false_positives": [0.0, 1.0, 600.0], "true_positive_rate": [0.0, 0.5, 0.75]}
    assert content["discrete"] == content["continuous"] == points
    assert content["dataset"] == "fddb"
    text = (tmp_path / "report.md").read_text()
    assert text.count("| this run | 50.00 | 50.00 | 50.00 | 75.00 | 75.00 |") == 2
    assert (tmp_path / "roc_discrete.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "roc_continuous.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.usefixtures("unsaved")
def test_roc_tables_have_the_curves_drawn_beside(tmp_path: Path) -> None:
    summary = replace(SUMMARY, dataset="fddb", name="ours")
    write_roc_report(tmp_path, summary, {"discrete": ROC}, others={"discrete": {"Other": ROC}})
    rows = [line for line in (tmp_path / "report.md").read_text().splitlines() if "|" in line]
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| ours", "| Other"]


FOUND = Point(0.5, found=3, false=1, missed=2)


def _breakdown(worst: list[ImageResult]) -> Breakdown:
    return Breakdown(
        setting="all",
        operating_point=FOUND,
        best_threshold=Point(np.nan, found=0, false=0, missed=5),
        heights=[HeightRange("0-16", 0, np.nan, np.nan), HeightRange("16-32", 5, 0.5, 0.6)],
        reliability=[ScoreRange(0.0, 0.1, 0, np.nan, np.nan), ScoreRange(0.1, 0.2, 4, 0.15, 0.25)],
        worst=worst,
    )


def test_parts_of_the_evaluation_stand_in_both_reports(tmp_path: Path) -> None:
    box = np.array([[1.0, 2, 30, 40]])
    worst = [ImageResult("e/a|b", 0.5, box.repeat(3, 0), box, box.repeat(2, 0))]
    write_report(tmp_path, SUMMARY, {"all": CURVE}, breakdown=_breakdown(worst))
    content = _json(tmp_path)
    # 3 of 4 detections, 3 of 5 faces: F1 is 2 * 3 / (4 + 5).
    counts = {"found": 3, "false": 1, "missed": 2}
    assert content["operating_point"] == {
        "score": 0.5,
        "precision": 0.75,
        "recall": 0.6,
        "f1": pytest.approx(2 / 3),
        **counts,
    }
    assert content["best_threshold"]["score"] is None
    assert content["ap_by_height"]["0-16"] == {"faces": 0, "ap": None, "recall": None}
    assert content["reliability"][1]["right"] == 0.25
    assert content["worst"] == [{"image": "e/a|b", **counts}]
    text = (tmp_path / "report.md").read_text()
    assert "| 0-16 | 0 |  |  |" in text
    assert "| operating point | 0.5 | 75.00 | 60.00 | 66.67 | 3 | 1 | 2 |" in text
    assert "| 0.1-0.2 | 4 | 25.00 |" in text
    assert "| e/a\\|b | 3 | 1 | 2 |" in text  # else the name would end its cell
    assert (tmp_path / "reliability.png").exists()
    assert not (tmp_path / "worst.jpg").exists()


def test_worst_images_are_drawn_where_they_can_be_read(tmp_path: Path) -> None:
    box, none = np.array([[1.0, 2, 30, 40]]), np.zeros((0, 4))
    names = ("a", "absent", "broken")
    worst = [ImageResult(name, 0.5, box, box, none) for name in names]
    images = {name: tmp_path / f"{name}.jpg" for name in names}
    images["a"].write_bytes(encode(picture()))
    images["broken"].write_bytes(b"")
    write_report(tmp_path, SUMMARY, {"all": CURVE}, breakdown=_breakdown(worst), images=images)
    assert (tmp_path / "worst.jpg").read_bytes().startswith(b"\xff\xd8")
    assert [each["image"] for each in _json(tmp_path)["worst"]] == list(names)
