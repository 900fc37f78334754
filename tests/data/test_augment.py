"""Tests of the augmentations: markers stay under their boxes, eagerly and in graphs."""

from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf

from ssh_tf.data.augment import (
    MEAN_COLOR,
    at_random,
    blur,
    compress,
    crop,
    distort_colors,
    draw_crop,
    drop_small,
    erase,
    flip,
    gray,
    mosaic,
)
from tests.support.small import picture

ONE_FACE = np.array([[1, 1, 5, 6]], np.float32)
FACTORS = (0.3, 0.45, 0.6, 0.8, 1.0)


def seed(number: int) -> tf.Tensor:
    return tf.constant([7, number], tf.int64)


def test_flip_is_the_official_formula():
    image = tf.reshape(tf.range(10 * 3), [1, 10, 3])
    mirrored, faces = flip(image, tf.constant([[2.0, 3.0, 5.0, 7.0], [6.0, 0.0, 10.0, 4.0]]))
    assert mirrored[0, :, 0].numpy().tolist() == [27, 24, 21, 18, 15, 12, 9, 6, 3, 0]
    # x1' = W - 1 - x2, x2' = W - 1 - x1 with W = 10: 4 and 7; at the border -1 and 3.
    assert faces.numpy().tolist() == [[4, 3, 7, 7], [-1, 0, 3, 4]]


def test_flipping_twice_changes_nothing():
    image, faces = flip(*flip(picture(), ONE_FACE))
    np.testing.assert_array_equal(image, picture())
    np.testing.assert_array_equal(faces, ONE_FACE)


