"""Tests of the pictures: colors, places, sizes, labels, the key, files."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssh_tf.errors import UserError
from ssh_tf.imaging.draw import draw_boxes, save_picture, score_color
from ssh_tf.imaging.lettering import text_size, write
from ssh_tf.imaging.sheet import contact_sheet, tile
from tests.support.small import picture

NOTHING = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
BLUE, GREEN = (43, 98, 255), (38, 222, 95)
PLATE = text_size("0.00", 11)[0] + 4, text_size("0.00", 11)[1]  # on pictures of up to 660 px


def canvas(height: int = 500, width: int = 600) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


def boxes(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def draw(image: np.ndarray, found: np.ndarray, *scores: float, **options: object) -> np.ndarray:
    return draw_boxes(image, found, np.array(scores, np.float32), key=False, **options)


def plates(drawn: np.ndarray, score: float) -> list[tuple[int, int]]:
    """Returns left and top of the plates of a score's color."""
    mask = (drawn == score_color(score)).all(axis=-1).astype(np.uint8)
    # Lines are too thin to outlive this, text leaves enough of a plate.
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5)))
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((9, 9)))
    stats = cv2.connectedComponentsWithStats(mask)[2][1:]
    return [(int(row[0]), int(row[1])) for row in stats]


@pytest.mark.parametrize(
    ("score", "color"),
    [(0.0, BLUE), (0.5, BLUE), (0.75, (40, 160, 175)), (1.0, GREEN)],
)
def test_colors_run_from_blue_to_green(score: float, color: tuple[int, int, int]):
    assert score_color(score) == color


def test_a_box_s_outline_has_its_score_s_color_between_dark_borders():
    drawn = draw(canvas(), boxes([100, 200, 120, 230]), 0.75, labels=False)
    for x, y in ((110, 200), (110, 230), (100, 215), (120, 215)):
        assert tuple(drawn[y, x]) == score_color(0.75)
    assert (drawn[[199, 201, 229, 231], 110] == 50).all()
    assert (drawn[205:226, 105:116] == 100).all()


def test_nothing_changes_away_from_the_boxes():
    drawn = draw(canvas(), boxes([100, 200, 120, 230]), 0.9, labels=False)
    changed = (drawn != canvas()).any(axis=-1)
    assert changed.any()
    changed[197:234, 97:124] = False
    assert not changed.any()


@pytest.mark.parametrize(
    ("box", "place"),
    [
        pytest.param([100, 200, 160, 260], (100, 200 - PLATE[1]), id="above"),
        pytest.param([100, 5, 160, 60], (100, 60), id="below"),
        pytest.param([560, 200, 598, 260], (560, 200 - PLATE[1]), id="at-the-right-border"),
        pytest.param([590, 200, 700, 260], None, id="too-little-of-it-inside"),
        pytest.param([-90, 200, 60, 260], (0, 200 - PLATE[1]), id="over-the-left-border"),
        pytest.param([100, -200, 400, 700], (100, 0), id="higher-than-the-picture"),
        pytest.param([100, 200, 115, 260], None, id="too-narrow"),
    ],
)
def test_a_score_stands_above_its_box_or_where_there_is_room(
    box: list[float], place: tuple[int, int] | None
):
    found = plates(draw(canvas(), boxes(box), 0.75), 0.75)
    assert len(found) == (place is not None)
    if place is not None:
        np.testing.assert_allclose(found[0], place, atol=3)


@pytest.mark.parametrize(("score", "ink"), [(0.5, 255), (0.55, 255), (0.7, 0), (1.0, 0)])
def test_text_is_white_on_dark_plates_and_black_on_bright_ones(score: float, ink: int):
    drawn = draw(canvas(), boxes([100, 200, 160, 260]), score)
    plate = drawn[200 - PLATE[1] : 198, 101:125].astype(int)
    assert (abs(plate - ink) < 40).all(axis=-1).any()
    assert not (abs(plate - (255 - ink)) < 40).all(axis=-1).any()


def test_scores_cover_neither_each_other_nor_other_faces():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 550, (60, 2))
    found = np.concatenate([corners, corners + rng.uniform(20, 90, (60, 2))], axis=1)
    scores = np.sort(rng.uniform(0.5, 1, 60))[::-1]
    without = draw(canvas(600, 600), found, *scores, labels=False)
    labeled = draw(canvas(600, 600), found, *scores)
    changed = (without != labeled).any(axis=-1)
    faces = np.zeros(changed.shape, int)
    for x1, y1, x2, y2 in np.round(found).astype(int):
        faces[y1:y2, x1:x2] += 1
    assert changed.any()
    assert faces[changed].max() <= 1


def test_the_better_of_two_scores_is_written_where_there_is_room_for_one():
    wall = boxes([0, 0, 600, 199], [0, 261, 600, 500])  # neither above nor below the two
    pair = boxes([100, 200, 140, 260], [104, 200, 144, 260])
    for scores in ((0.9, 0.6), (0.6, 0.9)):
        drawn = draw(canvas(), np.concatenate([pair, wall]), *scores, 0.5, 0.5)
        assert plates(drawn, 0.6) == []


def test_lines_are_fine_on_small_boxes_and_on_panoramas():
    def width(size: tuple[int, int], box: list[float]) -> int:
        drawn = draw(canvas(*size), boxes(box), 0.75)
        row = round((box[1] + box[3]) / 2)
        changed = (drawn[row, : round((box[0] + box[2]) / 2)] != 100).any(axis=-1)
        return int(changed.sum()) - 2  # its borders

    assert width((300, 3000), [100, 100, 200, 200]) == 3
    assert width((1500, 2000), [1000, 1000, 1012, 1012]) == 1
    assert width((1500, 2000), [1000, 1000, 1300, 1300]) == 6


