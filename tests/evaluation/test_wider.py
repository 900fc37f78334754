"""The WIDER protocol: small cases by hand, a loop as oracle, and the official program's numbers."""

import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ssh_tf.data.annotations import AnnotatedImage
from ssh_tf.errors import UserError
from ssh_tf.evaluation.detections import read_wider
from ssh_tf.evaluation.truth import WiderGroundTruth, all_faces, load_ground_truth
from ssh_tf.evaluation.wider import evaluate, first_match

Table = Sequence[Sequence[float]]

# Two faces of 10 x 10 inclusive pixels, far apart, and a place without a face.
A, B, NOWHERE = [0, 0, 9, 9], [100, 0, 9, 9], [500, 500, 9, 9]


def _truth(faces: Table = (A, B), kept: Sequence[int] = (0, 1)) -> WiderGroundTruth:
    table = np.array(faces, np.int32).reshape(-1, 4)
    return WiderGroundTruth(["e/a"], [table], {"all": [np.array(kept, np.int64)]})


def _detections(*rows: tuple[list[int], float]) -> dict[str, np.ndarray]:
    return {"e/a": np.array([[*box, score] for box, score in rows], float).reshape(-1, 5)}


def _ap(detections: dict[str, np.ndarray], truth: WiderGroundTruth) -> float:
    return evaluate(detections, truth)["all"].ap


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([(A, 0.9), (B, 0.1)], 1.0, id="both-found"),
        pytest.param([(A, 0.9), (NOWHERE, 0.1)], 0.5, id="found-before-false"),
        pytest.param([(NOWHERE, 0.9), (A, 0.1)], 0.25, id="false-before-found"),  # 1/2 * 1/2
        # A again is a false positive: 1/2 * 1 + 1/2 * 2/3.
        pytest.param([(A, 0.9), (A, 0.5), (B, 0.1)], 5 / 6, id="double-detection"),
        # The tied pair enters at once, precision 1/2; B lifts the envelope to 2/3.
        pytest.param([(A, 0.9), (NOWHERE, 0.9), (B, 0.1)], 2 / 3, id="tie"),
        pytest.param([(NOWHERE, 0.9), (NOWHERE, 0.1)], 0.0, id="nothing-found"),
        pytest.param([], 0.0, id="no-detections"),
        # Normalizing is 0/0: nothing passes any threshold, as in MATLAB.
        pytest.param([(A, 0.5), (B, 0.5)], 0.0, id="all-scores-equal"),
        # Equal in single precision, which the official code uses.
        pytest.param([(A, 0.5 + 1e-12), (B, 0.5)], 0.0, id="scores-equal-in-float32"),
    ],
)
def test_average_precision_by_hand(rows: list[tuple[list[int], float]], expected: float) -> None:
    assert _ap(_detections(*rows), _truth()) == pytest.approx(expected, abs=1e-12)


def test_detection_of_an_ignored_face_is_neither_right_nor_wrong() -> None:
    rows = [(A, 0.9), (A, 0.8), (B, 0.1)]
    assert _ap(_detections(*rows), _truth(kept=[1])) == 1.0


def test_missing_file_and_empty_table_miss_the_faces() -> None:
    truth = WiderGroundTruth(
        ["e/a", "e/b"],
        [np.array([A, B], np.int32), np.array([A, B], np.int32)],
        {"all": [np.array([0, 1])] * 2},
    )
    detections = _detections((A, 0.9), (B, 0.1))
    assert _ap(detections, truth) == 0.5
    assert _ap({**detections, "e/b": np.zeros((0, 5))}, truth) == 0.5


def test_no_files_at_all_give_zero() -> None:
    curve = evaluate({}, _truth())["all"]
    assert curve.ap == 0.0
    assert curve.recall.tolist() == [0.0] * 1000


def test_setting_without_counted_faces_has_no_average_precision() -> None:
    assert np.isnan(_ap(_detections((A, 0.9), (B, 0.1)), _truth(kept=[])))


def test_other_images_are_ignored_but_not_if_all_are_other() -> None:
    rows = _detections((A, 0.9), (B, 0.1))
    assert _ap({**rows, "e/z": np.array([[0, 0, 9, 9, 99.0]])}, _truth()) == 1.0
    with pytest.raises(UserError, match=r"None of the 1 images.*first: f/z.*first: e/a"):
        evaluate({"f/z": rows["e/a"]}, _truth())


def test_order_of_rows_in_the_file_does_not_matter(rng: np.random.Generator) -> None:
    detections, truth = _random_case(rng)
    shuffled = {name: rng.permutation(table) for name, table in detections.items()}
    assert _ap(shuffled, truth) == _ap(detections, truth)