def painted(corners: Sequence[int]) -> np.ndarray:
    x1, y1, x2, y2 = corners
    image = np.zeros((50, 71, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    return image


@pytest.mark.parametrize("number", range(12))
def test_a_crop_keeps_a_painted_marker_under_its_box(number: int):
    corners = [20, 14, 33, 30]
    faces = tf.constant([corners], tf.float32)
    square = draw_crop(tf.constant([50, 71]), faces, seed(number), factors=FACTORS)
    image, kept = crop(painted(corners), faces, square)
    assert image.shape[0] == image.shape[1] == square[2]
    rows, columns = np.nonzero(image[..., 0])
    marker = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_array_equal(kept, [marker])


def test_crops_have_the_sides_of_the_factors_and_lie_inside():
    faces = tf.zeros([0, 4])
    draws = [draw_crop(tf.constant([50, 71]), faces, seed(i), factors=FACTORS) for i in range(60)]
    squares = np.array(draws)
    assert set(squares[:, 2]) == {15, 22, 30, 40, 50}  # 50 px times each factor, rounded down
    assert (squares[:, :2] >= 0).all()
    assert (squares[:, 0] + squares[:, 2] <= 50).all()
    assert (squares[:, 1] + squares[:, 2] <= 71).all()
    assert (squares[:, 1] + squares[:, 2] == 71).any()  # the border is reached


def test_a_crop_holds_a_face_where_there_is_one():
    faces = tf.constant([[60.0, 2.0, 66.0, 9.0]])
    for number in range(30):
        square = draw_crop(tf.constant([50, 71]), faces, seed(number), factors=(0.45,))
        assert crop(painted([60, 2, 66, 9]), faces, square)[1].shape == (1, 4)


def test_faces_are_cut_at_the_border_and_left_out_by_their_center():
    faces = tf.constant([[0, 0, 20, 20], [0, 0, 18, 18], [12, 12, 40, 20]], tf.float32)
    _, kept = crop(np.zeros((50, 50, 3), np.uint8), faces, tf.constant([10, 10, 20]))
    # Centers 10, 9 and (26, 16), less the corner at 10: 0 is inside, -1 is not; the last is cut.
    np.testing.assert_array_equal(kept, [[0, 0, 10, 10], [2, 2, 20, 10]])


def test_an_image_of_one_pixel_can_be_cropped():
    square = draw_crop(tf.constant([1, 1]), tf.zeros([0, 4]), seed(0), factors=FACTORS)
    assert square.numpy().tolist() == [0, 0, 1]


@pytest.mark.parametrize("number", range(8))
def test_zooming_out_keeps_the_whole_image_and_fills_with_the_mean_color(number: int):
    faces = tf.constant([[20, 14, 33, 30]], tf.float32)
    square = draw_crop(tf.constant([50, 71]), faces, seed(number), factors=(2.0,))
    top, left, side = square.numpy()
    assert side == 100  # twice the shorter side
    assert -50 <= top <= 0
    assert -29 <= left <= 0
    image, kept = crop(painted([20, 14, 33, 30]), faces, square)
    assert image.dtype == tf.uint8
    np.testing.assert_array_equal(
        image[-top : 50 - top, -left : 71 - left], painted([20, 14, 33, 30])
    )
    np.testing.assert_array_equal(kept, faces - np.array([left, top, left, top]))
    outside = np.ones((100, 100), bool)
    outside[-top : 50 - top, -left : 71 - left] = False
    assert set(map(tuple, image.numpy()[outside])) == {MEAN_COLOR}


def test_a_square_longer_than_one_side_slides_along_the_other():
    squares = [
        draw_crop(tf.constant([50, 120]), tf.zeros([0, 4]), seed(i), factors=(1.6,)).numpy()
        for i in range(40)
    ]
    tops, lefts, sides = np.array(squares).T
    assert set(sides) == {80}
    assert tops.min() >= -30  # 50 - 80
    assert tops.max() <= 0
    assert lefts.min() >= 0
    assert lefts.max() <= 40  # 120 - 80
    assert len(set(lefts)) > 15


def test_small_faces_are_left_out_by_their_longer_side():
    faces = tf.constant([[0, 0, 5, 6], [0, 0, 5, 5], [2, 2, 8, 3]], tf.float32)
    np.testing.assert_array_equal(drop_small(faces, 6), [[0, 0, 5, 6], [2, 2, 8, 3]])
    assert drop_small(tf.zeros([0, 4]), 6).shape == (0, 4)


def test_colors_change_pixels_not_places_and_stay_in_range():
    image = tf.cast(painted([20, 14, 33, 30]), tf.float32) * 0.6 + 40.0
    results = [distort_colors(image, seed(i)).numpy() for i in range(16)]
    for result in results:
        assert result.min() >= 0
        assert result.max() <= 255
        inside, outside = result[14:30, 20:33], result[:14]
        assert np.ptp(inside, axis=(0, 1)).max() < 1e-2
        assert (inside.mean(axis=(0, 1)) > outside.mean(axis=(0, 1))).all()
    assert len({result.tobytes() for result in results}) > 8


def test_a_mosaic_moves_faces_with_their_squares():
    images = [np.full((4, 4, 3), i, np.float32) for i in range(4)]
    faces = [tf.constant([[0.0, 1.0, 2.0, 3.0]]), tf.zeros([0, 4]), *[tf.constant([[1.0] * 4])] * 2]
    whole, moved = mosaic(images, faces)
    assert whole[::4, ::4, 0].numpy().tolist() == [[0, 1], [2, 3]]
    # Third and fourth square: 4 px down; the fourth also 4 px to the right.
    assert moved.numpy().tolist() == [[0, 1, 2, 3], [1, 5, 1, 5], [5, 5, 5, 5]]


def test_a_share_of_the_images_is_changed():
    image = tf.zeros([1, 1, 3])
    results = [
        float(at_random(lambda x, s: x + 1.0, 0.3, image, seed(i))[0, 0, 0]) for i in range(99)
    ]
    assert 18 <= sum(results) <= 42
    assert set(results) == {0.0, 1.0}


def test_gray_has_one_value_for_all_colors():
    result = gray(tf.cast(picture(), tf.float32), seed(0)).numpy()
    np.testing.assert_array_equal(result[..., 0], result[..., 2])
    # ITU-R BT.601: 0.2989 R + 0.5870 G + 0.1140 B.
    np.testing.assert_allclose(result[..., 1], picture() @ [0.2989, 0.587, 0.114], atol=0.1)


def test_blur_spreads_a_point_evenly_and_leaves_a_flat_image():
    flat = tf.fill([3, 5, 3], 77.0)  # smaller than the Gaussian's reach
    np.testing.assert_allclose(blur(flat, seed(1)), flat, rtol=1e-5)
    point = np.zeros((31, 31, 3), np.float32)
    point[15, 15] = 255
    result = blur(point, seed(1)).numpy()
    np.testing.assert_allclose(result, result[::-1], atol=1e-4)
    np.testing.assert_allclose(result, result.transpose(1, 0, 2), atol=1e-4)
    np.testing.assert_allclose(result.sum(axis=(0, 1)), 255, rtol=1e-4)
    assert len({float(blur(point, seed(i))[15, 15, 0]) for i in range(5)}) == 5


def test_compression_leaves_traces_and_pixels_in_range():
    image = tf.cast(picture(), tf.float32) * 1.2 - 20
    result = compress(image, seed(0)).numpy()
    assert result.shape == image.shape
    assert 0 <= result.min() <= result.max() <= 255
    assert 0.3 < np.abs(result - np.clip(image, 0, 255)).mean() < 8


def test_patches_cover_a_part_of_random_faces():
    faces = np.array([[10, 10, 30, 40], [50, 8, 70, 28], [80, 60, 120, 90]], np.float32)
    image = np.full((70, 100, 3), -1, np.float32)  # no color of a patch
    covered = np.array(
        [erase(image, seed(i), faces=faces, probability=0.5)[..., 0] != -1 for i in range(24)]
    )
    outside = np.ones((70, 100), bool)
    for x1, y1, x2, y2 in faces.astype(int):
        outside[y1:y2, x1:x2] = False
        shares = covered[:, y1:y2, x1:x2].sum(axis=(1, 2)) / ((x2 - x1) * (y2 - y1))
        assert 4 <= (shares > 0).sum() <= 20
        # 0.3 to 0.7 of each side, rounded to px.
        assert shares[shares > 0].max() < 0.56
    assert not covered[:, outside].any()
    for number, mask in enumerate(covered):
        colors = np.unique(erase(image, seed(number), faces=faces, probability=0.5)[mask], axis=0)
        assert len(colors) <= 1


def test_erasing_without_faces_changes_nothing():
    image = tf.cast(picture(), tf.float32)
    np.testing.assert_array_equal(
        erase(image, seed(0), faces=tf.zeros([0, 4]), probability=1.0), image
    )


def test_eager_and_tf_data_agree_and_seeds_decide():
    image, faces = tf.constant(picture(40, 60)), tf.constant([[10.0, 10.0, 30.0, 30.0]])

    def whole(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        own = tf.stack([tf.constant(7, tf.int64), number])
        square = draw_crop(tf.constant([40, 60]), faces, own, factors=FACTORS)
        cut, kept = crop(image, faces, square)
        return distort_colors(tf.cast(cut, tf.float32), own), kept

    in_graph = list(tf.data.Dataset.range(4).map(whole))
    for number, (cut, kept) in enumerate(in_graph):
        alone = whole(tf.constant(number, tf.int64))
        np.testing.assert_allclose(cut, alone[0], atol=1e-3)
        np.testing.assert_array_equal(kept, alone[1])
    assert len({cut.numpy().tobytes() for cut, _ in in_graph}) == 4
