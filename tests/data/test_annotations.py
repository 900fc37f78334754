"""Tests of what readers yield, and of the boxes that training makes of it."""

import numpy as np
import pytest

from ssh_tf.data.annotations import (
    annotated,
    check_name,
    loss_reason,
    refuse_duplicates,
    refuse_fractions,
    training_corners,
    visible_part,
)
from ssh_tf.errors import UserError


@pytest.mark.parametrize(
    ("box", "corners"),
    [
        pytest.param([10, 20, 30, 40], [10, 20, 40, 60], id="inside"),
        # 10.5 -> 11, 2.4 -> 2, 3.5 -> 4, 2.5 -> 3: halves away from zero, not to even.
        pytest.param([10.5, 2.4, 3.5, 2.5], [11, 2, 15, 5], id="rounded"),
        # -0.5 -> -1 -> 0 and -5 -> 0 first; the size is then added to the clamped corner.
        pytest.param([-5, -0.5, 20, 30], [0, 0, 20, 30], id="clamped-before-adding"),
        pytest.param([90, 70, 50, 50], [90, 70, 100, 80], id="clipped-to-the-size"),
        pytest.param([99, 79, 1, 1], [99, 79, 100, 80], id="one-pixel"),
        pytest.param([10, 10, 0, 5], None, id="no-width"),
        pytest.param([10, 10, 5, 0.4], None, id="rounds-to-no-height"),
        pytest.param([10, 10, -5, 5], None, id="negative-width"),
        pytest.param([100, 10, 5, 5], None, id="right-of-the-picture"),
        pytest.param([10, 200, 5, 5], None, id="below-the-picture"),
    ],
)
def test_training_corners_follow_the_official_rule(box: list[float], corners: list[int] | None):
    found, kept = training_corners(np.array([box], np.float32), height=80, width=100)
    assert found.dtype == np.float32
    assert found.tolist() == ([] if corners is None else [corners])
    assert kept.tolist() == ([] if corners is None else [0])


def test_kept_indices_point_at_the_annotated_boxes():
    boxes = np.array([[1, 1, 5, 5], [1, 1, 0, 5], [2, 2, 5, 5]], np.float32)
    corners, kept = training_corners(boxes, height=80, width=100)
    assert kept.tolist() == [0, 2]
    assert corners[1].tolist() == [2, 2, 7, 7]


def test_training_corners_of_no_boxes_are_empty():
    corners, kept = training_corners(np.zeros((0, 4), np.float32), height=80, width=100)
    assert corners.shape == (0, 4)
    assert kept.shape == (0,)


@pytest.mark.parametrize(
    ("box", "part"),
    [
        ([10, 20, 30, 40], [10, 20, 30, 40]),
        ([-5, -6, 20, 30], [0, 0, 15, 24]),  # -5 + 20 = 15, -6 + 30 = 24
        ([90, 70, 50, 50], [90, 70, 10, 10]),
        ([0, 0, 1, 1], [0, 0, 1, 1]),
    ],
)
def test_the_visible_part_is_the_intersection_with_the_image(box: list[float], part: list[float]):
    assert visible_part(np.array([box]), height=80, width=100).tolist() == [part]


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([5, 5, -3, 9], "negative"),
        ([5, 5, 9, 0], "is 0"),
        ([0.5, 0.5, 0.25, 0.5], "fractions"),
        ([100, 5, 9, 9], "outside the image of 100 x 80 px"),
        ([5, -9, 9, 9], "outside"),
        ([-1e8, 5, 9, 9], "outside"),
        ([5, 5, 9, 0.4], "narrower or lower than 1 px"),
    ],
)
def test_why_a_box_is_lost_is_said(box: list[float], reason: str):
    boxes = np.array([box])
    corners, _ = training_corners(visible_part(boxes, 80, 100), 80, 100)
    assert corners.shape == (0, 4)
    assert reason in loss_reason(boxes[0], 80, 100)


def test_boxes_that_are_all_fractions_are_refused():
    inside, whole = annotated("a", [[0.1, 0.2, 0.5, 0.5]]), annotated("b", [[3, 4, 20, 30]])
    with pytest.raises(UserError, match=r"boxes\.csv: all boxes lie between 0 and 1"):
        refuse_fractions([inside, annotated("c", [])], "boxes.csv")
    for images in (
        [inside, whole],
        [whole],
        [annotated("c", [])],
        [annotated("d", [[0, 0, 1, 1]])],
    ):
        refuse_fractions(images, "boxes.csv")


@pytest.mark.parametrize("second", ["a/\u00e9.jpg", "a/e\u0301.jpg"])
def test_names_that_are_or_look_equal_are_refused(second: str):
    entries = [annotated(name, []) for name in ("a/\u00e9.jpg", "b.jpg", second)]
    with pytest.raises(UserError, match=r"x\.csv: the image 'a/.* is there (twice|beside)"):
        refuse_duplicates(entries, "x.csv")
    refuse_duplicates(entries[:2], "x.csv")


@pytest.mark.parametrize(
    "name",
    ["../a.jpg", "/a.jpg", "a/../../b.jpg", "C:/a.jpg", "C:a.jpg", "a\\b.jpg", "a\0.jpg", "", "."],
)
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str):
    with pytest.raises(UserError, match=r"boxes\.csv:7: expected an image name"):
        check_name(name, "boxes.csv:7")


def test_a_name_that_is_too_long_for_a_path_is_refused_in_a_short_line():
    with pytest.raises(UserError, match="expected the name of an image, received 'aaa") as error:
        check_name("a" * 10_000, "a.xml")
    assert len(str(error.value)) < 300


def test_a_place_is_the_file_and_row_where_they_are_known():
    image = annotated("a", [[1, 2, 3, 4]], file="boxes.csv:", rows=[7])
    assert image.place(0) == "boxes.csv:7"
    assert annotated("a", [[1, 2, 3, 4]]).place(0) == "a, box 1"