def test_scores_normalize_over_the_whole_set() -> None:
    curve = evaluate(_detections((A, 3.0), (B, 2.0), (NOWHERE, 1.0)), _truth())["all"]
    # Thresholds are 0.999, 0.998, ...: B's normalized score is 0.5, the 500th.
    assert curve.recall[[0, 498, 499, 999]].tolist() == [0.5, 0.5, 1.0, 1.0]
    assert curve.precision[[0, 998, 999]].tolist() == [1.0, 1.0, 2 / 3]


def test_negative_scores_normalize_by_zero_as_highest() -> None:
    curve = evaluate(_detections((A, -1.0), (NOWHERE, -4.0)), _truth())["all"]
    # (-1 + 4) / (0 + 4) is 0.75, the 250th threshold.
    assert curve.recall[[248, 249]].tolist() == [0.0, 0.5]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param([0, 0, 9, 19], 0, id="exactly-half"),  # 100 / 200
        pytest.param([0, 0, 9, 20], -1, id="less-than-half"),  # 100 / 210
        # The corner rounds to 19, but the area to 10 * 20.4: 100 / 204.
        pytest.param([0, 0, 9, 19.4], -1, id="area-rounds-by-itself"),
        # The area 8 * 17.5625 = 140.5 rounds to 141, not to the even 140: 80 / 161.
        pytest.param([0, 0, 7, 16.5625], -1, id="half-rounds-away-from-zero"),
        pytest.param([10, 0, 9, 9], -1, id="touching"),
        # 7 columns of 10 are in both: 70 / 130 matches; with 6 it is 60 / 140.
        pytest.param([3.4, 0, 9, 9], 0, id="left-corner-rounds-down"),
        pytest.param([3.5, 0, 9, 9], -1, id="half-rounds-up"),
        pytest.param([-3.5, 0, 9, 9], 0, id="right-corner-rounds-up"),
        pytest.param([0, 0, 0, 0], -1, id="one-pixel"),
    ],
)
def test_overlap_counts_inclusive_pixels(box: list[float], expected: int) -> None:
    assert first_match(np.array([A], np.int32), np.array([box])).tolist() == [expected]


def test_negative_corners_are_rounded_like_positive_ones() -> None:
    # 10 x 5 px of 10 x 10: 50 / 100. A corner -5 that became -4 would leave 9 columns, 45 / 105.
    face, box = np.array([[-5, 0, 9, 9]], np.int32), np.array([[-5.0, 0, 9, 4]])
    assert first_match(face, box).tolist() == [0]


def test_first_face_with_half_overlap_wins_over_the_best() -> None:
    faces = np.array([[0, 0, 9, 14], A], np.int32)  # 100 / 150, then 1
    assert first_match(faces, np.array([A], float)).tolist() == [0]


def test_degenerate_faces_match_nothing() -> None:
    faces = np.array([[0, 0, -5, 9], [0, 0, 0, 0]], np.int32)
    assert first_match(faces, np.array([A], float)).tolist() == [-1]


def test_first_match_takes_nothing() -> None:
    assert first_match(np.zeros((0, 4), np.int32), np.array([A], float)).tolist() == [-1]
    assert first_match(np.array([A], np.int32), np.zeros((0, 4))).shape == (0,)


def _random_case(rng: np.random.Generator) -> tuple[dict[str, np.ndarray], WiderGroundTruth]:
    """Crowded images with ties, ignored and overlapping faces, and whole-pixel detections."""
    names = [f"e/{index}" for index in range(6)]
    faces = [rng.integers(0, 12, (rng.integers(0, 9), 4)).astype(np.int32) for _ in names]
    kept = [np.flatnonzero(rng.random(len(f)) < 0.7) for f in faces]
    detections = {
        name: np.column_stack([rng.integers(0, 12, (20, 4)), np.linspace(0, 1, 20) + 0.01 * index])
        for index, name in enumerate(names[:-1])
    }
    return detections, WiderGroundTruth(names, faces, {"all": kept})


def _overlap(face: np.ndarray, box: np.ndarray) -> int:
    """IoU of two inclusive boxes, rounded to 0 or 1 with the half up."""
    width = min(face[0] + face[2], box[0] + box[2]) - max(face[0], box[0]) + 1
    height = min(face[1] + face[3], box[1] + box[3]) - max(face[1], box[1]) + 1
    if width <= 0 or height <= 0:
        return 0
    inter = width * height
    union = (face[2] + 1) * (face[3] + 1) + (box[2] + 1) * (box[3] + 1) - inter
    return int(inter / union + 0.5)


