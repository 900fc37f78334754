"""Tests of box arithmetic."""

import numpy as np
import pytest
from keras import ops

from ssh_tf.geometry.boxes import clip, decode, encode, include_last_pixel, pairwise_iou
from tests.support import oracle

TEN = [0.0, 0.0, 10.0, 10.0]


def tensor(values: object) -> object:
    return ops.convert_to_tensor(np.asarray(values, np.float32))


def numpy(values: object) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(values))


def random_boxes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Half-open boxes of 1 to 60 px around 100 px."""
    corners = rng.uniform(60, 140, (*shape, 2))
    sides = rng.uniform(1, 60, (*shape, 2))
    return np.concatenate([corners, corners + sides], axis=-1).astype(np.float32)


# IoU


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        pytest.param([5, 0, 15, 10], 1 / 3, id="half"),  # 50 / (100 + 100 - 50)
        pytest.param([0, 0, 10, 10], 1.0, id="itself"),
        pytest.param([2, 2, 4, 7], 0.1, id="inside"),  # 10 / 100
        pytest.param([10, 0, 20, 10], 0.0, id="touching"),
        pytest.param([9, 9, 19, 19], 1 / 199, id="one-pixel"),  # 1 / (100 + 100 - 1)
        pytest.param([20, 20, 30, 30], 0.0, id="apart"),
        pytest.param([20, -20, 30, 30], 0.0, id="apart-in-one-axis"),
        pytest.param([0, 0, 0, 0], 0.0, id="padding-row"),
        pytest.param([8, 8, 2, 2], 0.0, id="negative-sides"),
    ],
)
def test_iou_by_hand(other: list[float], expected: float):
    iou = pairwise_iou(tensor([TEN]), tensor([other]))
    np.testing.assert_allclose(numpy(iou), [[expected]], rtol=1e-6)


def test_empty_box_overlaps_nothing_not_even_itself():
    boxes = tensor([[0, 0, 0, 0], [5, 5, 5, 9], TEN])
    assert numpy(pairwise_iou(boxes, boxes))[:2].tolist() == [[0, 0, 0], [0, 0, 0]]


def test_iou_without_boxes_is_an_empty_table():
    none = tensor(np.zeros((0, 4)))
    assert numpy(pairwise_iou(tensor([TEN, TEN]), none)).shape == (2, 0)
    assert numpy(pairwise_iou(none, tensor([TEN]))).shape == (0, 1)


def test_iou_is_symmetric_and_bounded(rng: np.random.Generator):
    a, b = random_boxes(rng, 40), random_boxes(rng, 30)
    iou = numpy(pairwise_iou(tensor(a), tensor(b)))
    np.testing.assert_array_equal(iou, numpy(pairwise_iou(tensor(b), tensor(a))).T)
    assert iou.min() >= 0
    assert iou.max() <= 1
    assert np.ptp(iou) > 0.5


def test_iou_does_not_change_in_a_mirror(rng: np.random.Generator):
    a, b = random_boxes(rng, 40), random_boxes(rng, 30)
    mirrored = [np.stack([200 - x[:, 2], x[:, 1], 200 - x[:, 0], x[:, 3]], -1) for x in (a, b)]
    iou = numpy(pairwise_iou(tensor(a), tensor(b)))
    np.testing.assert_allclose(numpy(pairwise_iou(*map(tensor, mirrored))), iou, atol=1e-5)


def test_iou_of_each_image_is_its_own(rng: np.random.Generator):
    anchors, faces = random_boxes(rng, 7), random_boxes(rng, 3, 5)
    batch = numpy(pairwise_iou(tensor(anchors), tensor(faces)))
    for image, expected in zip(faces, batch, strict=True):
        alone = numpy(pairwise_iou(tensor(anchors), tensor(image)))
        np.testing.assert_array_equal(alone, expected)


def test_iou_of_official_corners_is_the_official_one(rng: np.random.Generator):
    a, b = random_boxes(rng, 25), random_boxes(rng, 20)
    expected = [[oracle.iou(x, y) for y in b.tolist()] for x in a.tolist()]
    boxes = [include_last_pixel(tensor(corners)) for corners in (a, b)]
    np.testing.assert_allclose(numpy(pairwise_iou(*boxes)), expected, rtol=1e-5, atol=1e-6)


def test_last_pixel_makes_an_inclusive_point_one_pixel_large():
    assert numpy(include_last_pixel(tensor([[3, 4, 3, 4]]))).tolist() == [[3, 4, 4, 5]]


# Regression


def test_encode_by_hand():
    # Facts: anchor [0, 0, 15, 15] and face [2, 3, 20, 24], inclusive. Sides 16 and 19 x 22; centers
    # 8 and 11.5, 14: shifts 3.5 / 16 and 6 / 16.
    deltas = encode(tensor([2, 3, 21, 25]), tensor([0, 0, 16, 16]))
    expected = [0.21875, 0.375, np.log(19 / 16), np.log(22 / 16)]
    np.testing.assert_allclose(numpy(deltas), expected, rtol=1e-6)


def test_decode_by_hand():
    # Center 8 + 0.25 * 16 = 12 and 8 - 0.5 * 16 = 0; sides 32 and 16.
    boxes = decode(tensor([0.25, -0.5, np.log(2), 0]), tensor([0, 0, 16, 16]))
    np.testing.assert_allclose(numpy(boxes), [-4, -8, 28, 8], atol=1e-5)


def test_decode_of_zeros_is_the_half_open_anchor():
    # The official code reads the result as inclusive corners: 1 px more than the anchor it has.
    assert numpy(decode(tensor([0, 0, 0, 0]), tensor([0, 0, 16, 16]))).tolist() == [0, 0, 16, 16]


def test_decode_inverts_encode(rng: np.random.Generator):
    boxes, anchors = random_boxes(rng, 200), random_boxes(rng, 200)
    deltas = encode(tensor(boxes), tensor(anchors))
    np.testing.assert_allclose(numpy(decode(deltas, tensor(anchors))), boxes, atol=1e-3)


def test_encode_inverts_decode(rng: np.random.Generator):
    deltas, anchors = rng.normal(0, 0.5, (200, 4)), random_boxes(rng, 200)
    boxes = decode(tensor(deltas), tensor(anchors))
    np.testing.assert_allclose(numpy(encode(boxes, tensor(anchors))), deltas, atol=1e-4)


def test_encode_agrees_with_the_oracle(rng: np.random.Generator):
    faces, anchors = random_boxes(rng, 50), random_boxes(rng, 50)
    expected = [oracle.encode(a, f) for a, f in zip(anchors, faces, strict=True)]
    deltas = encode(include_last_pixel(tensor(faces)), include_last_pixel(tensor(anchors)))
    np.testing.assert_allclose(numpy(deltas), expected, atol=1e-5)


def test_log_ratio_over_50_counts_as_5():
    # exp(50) fits float32, so 50 itself passes.
    boxes = numpy(decode(tensor([[0, 0, 51, 0], [0, 0, 50, 0]]), tensor([0, 0, 16, 16])))
    np.testing.assert_allclose(boxes[0, 2] - boxes[0, 0], 16 * np.exp(5), rtol=1e-5)
    np.testing.assert_allclose(boxes[1, 2] - boxes[1, 0], 16 * np.exp(50), rtol=1e-4)


def test_huge_log_ratio_stays_finite():
    assert np.isfinite(numpy(decode(tensor([0, 0, 1e30, 1e30]), tensor([0, 0, 16, 16])))).all()


def test_clip_keeps_corners_on_the_image():
    boxes = tensor([[-5, -6, 300, 400], [2, 3, 4, 5], [250, 150, 260, 160]])
    # 100 px high, 200 px wide: the last pixels are 99 and 199.
    expected = [[0, 0, 199, 99], [2, 3, 4, 5], [199, 99, 199, 99]]
    assert numpy(clip(boxes, 100, 200)).tolist() == expected
