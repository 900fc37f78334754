"""Parts of an evaluation: by hand, by a plain loop, and adding up to the whole."""

import math

import numpy as np
import pytest

from ssh_tf.evaluation import wider
from ssh_tf.evaluation.breakdown import (
    best_point,
    break_down,
    point_at,
    reliability,
)
from ssh_tf.evaluation.truth import WiderGroundTruth
from ssh_tf.evaluation.wider import FALSE, FOUND, IGNORED

# Faces of 10 and of 50 px in one image, an ignored one of 20 px; a second image without a face.
SMALL, LARGE, UNCOUNTED, NOWHERE = [0, 0, 9, 10], [100, 0, 49, 50], [200, 0, 19, 20], [500, 0, 9, 9]


def _truth() -> WiderGroundTruth:
    faces = [np.array([SMALL, LARGE, UNCOUNTED], np.int32), np.zeros((1, 4), np.int32)]
    return WiderGroundTruth(["e/a", "e/b"], faces, {"all": [np.array([0, 1]), np.zeros(0, int)]})


def _found() -> dict[str, np.ndarray]:
    first = [[*SMALL, 0.9], [*LARGE, 0.4], [*UNCOUNTED, 0.8], [*SMALL, 0.6]]
    return {"e/a": np.array(first, float), "e/b": np.array([[*NOWHERE, 0.7]])}


def test_an_evaluation_taken_apart_by_hand() -> None:
    parts = break_down(wider.match(_found(), _truth()), _truth(), 0.5)
    # From 0.5 on: SMALL is right, its double and NOWHERE are wrong, UNCOUNTED is ignored.
    point = parts.operating_point
    assert (point.found, point.false, point.missed) == (1, 2, 1)
    assert (point.precision, point.recall) == (1 / 3, 1 / 2)
    # F1 at 0.9: 2 / 3; at 0.7: 2 / 4; at 0.6: 2 / 5; at 0.4: 4 / 6: the higher score wins.
    assert parts.best_threshold.score == 0.9
    ranges = {each.name: (each.faces, each.recall) for each in parts.heights}
    nothing = pytest.approx((0, math.nan), nan_ok=True)
    assert ranges == {
        "0-16": (1, 1.0),
        "16-32": nothing,
        "32-64": (1, 0.0),
        "64-128": nothing,
        "128-": nothing,
    }
    # Alone among those of its height, LARGE is found before anything wrong.
    assert [each.ap for each in parts.heights if each.faces] == [1.0, 1.0]
    assert [each.name for each in parts.worst] == ["e/a", "e/b"]
    first = parts.worst[0]
    assert first.missed.tolist() == [LARGE]
    assert (first.found.tolist(), first.false.tolist()) == ([SMALL], [SMALL])


def test_heights_add_up_to_the_whole() -> None:
    parts = break_down(wider.match(_found(), _truth()), _truth(), 0.0)
    found = sum(each.faces * each.recall for each in parts.heights if each.faces)
    assert found == parts.operating_point.found == 2


def test_official_settings_break_down_the_one_with_most_faces() -> None:
    truth = _truth()
    kept = {"easy": [np.array([1]), np.zeros(0, int)], "hard": truth.counted["all"]}
    truth = WiderGroundTruth(truth.names, truth.faces, kept)
    assert break_down(wider.match(_found(), truth), truth, 0.5).setting == "hard"


def test_nothing_found_and_nothing_to_find() -> None:
    truth = _truth()
    parts = break_down(wider.match({}, truth), truth, 0.5)
    assert (parts.operating_point.recall, parts.best_threshold.missed) == (0.0, 2)
    assert math.isnan(parts.operating_point.precision)
    assert math.isnan(parts.best_threshold.score)
    assert [each.detections for each in parts.reliability] == [0] * 10
    faceless = WiderGroundTruth(["e/a"], [np.zeros((1, 4), np.int32)], {"all": [np.zeros(0, int)]})
    parts = break_down(wider.match({}, faceless), faceless, 0.5)
    assert math.isnan(parts.operating_point.recall)
    assert parts.worst == []


def test_best_threshold_is_the_best_of_all(rng: np.random.Generator) -> None:
    scores = rng.integers(0, 30, 200) / 30  # with ties
    verdicts = rng.choice([FOUND, FALSE, IGNORED], 200)
    best = best_point(scores, verdicts, 120)
    values = {score: point_at(scores, verdicts, 120, score).f1 for score in scores}
    assert best.f1 == max(values.values())
    assert best.score == max(score for score, f1 in values.items() if f1 == best.f1)


def test_reliability_by_hand() -> None:
    scores = np.array([0.0, 0.05, 0.1, 1.0, 0.95, 0.97])
    verdicts = np.array([FALSE, FOUND, FOUND, FOUND, FALSE, IGNORED])
    ranges = reliability(scores, verdicts)
    assert [each.detections for each in ranges] == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert (ranges[0].mean_score, ranges[0].right) == (0.025, 0.5)
    assert (ranges[9].mean_score, ranges[9].right) == (0.975, 0.5)
    assert reliability(np.array([0.5, 1.5]), np.array([FALSE, FALSE])) == []


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_an_operating_point_that_is_no_number_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match=r"must be finite\. Received"):
        break_down(wider.match({}, _truth()), _truth(), score)