def test_the_best_box_is_drawn_on_top():
    same = boxes([100, 200, 120, 230], [100, 200, 120, 230])
    for scores in ((0.5, 1.0), (1.0, 0.5)):
        assert tuple(draw(canvas(), same, *scores)[200, 110]) == GREEN


def test_annotated_faces_are_white_and_below_the_others():
    truth = boxes([100, 200, 120, 230], [300, 200, 320, 230])
    drawn = draw(canvas(), truth[:1], 1.0, truth=truth)
    assert tuple(drawn[200, 310]) == (255, 255, 255)
    assert tuple(drawn[200, 110]) == GREEN


def test_the_input_is_left_as_it_was():
    image, found = canvas(), boxes([100, 200, 160, 260])
    draw(image, found, 0.9, truth=found)
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
    result = draw(image, NOTHING[0])
    assert result.shape == (*drawn, 3)
    factor = drawn[0] // size[0]
    np.testing.assert_array_equal(result[factor // 2 :: factor, factor // 2 :: factor], image)


def test_boxes_and_annotations_are_enlarged_with_the_image():
    drawn = draw(canvas(64, 96), boxes([10, 20, 14, 30]), 1.0, truth=boxes([40, 20, 44, 30]))
    for x, color in ((10, GREEN), (40, (255, 255, 255))):
        assert tuple(drawn[5 * 20, 5 * x + 10]) == color
        assert tuple(drawn[5 * 25, 5 * x]) == color


@pytest.mark.parametrize(
    "box",
    [
        [-50, 10, 700, 490],
        [-900, -900, -800, -800],
        [800, 800, 900, 900],
        [-10, -10, 5, 5],
        [30, 30, 30, 30],
        [60, 60, 20, 20],
        [30, 30, 31, 31],
    ],
)
def test_odd_boxes_are_no_error(box: list[float]):
    drawn = draw_boxes(canvas(), boxes(box), np.array([1.0]), truth=boxes(box))
    assert drawn.shape[1] == 600
    if box[0] == -50:
        assert tuple(drawn[490, 300]) == GREEN


def key_of(width: int, found: int, annotated: int | None) -> np.ndarray:
    truth = None if annotated is None else boxes(*[[1.0, 1, 9, 9]] * annotated)
    found_boxes = boxes(*[[1.0, 1, 9, 9]] * found)
    drawn = draw_boxes(canvas(500, width), found_boxes, np.full(found, 0.9), truth=truth)
    return drawn[500:]


def test_the_key_stands_below_and_tells_counts_and_colors():
    keys = [key_of(600, *counts) for counts in ((0, None), (1, None), (2, None), (2, 2), (2, 3))]
    assert all(key.shape == (22, 600, 3) for key in keys)
    for first, second in itertools.combinations(keys, 2):
        assert (first != second).any()
    assert (keys[1] == score_color(0.5)).all(axis=-1).any()
    assert (keys[1] == score_color(1.0)).all(axis=-1).any()
    assert not (keys[0] == score_color(0.5)).all(axis=-1).any()


@pytest.mark.parametrize("width", [1, 10, 60, 100])
def test_a_narrow_picture_has_as_much_of_the_key_as_fits(width: int):
    assert key_of(width, 2, 3).shape[1] == width


def test_letters_are_anti_aliased_and_cut_at_the_border():
    image = np.zeros((40, 40, 3), np.uint8)
    write(image, "Wide", (20, 30), 16, (200, 100, 0))
    levels = np.unique(image[..., 0])
    assert levels.max() == 200
    assert len(levels) > 5
    assert not image[:30].any()


def test_text_of_no_letters_is_no_error():
    write(np.zeros((40, 40, 3), np.uint8), "", (0, 0), 16, (1, 1, 1))


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (4, 2), (5, 3), (12, 4), (20, 4)])
def test_a_sheet_is_as_large_as_its_pictures_need(count: int, columns: int):
    tiles = [tile(picture(64, 96), boxes([5, 5, 20, 20]))] * count
    sheet = contact_sheet(tiles, [f"{i}.jpg: 1 face" for i in range(count)])
    rows = -(-count // columns)
    cell = 320 + text_size("x", 16)[1] + 4
    assert sheet.shape == (16 + rows * (cell + 16), 16 + columns * (480 + 16), 3)
    np.testing.assert_array_equal(sheet[16 : 16 + 320, 16 : 16 + 480], tiles[0])
    assert (sheet[16 + 320 : 16 + cell, 16:496] < 128).any()  # the name


@pytest.mark.parametrize("size", [(1, 1), (3000, 10), (10, 3000), (4000, 3000)])
def test_a_tile_is_of_one_size_whatever_the_image_is(size: tuple[int, int]):
    drawn = tile(canvas(*size), boxes([0, 0, 5, 5]))
    assert max(drawn.shape[:2]) == 480
    assert contact_sheet([drawn], ["a"]).shape[1] == 512


@pytest.mark.parametrize("name", ["", "x" * 300, "W" * 5000, "two\nlines \x1b[31m", "\udcff"])
def test_names_of_any_kind_are_captions(name: str):
    assert contact_sheet([canvas(480, 480)], [name]).shape[1] == 512


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
