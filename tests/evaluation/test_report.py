"""Reports: the keys programs read, the tables people read, and the pictures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from ssh_tf.errors import UserError
from ssh_tf.evaluation import report
from ssh_tf.evaluation.curves import Curve, RocCurve
from ssh_tf.evaluation.report import Summary, write_report, write_roc_report

SUMMARY = Summary(dataset="wider", images=3226, detections=9, seconds=1.5)
CURVE = Curve(0.5, np.array([np.nan, 1.0, 0.5]), np.array([0.0, 0.25, 0.5]))
CURVES = {"easy": CURVE, "medium": CURVE, "hard": CURVE}
ROC = RocCurve(np.array([0.0, 1.0, 600.0]), np.array([0.0, 0.5, 0.75]), np.array([9.0, 0.9, 0.1]))


def _json(folder: Path) -> dict[str, object]:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    text = (folder / "report.json").read_text()
    content: dict[str, object] = json.loads(text, parse_constant=refuse)
    return content


def test_json_has_the_stable_keys(tmp_path: Path) -> None:
    write_report(tmp_path, SUMMARY, CURVES)
    assert _json(tmp_path) == {
        "dataset": "wider",
        "images": 3226,
        "detections": 9,
        "seconds": 1.5,
        "unreadable": [],
        "ap": {"easy": 0.5, "medium": 0.5, "hard": 0.5},
    }


def test_setting_without_faces_is_null_and_still_valid_json(tmp_path: Path) -> None:
    write_report(tmp_path, SUMMARY, {"easy": Curve(np.nan, CURVE.precision, CURVE.recall)})
    assert _json(tmp_path)["ap"] == {"easy": None}
    assert "| this run | no faces |" in (tmp_path / "report.md").read_text()


def test_table_compares_with_the_published_detectors(tmp_path: Path) -> None:
    write_report(tmp_path, SUMMARY, CURVES)
    text = (tmp_path / "report.md").read_text()
    assert "| this run | 50.00 | 50.00 | 50.00 |" in text
    assert "| SSH, pyramid | 93.12 | 92.11 | 84.58 |" in text
    assert "not comparable" not in text


def test_part_of_the_images_is_said_to_be_not_comparable(tmp_path: Path) -> None:
    part = Summary(dataset="wider", images=23, detections=9, seconds=1.0)
    write_report(tmp_path, part, CURVES)
    assert "Only 23 of the 3,226" in (tmp_path / "report.md").read_text()


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


def test_published_curves_are_drawn_with_ours(tmp_path: Path) -> None:
    published = tmp_path / "published"
    published.mkdir()
    content = {"pr_cruve": np.array([[1.0, 0.9]]), "legend_name": "Other"}
    savemat(published / "wider_pr_info_other_easy_val.mat", content)
    for run, source in (("with", published), ("without", None)):
        (tmp_path / run).mkdir()
        write_report(tmp_path / run, SUMMARY, {"easy": CURVE}, published=source)
    with_other, without = (tmp_path / run / "pr_easy.png" for run in ("with", "without"))
    assert with_other.read_bytes() != without.read_bytes()


def test_folder_without_published_curves_is_an_error_before_anything_is_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match="no published curves of easy"):
        write_report(tmp_path, SUMMARY, {"easy": CURVE}, published=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_best_curve_comes_first_in_the_legend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = []
    monkeypatch.setattr(report, "_save", lambda figure, stem: figures.append(figure))
    others = {"Weak": replace(CURVE, ap=0.25), "Strong": replace(CURVE, ap=0.75)}
    write_report(tmp_path, SUMMARY, {"easy": CURVE}, others={"easy": others})
    legend = figures[0].axes[0].get_legend()
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["Strong, AP 75.00", "this run, AP 50.00", "Weak, AP 25.00"]


def test_roc_table_counts_the_limit_itself(tmp_path: Path) -> None:
    curve = RocCurve(np.array([100.0, 101.0]), np.array([0.5, 0.75]), np.array([0.9, 0.1]))
    write_roc_report(tmp_path, SUMMARY, {"discrete": curve})
    assert "| 100 | 50.00 |" in (tmp_path / "report.md").read_text()


def test_a_folder_with_one_of_two_published_rocs_is_an_error_before_anything_is_written(
    tmp_path: Path,
) -> None:
    published, out = tmp_path / "published", tmp_path / "out"
    for folder in (published, out):
        folder.mkdir()
    (published / "aDiscROC.txt").write_text("0.5 1\n")
    with pytest.raises(UserError, match=r"published has no .*ContROC\.txt"):
        write_roc_report(out, SUMMARY, {"discrete": ROC, "continuous": ROC}, published=published)
    assert list(out.iterdir()) == []


def test_roc_report_has_both_curves_whole(tmp_path: Path) -> None:
    summary = Summary(dataset="fddb", images=2845, detections=9, seconds=1.0)
    write_roc_report(tmp_path, summary, {"discrete": ROC, "continuous": ROC})
    content = _json(tmp_path)
    points = {"false_positives": [0.0, 1.0, 600.0], "true_positive_rate": [0.0, 0.5, 0.75]}
    assert content["discrete"] == content["continuous"] == points
    assert content["dataset"] == "fddb"
    text = (tmp_path / "report.md").read_text()
    assert "| 500 | 50.00 | 50.00 |" in text
    assert "| 1,000 | 75.00 | 75.00 |" in text
    assert (tmp_path / "roc_discrete.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "roc_continuous.pdf").read_bytes().startswith(b"%PDF")
