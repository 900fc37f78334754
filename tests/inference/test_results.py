"""Tests of the faces that detectors return."""

import json
import pickle
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssh_tf.errors import UserError
from ssh_tf.inference.results import Detections, Face, boxes_in_px
from tests.support.small import picture

BOXES = np.array([[10, 12.125, 30, 36], [-4, 50, 8, 70], [80, 60, 99, 99]], np.float32)
SCORES = np.array([0.987654321, 0.5, 0.25], np.float32)
SIZE = (64, 96)
NONE = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)


@pytest.fixture
def found() -> Detections:
    return Detections(BOXES, SCORES, SIZE, picture(*SIZE))


def test_detections_are_a_sequence_of_faces(found: Detections):
    faces = list(found)
    assert len(found) == len(faces) == 3
    assert isinstance(faces[0], Face)
    for face, box, score in zip(found, BOXES, SCORES, strict=True):
        assert (face.box.tolist(), face.score) == (box.tolist(), float(score))
    assert found[-1].score == 0.25
    with pytest.raises(IndexError):
        found[3]


def test_the_repr_names_the_best_faces(found: Detections):
    assert repr(found.filter(score=0.5)) == (
        "Detections(2 faces in 96 x 64 px: 0.99 at [10, 12, 30, 36], 0.50 at [-4, 50, 8, 70])"
    )
    many = Detections(BOXES.repeat(2, axis=0), SCORES.repeat(2), SIZE)
    assert repr(many).startswith("Detections(6 faces in 96 x 64 px: 0.99 at ")
    assert repr(many).endswith("0.50 at [-4, 50, 8, 70], ...)")
    assert repr(Detections(BOXES[:1], SCORES[:1], SIZE)).startswith("Detections(1 face in 96")
    assert repr(Detections(*NONE, SIZE)) == "Detections(0 faces in 96 x 64 px)"


def test_boxes_come_in_three_forms(found: Detections):
    assert found.xyxy is found.boxes
    assert found.xywh.tolist() == [[10, 12.125, 20, 23.875], [-4, 50, 12, 20], [80, 60, 19, 39]]
    by_hand = [x / side for x, side in zip(BOXES[0].tolist(), (96, 64, 96, 64), strict=True)]
    np.testing.assert_allclose(found.normalized[0], by_hand, rtol=1e-6)
    assert [form.dtype for form in (found.xyxy, found.xywh, found.normalized)] == [np.float32] * 3


def test_fractions_and_px_are_inverse(found: Detections):
    fractions = found.normalized[:, [1, 0, 3, 2]]
    np.testing.assert_allclose(boxes_in_px(fractions, SIZE), BOXES, rtol=1e-6)


def test_filter_keeps_scores_from_the_limit_on(found: Detections):
    assert found.filter(score=0.5).scores.tolist() == SCORES[:2].tolist()
    assert len(found.filter(score=1.0)) == 0
    np.testing.assert_array_equal(found.filter(score=0.9).image, found.image)


def test_plain_values_go_through_json(found: Detections):
    values = json.loads(json.dumps(found.to_dict()))
    assert (values["height"], values["width"]) == SIZE
    assert values["faces"][0] == {"box": [10, 12.12, 30, 36], "score": 0.987654}
    assert Detections(*NONE, SIZE).to_dict() == {"height": 64, "width": 96, "faces": []}


def test_a_table_has_a_row_per_face(found: Detections):
    pytest.importorskip("pandas")
    table = found.to_pandas()
    assert list(table.columns) == ["x1", "y1", "x2", "y2", "score"]
    np.testing.assert_array_equal(table.to_numpy(), np.column_stack([BOXES, SCORES]))
    assert len(Detections(*NONE, SIZE).to_pandas()) == 0


def test_without_pandas_the_error_says_how_to_get_it(
    found: Detections, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match="pip install pandas"):
        found.to_pandas()


@pytest.mark.parametrize(
    ("margin", "windows"),
    [
        (0.0, [(12, 36, 10, 30), (50, 64, 0, 8), (60, 64, 80, 96)]),
        # 0.5 * (20, 23.875) = (10, 11.9375) px at each side: 0.1875 -> 0, 47.9375 -> 48.
        (0.5, [(0, 48, 0, 40), (40, 64, 0, 14), (40, 64, 70, 96)]),
    ],
)
def test_crops_are_the_boxes_with_a_margin_inside_the_image(
    found: Detections, margin: float, windows: list[tuple[int, int, int, int]]
):
    crops = found.crops(margin=margin)
    assert len(crops) == 3
    for crop, (top, bottom, left, right) in zip(crops, windows, strict=True):
        np.testing.assert_array_equal(crop, picture(*SIZE)[top:bottom, left:right])
        assert not np.shares_memory(crop, found.image)


@pytest.mark.parametrize("box", [[-9, -9, -5, -5], [200, 70, 210, 99], [5, 5, 5, 5], [9, 9, 3, 3]])
def test_a_crop_has_at_least_one_px(box: list[float]):
    found = Detections(np.array([box], np.float32), SCORES[:1], SIZE, picture(*SIZE))
    (crop,) = found.crops(margin=0.2)
    assert min(crop.shape[:2]) >= 1


@pytest.mark.parametrize("margin", [-0.1, float("nan"), float("inf")])
def test_a_margin_is_not_negative(found: Detections, margin: float):
    with pytest.raises(ValueError, match=f"`margin` must be finite .* Received: {margin}"):
        found.crops(margin=margin)


def test_a_picture_is_drawn_and_saved(found: Detections, tmp_path: Path):
    drawn = found.draw()
    assert drawn.dtype == np.uint8
    assert drawn.shape[2] == 3
    found.save(tmp_path / "new" / "a.png")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "new" / "a.png"))[..., ::-1], drawn)
    np.testing.assert_array_equal(found.image, picture(*SIZE))


def test_an_image_is_read_when_it_is_needed():
    calls = []
    found = Detections(BOXES, SCORES, SIZE, lambda: calls.append(1) or picture(*SIZE))
    assert len(repr(found)) > 0
    assert not calls
    np.testing.assert_array_equal(found.image, picture(*SIZE))
    assert calls == [1]


def test_without_an_image_there_is_nothing_to_draw_on():
    for call in (Detections.draw, Detections.crops):
        with pytest.raises(ValueError, match="have no image"):
            call(Detections(BOXES, SCORES, SIZE))


def test_detections_travel_between_processes(found: Detections):
    lazy = Detections(BOXES, SCORES, SIZE, partial(picture, *SIZE))
    for detections in (found, lazy):
        copy = pickle.loads(pickle.dumps(detections))
        assert copy.to_dict() == found.to_dict()
        np.testing.assert_array_equal(copy.image, picture(*SIZE))


@pytest.mark.parametrize(
    ("boxes", "scores"), [(BOXES, SCORES[:2]), (BOXES[:, :3], SCORES), (BOXES[0], SCORES[:1])]
)
def test_wrong_shapes_are_refused(boxes: np.ndarray, scores: np.ndarray):
    with pytest.raises(ValueError, match=r"`boxes` must be \[D, 4\].* Received: "):
        Detections(boxes, scores, SIZE)
