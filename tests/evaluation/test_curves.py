"""Average precision by hand, and on published curves."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from ssh_tf.errors import UserError
from ssh_tf.evaluation.curves import load_published, load_roc, voc_ap

NAN = float("nan")


@pytest.mark.parametrize(
    ("recall", "precision", "expected"),
    [
        pytest.param([], [], 0.0, id="no-points"),
        pytest.param([1.0], [1.0], 1.0, id="perfect"),
        pytest.param([0.5, 1.0], [1.0, 0.5], 0.75, id="two-steps"),  # 0.5 * 1 + 0.5 * 0.5
        pytest.param([0.5, 0.5, 1.0], [1.0, 0.5, 0.75], 0.875, id="envelope"),  # 0.5 + 0.5 * 0.75
        pytest.param([0.0, 0.5], [NAN, 0.8], 0.4, id="nothing-detected-yet"),
        pytest.param([0.0, 0.0], [NAN, NAN], 0.0, id="nothing-detected-at-all"),
        pytest.param([0.2], [0.5], 0.1, id="no-area-beyond-the-last-recall"),
    ],
)
def test_voc_ap_by_hand(recall: list[float], precision: list[float], expected: float) -> None:
    assert voc_ap(np.array(recall), np.array(precision)) == pytest.approx(expected, abs=1e-15)


def test_voc_ap_is_nan_where_recall_is() -> None:
    assert np.isnan(voc_ap(np.full(3, NAN), np.full(3, NAN)))


@pytest.mark.parametrize(
    ("method", "name", "expected"),
    [
        ("SSH", "SSH", [0.91922, 0.90735, 0.81401]),
        ("HR", "HR(ResNet-101)", [0.92571, 0.91048, 0.80605]),
        ("cms-rcnn", "CMS-RCNN", [0.89934, 0.87451, 0.62444]),
        ("multitask-cascade-cnn", "Multitask Cascade CNN", [0.8488, 0.8258, 0.5984]),
    ],
)
def test_published_curves_have_their_published_ap(
    test_data: Path, method: str, name: str, expected: list[float]
) -> None:
    for setting, ap in zip(("easy", "medium", "hard"), expected, strict=True):
        file = test_data / "wider" / "pr_curves" / f"wider_pr_info_{method}_{setting}_val.mat"
        legend, curve = load_published(file)
        assert legend == name
        assert curve.ap == pytest.approx(ap, abs=5e-5)
        assert len(curve.recall) == len(curve.precision) == 1000


def _write_mat73(path: Path, name: str, table: np.ndarray) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file["pr_cruve"] = table.T
        file["legend_name"] = np.array([[ord(letter)] for letter in name], np.uint16)


def test_both_mat_versions_are_read(tmp_path: Path) -> None:
    table = np.array([[1.0, 0.25], [0.5, 0.5]])  # precision, recall
    savemat(tmp_path / "5.mat", {"pr_cruve": table, "legend_name": "A"})
    _write_mat73(tmp_path / "7.mat", "A", table)
    for file in ("5.mat", "7.mat"):
        name, curve = load_published(tmp_path / file)
        assert name == "A"
        assert curve.recall.tolist() == [0.25, 0.5]
        assert curve.ap == 0.25 * 1 + 0.25 * 0.5


@pytest.mark.parametrize("content", [b"", b"not a mat file", b"\0" * 600])
def test_damaged_curve_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.mat: expected a MATLAB file"):
        load_published(tmp_path / "x.mat")


def test_mat_file_without_the_curve_is_named(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"other": 1})
    with pytest.raises(UserError, match="pr_cruve"):
        load_published(tmp_path / "x.mat")


def test_a_roc_of_the_official_program_is_read(tmp_path: Path):
    path = tmp_path / "aDiscROC.txt"
    path.write_text("0.9 20 0.1\r\n0.5 3 0.8\r\n0 0 1.79769e+308\r\n")
    curve = load_roc(path)
    np.testing.assert_array_equal(curve.false_positives, [0, 3, 20])
    np.testing.assert_array_equal(curve.true_positive_rate, [0, 0.5, 0.9])
    assert curve.thresholds[1] == 0.8
    path.write_text("0.9 20\n0.5 3\n")
    assert np.isnan(load_roc(path).thresholds).all()


def test_a_malformed_roc_is_named(tmp_path: Path):
    (tmp_path / "a.txt").write_text("0.9 20 0.1\n0.5\n")
    with pytest.raises(UserError, match=r"a\.txt:2: expected a row `true_positive_rate"):
        load_roc(tmp_path / "a.txt")
