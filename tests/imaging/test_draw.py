"""Tests of the pictures: colours, places, sizes, files."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from ssh_tf.errors import UserError
from ssh_tf.imaging.draw import draw_boxes, save_picture, score_colour
from tests.small import picture

NOTHING = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


def canvas(height: int = 500, width: int = 600) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


def assert_colour(pixel: np.ndarray, colour: tuple[int, int, int]) -> None:
    # Lines are antialiased: a little of what lies below shines through.
    np.testing.assert_allclose(pixel, colour, atol=25)


def boxes(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


@pytest.mark.parametrize(
    ("score", "colour"),
    [
        (0.0, (0, 0, 255)),
        (0.5, (0, 0, 255)),
        (0.75, (0, 128, 128)),
        (1.0, (0, 255, 0)),
    ],
)
def test_colours_run_from_blue_to_green(score: float, colour: tuple[int, int, int]):
    assert score_colour(score) == colour


def test_a_box_s_outline_has_its_score_s_colour():
    drawn = draw_boxes(canvas(), boxes([100, 200, 120, 230]), np.array([0.75]))
    for x, y in ((110, 200), (110, 230), (100, 215), (120, 215)):
        assert_colour(drawn[y, x], score_colour(0.75))
    assert (drawn[205:226, 105:116] == 100).all()


def test_nothing_changes_away_from_the_boxes():
    drawn = draw_boxes(canvas(), boxes([100, 200, 120, 230]), np.array([0.9]))
    changed = (drawn != canvas()).any(axis=-1)
    assert changed.any()
    changed[197:234, 97:124] = False
    assert not changed.any()


def test_wide_boxes_carry_their_score_above_them_and_narrow_ones_do_not():
    wide = draw_boxes(canvas(), boxes([100, 200, 160, 260]), np.array([0.9]))
    narrow = draw_boxes(canvas(), boxes([100, 200, 120, 260]), np.array([0.9]))
    assert (wide[188:197, 102:120] != 100).any()
    assert (narrow[188:197, 102:120] == 100).all()


def test_a_score_without_room_above_is_written_inside():
    drawn = draw_boxes(canvas(), boxes([100, 0, 160, 60]), np.array([0.9]))
    assert (drawn[3:10, 103:120] != 100).any()


@pytest.mark.parametrize(
    ("box", "x", "y"),
    [
        pytest.param([100, -200, 400, 700], 100, 0, id="above-the-top"),
        pytest.param([590, 200, 700, 260], 579, 189, id="beyond-the-right-border"),
        pytest.param([-90, 200, 60, 260], 0, 189, id="beyond-the-left-border"),
    ],
)
def test_a_score_stays_inside_the_picture(box: list[float], x: int, y: int):
    drawn = draw_boxes(canvas(), boxes(box), np.array([0.75]))
    plate = drawn[y : y + 11, x : x + 21]
    assert (plate == score_colour(0.75)).all(axis=-1).mean() > 0.3  # the rest is the text
    assert plate.max() == 255


@pytest.mark.parametrize(("score", "ink"), [(0.5, 255), (0.7, 255), (0.8, 0), (1.0, 0)])
def test_text_is_white_on_dark_plates_and_black_on_bright_ones(score: float, ink: int):
    drawn = draw_boxes(canvas(), boxes([100, 200, 160, 260]), np.array([score]))
    plate = drawn[190:198, 101:120]
    assert (plate == ink).all(axis=-1).any()
    assert not (plate == 255 - ink).all(axis=-1).any()


@pytest.mark.parametrize("scores", [[0.75, 0.6], [0.6, 0.75]])
def test_a_score_that_would_cover_a_better_one_is_left_out(scores: list[float]):
    pair = boxes([100, 200, 160, 260], [110, 200, 170, 260])
    drawn = draw_boxes(canvas(), pair, np.array(scores))
    best = int(np.argmax(scores))
    left = 100 + 10 * best
    alone = draw_boxes(canvas(), pair[best : best + 1], np.array([0.75]))
    label = slice(189, 198), slice(left, left + 21)
    np.testing.assert_array_equal(drawn[label], alone[label])
    assert not (drawn[180:198] == score_colour(0.6)).all(axis=-1).any()


def test_lines_are_fine_on_small_boxes_and_on_panoramas():
    def width(size: tuple[int, int], box: list[float]) -> int:
        drawn = draw_boxes(canvas(*size), boxes(box), np.array([0.75]))
        row = round((box[1] + box[3]) / 2)
        changed = (drawn[row, : round((box[0] + box[2]) / 2)] != 100).any(axis=-1)
        return int(changed.sum())

    # Antialiasing widens a line by a pixel or two.
    assert width((300, 3000), [100, 100, 200, 200]) <= 5
    assert width((3000, 4000), [1000, 1000, 1012, 1012]) <= 3
    assert width((3000, 4000), [1000, 1000, 1500, 1500]) >= 6


def test_the_best_box_is_drawn_on_top():
    same = boxes([100, 200, 120, 230], [100, 200, 120, 230])
    for scores in ([0.5, 1.0], [1.0, 0.5]):
        assert_colour(draw_boxes(canvas(), same, np.array(scores))[200, 110], (0, 255, 0))


def test_annotated_faces_are_white_and_below_the_others():
    truth = boxes([100, 200, 120, 230], [300, 200, 320, 230])
    drawn = draw_boxes(canvas(), truth[:1], np.array([1.0]), truth=truth)
    assert_colour(drawn[200, 310], (255, 255, 255))
    assert_colour(drawn[200, 110], (0, 255, 0))


def test_the_input_is_left_as_it_was():
    image, found = canvas(), boxes([100, 200, 160, 260])
    draw_boxes(image, found, np.array([0.9]), truth=found)
    assert (image == 100).all()
    assert found.tolist() == [[100, 200, 160, 260]]


@pytest.mark.parametrize(
    ("size", "drawn"),
    [
        ((64, 96), (320, 480)),
        ((1, 1), (480, 480)),
        ((479, 10), (958, 20)),
        ((480, 10), (480, 10)),
        ((500, 600), (500, 600)),
    ],
)
def test_small_images_are_enlarged_by_a_whole_factor(size: tuple[int, int], drawn: tuple[int, int]):
    image = picture(*size)
    result = draw_boxes(image, *NOTHING)
    assert result.shape == (*drawn, 3)
    factor = drawn[0] // size[0]
    np.testing.assert_array_equal(result[factor // 2 :: factor, factor // 2 :: factor], image)


def test_boxes_and_annotations_are_enlarged_with_the_image():
    found, truth = boxes([10, 20, 14, 30]), boxes([40, 20, 44, 30])
    drawn = draw_boxes(canvas(64, 96), found, np.array([1.0]), truth=truth)
    for x, colour in ((10, (0, 255, 0)), (40, (255, 255, 255))):
        assert_colour(drawn[5 * 20, 5 * x + 10], colour)
        assert_colour(drawn[5 * 25, 5 * x], colour)


def test_a_box_beyond_the_border_is_cut():
    drawn = draw_boxes(canvas(), boxes([-50, 10, 700, 490]), np.array([1.0]))
    assert drawn.shape == (500, 600, 3)
    assert_colour(drawn[490, 300], (0, 255, 0))


def test_a_picture_is_saved_as_rgb_in_folders_made_for_it(tmp_path: Path):
    path = tmp_path / "a" / "b" / "c.png"
    save_picture(path, picture())
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], picture())
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".PNG"])
def test_the_suffix_gives_the_format(tmp_path: Path, suffix: str):
    save_picture(tmp_path / f"a{suffix}", picture())
    start = (tmp_path / f"a{suffix}").read_bytes()[:4]
    assert start[:2] == b"\xff\xd8" if "j" in suffix.lower() else start == b"\x89PNG"


def test_a_picture_that_cannot_be_encoded_leaves_nothing(tmp_path: Path):
    with pytest.raises(UserError, match=r"a\.unknown: a picture of 96 x 64 px can't be written"):
        save_picture(tmp_path / "a.unknown", picture())
    assert list(tmp_path.iterdir()) == []
