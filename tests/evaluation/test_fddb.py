"""FDDB: small cases by hand, and the official program's masks, pairs and curves."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from ssh_tf.errors import UserError
from ssh_tf.evaluation.curves import RocCurve
from ssh_tf.evaluation.detections import write_wider
from ssh_tf.evaluation.fddb import (
    ellipse_mask,
    evaluate,
    image_steps,
    overlaps,
    read_detections,
    read_ellipses,
    read_image_sizes,
    rectangle_mask,
)

SIZE = (40, 30)
CIRCLE = [8.0, 8.0, 0.0, 12.0, 12.0]
ON, OFF = [4.0, 4.0, 16.0, 16.0], [30.0, 20.0, 5.0, 5.0]


def _steps(scores: list[float], iou: list[list[float]]) -> list[list[float]]:
    steps: list[list[float]] = np.round(image_steps(np.array(scores), np.array(iou)), 9).tolist()
    return steps


def test_steps_pair_for_the_largest_sum_not_greedily() -> None:
    # Alone the first detection takes face 0 (0.9); with the second, 0.8 + 0.8 beats 0.9 + 0.1.
    steps = _steps([0.9, 0.5], [[0.9, 0.8], [0.8, 0.1]])
    assert steps == [[0.9, 1, 1, 0.9], [0.5, 1, 1, 0.7]]


def test_pairs_below_a_half_take_part_in_the_assignment() -> None:
    # 0.55 + 0.49 beats 0.6; only 0.55 is found.
    assert _steps([0.9, 0.9], [[0.6, 0.55], [0.49, 0.0]]) == [[0.9, 2, 1, 1.04]]


@pytest.mark.parametrize(
    ("scores", "iou", "expected"),
    [
        pytest.param([0.9], [[0.5]], [[0.9, 1, 0, 0.5]], id="exactly-half-is-not-found"),
        pytest.param([0.9, 0.5], [[0.7, 0.6]], [[0.9, 1, 1, 0.7], [0.5, 1, 0, 0]], id="double"),
        pytest.param([0.5, 0.9], [[0.7, 0]], [[0.9, 1, 0, 0], [0.5, 1, 1, 0.7]], id="unsorted"),
        pytest.param([0.5, 0.5], [[0.7, 0.8]], [[0.5, 2, 1, 0.8]], id="tie"),
    ],
)
def test_steps_by_hand(
    scores: list[float], iou: list[list[float]], expected: list[list[float]]
) -> None:
    assert _steps(scores, iou) == expected


def test_steps_of_empty_images() -> None:
    assert image_steps(np.zeros(0), np.zeros((2, 0))).shape == (0, 4)
    assert image_steps(np.array([0.5]), np.zeros((0, 1))).tolist() == [[0.5, 1, 0, 0]]


def _evaluate(tables: dict[str, list[list[float]]]) -> dict[str, RocCurve]:
    detections = {name: np.array(rows).reshape(-1, 5) for name, rows in tables.items()}
    ellipses = dict.fromkeys(tables, np.array([CIRCLE]))
    return evaluate(detections, ellipses, dict.fromkeys(tables, SIZE))


def test_curve_by_hand() -> None:
    curve = _evaluate({"a": [[*ON, 0.9], [*OFF, 0.8]], "b": [[*OFF, 0.9], [*ON, 0.1]]})["discrete"]
    assert curve.thresholds.tolist() == [0.9, 0.8, 0.1]
    assert curve.false_positives.tolist() == [1, 2, 2]
    assert curve.true_positive_rate.tolist() == [0.5, 0.5, 1.0]


def test_continuous_curve_sums_overlaps_at_the_same_false_positives() -> None:
    curves = _evaluate({"a": [[*ON, 0.9], [*OFF, 0.8]]})
    continuous = curves["continuous"]
    area = int(ellipse_mask(np.array(CIRCLE), *SIZE).sum())  # the circle lies in the rectangle
    assert continuous.true_positive_rate == pytest.approx([area / 17**2] * 2)
    assert continuous.false_positives.tolist() == curves["discrete"].false_positives.tolist()


def test_image_without_detections_misses_its_faces_and_starts_the_curve_at_zero() -> None:
    curve = _evaluate({"a": [[*ON, 0.9]], "b": []})["discrete"]
    assert curve.true_positive_rate.tolist() == [0.0, 0.5]
    assert curve.false_positives.tolist() == [0, 0]


def test_no_detections_at_all_are_one_point_at_zero() -> None:
    curve = _evaluate({"a": [], "b": []})["continuous"]
    assert curve.true_positive_rate.tolist() == [0.0]
    assert curve.false_positives.tolist() == [0.0]


def test_image_without_faces_gives_false_positives() -> None:
    detections = {"a": np.array([[*ON, 0.9]]), "b": np.array([[*ON, 0.5]])}
    ellipses = {"a": np.array([CIRCLE]), "b": np.zeros((0, 5))}
    curve = evaluate(detections, ellipses, dict.fromkeys("ab", SIZE))["discrete"]
    assert curve.false_positives.tolist() == [0, 1]


def test_missing_image_is_named() -> None:
    with pytest.raises(UserError, match=r"No detections of image b \(1 of 2 images"):
        evaluate({"a": np.zeros((0, 5))}, dict.fromkeys("ab", np.array([CIRCLE])), {})


def test_rectangle_paints_both_corners_and_clips() -> None:
    def area(x: float, y: float, w: float, h: float) -> int:
        return int(rectangle_mask(np.array([x, y, w, h]), *SIZE).sum())

    assert area(2, 3, 4, 5) == 5 * 6
    assert area(2, 3, 0, 0) == 1
    assert area(-2, -3, 4, 5) == 3 * 3
    assert area(1e12, 0, 5, 5) == 0
    assert area(2.5, 3.5, 1, 1) == 3 * 1  # 2..4 and 4..4: halves go to the even pixel


def test_ellipse_detections_overlap_as_ellipses() -> None:
    regions = np.array([CIRCLE, [8.0, 8.0, 1.0, 90.0, 90.0]])
    assert overlaps(np.array([CIRCLE]), regions, SIZE).tolist() == [[1.0, 0.0]]


def test_masks_outside_of_the_image_overlap_nothing() -> None:
    outside = np.array([[2.0, 2.0, 0.0, 90.0, 90.0]])
    assert overlaps(outside, np.array([[80.0, 80.0, 5.0, 5.0]]), SIZE).tolist() == [[0.0]]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a/b\n1\n1 2 3 4 0.5\nc\n0\n", id="official"),
        pytest.param("a/b.jpg\r\n1.0\r\n1 2 3 4 0.5\r\n\r\nc\r\n0\r\n\x1a", id="in-the-wild"),
    ],
)
def test_text_detections_are_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "d.txt").write_bytes(text.encode())
    tables = read_detections(tmp_path / "d.txt")
    assert {name: table.tolist() for name, table in tables.items()} == {
        "a/b": [[1, 2, 3, 4, 0.5]],
        "c": [],
    }


def test_ellipse_detections_are_told_by_their_six_columns(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_text("a\n0\nb\n1\n1 2 3 4 5 0.5\n")
    tables = read_detections(tmp_path / "d.txt")
    assert tables["a"].shape == (0, 6)
    assert tables["b"].tolist() == [[1, 2, 3, 4, 5, 0.5]]


def test_detections_in_wider_format_are_read_too(tmp_path: Path) -> None:
    name = "2002/08/11/big/img_591"
    write_wider(tmp_path, f"{name}.jpg", np.array([[1.0, 2, 4, 8]]), np.array([0.5]))
    assert read_detections(tmp_path)[name].tolist() == [[1, 2, 3, 6, 0.5]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a\n", r"d\.txt:1: expected more rows after 'a'", id="no-count"),
        pytest.param("a\n2\n1 2 3 4 .5\n", r"d\.txt:3: .*end of the file", id="truncated"),
        pytest.param("a\n0\n1 2 3 4 .5\nb\n0\n", r"d\.txt:4: .*received 'b'", id="count-too-small"),
        pytest.param("a\n1\n1 2 3 x .5\n", r"d\.txt:3: expected a row", id="letters"),
    ],
)
def test_malformed_detections_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "d.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        read_detections(tmp_path / "d.txt")


def test_folds_are_read_in_order(tmp_path: Path) -> None:
    row = "123.5 85.5 1.25 269.6 161.7  1\n"
    (tmp_path / "FDDB-fold-02-ellipseList.txt").write_text(f"b\n1\n{row}")
    (tmp_path / "FDDB-fold-01-ellipseList.txt").write_text(f"c\n1\n{row}")
    ellipses = read_ellipses(tmp_path)
    assert list(ellipses) == ["c", "b"]
    assert ellipses["b"].tolist() == [[123.5, 85.5, 1.25, 269.6, 161.7]]


def test_folder_without_folds_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no FDDB-fold"):
        read_ellipses(tmp_path)


def test_sizes_come_from_a_file_or_from_images(tmp_path: Path) -> None:
    (tmp_path / "sizes.txt").write_text("x/a 40 30\nx/b 1 2\n")
    (tmp_path / "x").mkdir()
    cv2.imwrite(str(tmp_path / "x" / "a.jpg"), np.zeros((30, 40, 3), np.uint8))
    assert read_image_sizes(tmp_path / "sizes.txt", ["x/a"]) == {"x/a": (40, 30)}
    assert read_image_sizes(tmp_path, ["x/a"]) == {"x/a": (40, 30)}


def test_image_without_a_size_is_named(tmp_path: Path) -> None:
    (tmp_path / "sizes.txt").write_text("x/a 40 30\n")
    (tmp_path / "b.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match="no size of image x/b"):
        read_image_sizes(tmp_path / "sizes.txt", ["x/b"])
    with pytest.raises(UserError, match=r"x/b\.jpg does not exist"):
        read_image_sizes(tmp_path, ["x/b"])
    with pytest.raises(UserError, match=r"b\.jpg is not a readable image"):
        read_image_sizes(tmp_path, ["b"])


def _official(test_data: Path) -> tuple[dict[str, np.ndarray], dict[str, tuple[int, int]]]:
    folder = test_data / "fddb"
    ellipses = read_ellipses(folder / "FDDB-folds")
    return ellipses, read_image_sizes(folder / "fddb_image_sizes.txt", list(ellipses))


def test_official_annotations_have_the_published_counts(test_data: Path) -> None:
    ellipses, _ = _official(test_data)
    assert (len(ellipses), sum(map(len, ellipses.values()))) == (2845, 5171)


def test_ellipse_masks_are_the_official_ones(test_data: Path) -> None:
    ellipses, sizes = _official(test_data)
    lines = (test_data / "fddb" / "expected" / "ellipse_masks.txt").read_text().splitlines()
    for line in lines:
        name, index, *expected = line.split()
        rows, columns = np.nonzero(ellipse_mask(ellipses[name][int(index)], *sizes[name]))
        box = [columns.min(), rows.min(), columns.max(), rows.max()]
        assert [len(rows), *box] == list(map(int, expected)), line


def test_overlaps_are_the_official_ones(test_data: Path) -> None:
    ellipses, sizes = _official(test_data)
    folder = test_data / "fddb"
    detections = read_detections(folder / "detections_mtcnn_hualitlc.txt")
    lines = (folder / "expected" / "pairs_mtcnn_hualitlc.txt").read_text().splitlines()
    pairs = [line.split() for line in lines[:500]]
    tables = {
        name: overlaps(ellipses[name], detections[name][:, :-1], sizes[name])
        for name in {pair[0] for pair in pairs}
    }
    for name, face, found, inter, union in pairs:
        iou = tables[name][int(face), int(found)]
        assert iou == pytest.approx(int(inter) / int(union), abs=1e-12)


@pytest.mark.parametrize(
    "detector", ["mtcnn_hualitlc", "retinaface_mnet025", "synth_gt_bounding_rects"]
)
def test_known_detectors_have_the_official_curves(test_data: Path, detector: str) -> None:
    folder = test_data / "fddb"
    curves = evaluate(read_detections(folder / f"detections_{detector}.txt"), *_official(test_data))
    for name, file in (("discrete", "Disc"), ("continuous", "Cont")):
        # Official files run from the most false positives to the fewest, with six digits.
        expected = np.loadtxt(folder / "expected" / f"{detector}_{file}ROC.txt")[::-1]
        curve = curves[name]
        assert curve.true_positive_rate == pytest.approx(expected[:, 0], abs=1e-6)
        assert np.array_equal(curve.false_positives, expected[:, 1])


def test_a_name_that_leads_out_of_the_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "FDDB-fold-01-ellipseList.txt").write_text("../../a\n1\n9 9 0 20 20 1\n")
    with pytest.raises(UserError, match=r"stays inside the images folder, received '\.\./\.\./a'"):
        read_ellipses(tmp_path)
