"""Tests of the augmentations: markers stay under their boxes, eagerly and in graphs."""

from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf

from ssh_tf.data.augment import crop, distort_colours, draw_crop, drop_small, flip
from tests.small import picture

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


def test_faces_are_cut_at_the_border_and_left_out_by_their_centre():
    faces = tf.constant([[0, 0, 20, 20], [0, 0, 18, 18], [12, 12, 40, 20]], tf.float32)
    _, kept = crop(np.zeros((50, 50, 3), np.uint8), faces, tf.constant([10, 10, 20]))
    # Centres 10, 9 and (26, 16), less the corner at 10: 0 is inside, -1 is not; the last is cut.
    np.testing.assert_array_equal(kept, [[0, 0, 10, 10], [2, 2, 20, 10]])


def test_an_image_of_one_pixel_can_be_cropped():
    square = draw_crop(tf.constant([1, 1]), tf.zeros([0, 4]), seed(0), factors=FACTORS)
    assert square.numpy().tolist() == [0, 0, 1]


def test_small_faces_are_left_out_by_their_longer_side():
    faces = tf.constant([[0, 0, 5, 6], [0, 0, 5, 5], [2, 2, 8, 3]], tf.float32)
    np.testing.assert_array_equal(drop_small(faces, 6), [[0, 0, 5, 6], [2, 2, 8, 3]])
    assert drop_small(tf.zeros([0, 4]), 6).shape == (0, 4)


def test_colours_change_pixels_not_places_and_stay_in_range():
    image = tf.cast(painted([20, 14, 33, 30]), tf.float32) * 0.6 + 40.0
    results = [distort_colours(image, seed(i)).numpy() for i in range(16)]
    for result in results:
        assert result.min() >= 0
        assert result.max() <= 255
        inside, outside = result[14:30, 20:33], result[:14]
        assert np.ptp(inside, axis=(0, 1)).max() < 1e-2
        assert (inside.mean(axis=(0, 1)) > outside.mean(axis=(0, 1))).all()
    assert len({result.tobytes() for result in results}) > 8


def test_eager_and_tf_data_agree_and_seeds_decide():
    image, faces = tf.constant(picture(40, 60)), tf.constant([[10.0, 10.0, 30.0, 30.0]])

    def whole(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        own = tf.stack([tf.constant(7, tf.int64), number])
        square = draw_crop(tf.constant([40, 60]), faces, own, factors=FACTORS)
        cut, kept = crop(image, faces, square)
        return distort_colours(tf.cast(cut, tf.float32), own), kept

    in_graph = list(tf.data.Dataset.range(4).map(whole))
    for number, (cut, kept) in enumerate(in_graph):
        alone = whole(tf.constant(number, tf.int64))
        np.testing.assert_allclose(cut, alone[0], atol=1e-3)
        np.testing.assert_array_equal(kept, alone[1])
    assert len({cut.numpy().tobytes() for cut, _ in in_graph}) == 4