def _loop_points(
    detections: dict[str, np.ndarray], truth: WiderGroundTruth, threshold: float
) -> tuple[int, int]:
    """Counts found faces and proposals at one threshold, a detection at a time."""
    scores = np.concatenate([t[:, 4] for t in detections.values()]).astype(np.float32)
    found = proposed = 0
    for name, faces, kept in zip(truth.names, truth.faces, truth.counted["all"], strict=True):
        seen: set[int] = set()
        table = detections.get(name, np.zeros((0, 5)))
        for row in table[np.argsort(-table[:, 4], kind="stable")] if len(faces) else []:
            score = (np.float32(row[4]) - scores.min()) / (scores.max() - scores.min())
            hits = [i for i, face in enumerate(faces) if _overlap(face, row)]
            if float(score) < threshold or (hits and hits[0] not in kept):
                continue
            proposed += 1
            if hits and hits[0] not in seen:
                seen.add(hits[0])
                found += 1
    return found, proposed


def test_agrees_with_a_plain_loop(rng: np.random.Generator) -> None:
    detections, truth = _random_case(rng)
    curve = evaluate(detections, truth)["all"]
    faces = sum(map(len, truth.counted["all"]))
    for index in (0, 250, 500, 999):
        found, proposed = _loop_points(detections, truth, 1 - (index + 1) / 1000)
        assert curve.recall[index] == found / faces
        assert curve.precision[index] == pytest.approx(found / proposed, abs=1e-15)


def test_detection_on_an_image_without_faces_is_a_false_positive() -> None:
    face, none = np.array([A], np.float32), np.zeros((0, 4), np.float32)
    images = [
        AnnotatedImage(name, boxes, np.zeros((len(boxes), 6), np.int64))
        for name, boxes in (("e/a.jpg", face), ("e/b.jpg", none))
    ]
    truth = all_faces(images)
    detections = {"e/b": np.array([[*NOWHERE, 0.9]]), "e/a": np.array([[*A, 0.1]])}
    assert _ap(detections, truth) == 0.5


def test_image_without_any_row_in_the_ground_truth_is_skipped() -> None:
    truth = WiderGroundTruth(
        ["e/a", "e/b"],
        [np.array([A, B], np.int32), np.zeros((0, 4), np.int32)],
        {"all": [np.array([0, 1]), np.zeros(0, np.int64)]},
    )
    detections = {**_detections((A, 0.9), (B, 0.1)), "e/b": np.array([[*NOWHERE, 0.95]])}
    assert _ap(detections, truth) == 1.0


def _synthetic_rows(faces: np.ndarray, start: int) -> list[list[float]]:
    """The golden case's detections of one image; `start` faces came before."""
    rows: list[list[float]] = []
    for n, (x, y, w, h) in enumerate(faces.tolist(), start):
        if w <= 0 or h <= 0:
            continue
        k = n * 2654435761 % 2**32
        score = 0.05 + 0.95 * k / 2**32
        dx = w * ((k >> 8) % 61 - 30) // 100
        dy = h * ((k >> 16) % 61 - 30) // 100
        rows.append([x + dx, y + dy, w, h, score])
        rows += [[x + 3 * w, y, w, h, 1.05 - score]] if n % 5 == 0 else []
        rows += [[x, y, w, h, score / 2]] if n % 7 == 0 else []
    return [[*row[:4], float(f"{row[4]:g}")] for row in rows]


def test_golden_synthetic_detections_score_as_officially(test_data: Path) -> None:
    truth = load_ground_truth(test_data / "wider" / "ground_truth")
    starts = np.cumsum([0, *map(len, truth.faces)])
    detections = {
        name: np.array(_synthetic_rows(faces, int(start))).reshape(-1, 5)
        for name, faces, start in zip(truth.names, truth.faces, starts[:-1], strict=True)
    }
    assert sum(map(len, detections.values())) == 53310
    ap = {setting: curve.ap for setting, curve in evaluate(detections, truth).items()}
    # The official program's values in GNU Octave.
    expected = {"easy": 0.153792477220113, "medium": 0.237249712999028, "hard": 0.403783597934837}
    assert ap == pytest.approx(expected, abs=1e-12)


def test_published_detector_scores_as_officially(test_data: Path, tmp_path: Path) -> None:
    predictions = test_data / "wider" / "predictions"
    with tarfile.open(predictions / "retinaface_mobilenet025.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    detections = read_wider(tmp_path / "widerface_evaluate" / "widerface_txt")
    assert (len(detections), sum(map(len, detections.values()))) == (3226, 297333)
    curves = evaluate(detections, load_ground_truth(test_data / "wider" / "ground_truth"))
    official = json.loads((predictions / "official_ap.json").read_text())["ap"]
    assert {s: curve.ap for s, curve in curves.items()} == pytest.approx(official, abs=1e-9)
