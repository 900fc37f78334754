"""Tests of a module's best boxes, and of detection from scores to the joint NMS."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from ssh_tf.config import DetectConfig
from ssh_tf.geometry.anchors import anchor_grid, grid_size
from ssh_tf.geometry.proposals import face_probability, propose
from ssh_tf.inference.graph import joint_nms
from tests.support import oracle

ANCHORS = [[0, 0, 16, 16], [8, 0, 24, 16], [16, 0, 32, 16]]


def best(scores: object, deltas: object, anchors: object, size: tuple[int, int], top_k: int):
    tensors = [ops.convert_to_tensor(np.asarray(x, np.float32)) for x in (scores, deltas, anchors)]
    boxes, kept = propose(*tensors, size=size, top_k=top_k)
    return np.asarray(boxes), np.asarray(kept)


@pytest.mark.parametrize(
    ("logits", "probability"),
    [([0, 0], 0.5), ([0, np.log(3)], 0.75), ([5, 5 - np.log(4)], 0.2), ([1000, -1000], 0)],
)
def test_probability_by_hand(logits: list[float], probability: float):
    # e^b : e^f = 1 : 3 and 4 : 1.
    found = face_probability(ops.convert_to_tensor(np.float32([logits])))
    np.testing.assert_allclose(np.asarray(found), [probability], rtol=1e-6)


def test_probability_of_half_precision_is_single():
    logits = ops.cast(ops.convert_to_tensor([[0.0, 1.0]]), "bfloat16")
    assert ops.dtype(face_probability(logits)) == "float32"


def test_best_boxes_come_first_with_their_own_deltas():
    deltas = [[0, 0, 0, 0], [0.5, 0, 0, 0], [0, 0.25, 0, 0]]
    boxes, scores = best([0.2, 0.9, 0.5], deltas, ANCHORS, (100, 100), top_k=2)
    np.testing.assert_allclose(scores, [0.9, 0.5])
    # Second anchor moved by 8 px to the right, third by 4 px down.
    np.testing.assert_allclose(boxes, [[16, 0, 32, 16], [16, 4, 32, 20]])


@pytest.mark.parametrize("top_k", [3, 4, 1000])
def test_fewer_anchors_than_top_k_are_all_kept(top_k: int):
    boxes, scores = best([0.2, 0.0, 0.5], np.zeros((3, 4)), ANCHORS, (100, 100), top_k)
    np.testing.assert_allclose(scores, [0.5, 0.2, 0.0])
    assert boxes[:, 0].tolist() == [16, 0, 8]


def test_no_anchors_give_no_boxes():
    boxes, scores = best(np.zeros(0), np.zeros((0, 4)), np.zeros((0, 4)), (8, 8), top_k=5)
    assert (boxes.shape, scores.shape) == ((0, 4), (0,))


def test_boxes_are_clipped_to_the_last_pixel_of_the_network_input():
    boxes, _ = best([1, 0.5, 0], np.zeros((3, 4)), ANCHORS, (12, 20), top_k=3)
    assert boxes.tolist() == [[0, 0, 16, 11], [8, 0, 19, 11], [16, 0, 19, 11]]


def test_boxes_without_extent_are_kept():
    boxes, _ = best([1], [[-4, 0, 0, 0]], ANCHORS[:1], (12, 20), top_k=3)
    assert boxes.tolist() == [[0, 0, 0, 11]]


@pytest.mark.parametrize(("height", "width"), [(97, 131), (330, 260)])
def test_detection_agrees_with_the_oracle(height: int, width: int):
    rng = np.random.default_rng(height)
    boxes, scores, expected = [], [], []
    for module in oracle.MODULES:
        rows, columns = grid_size(height, module.stride), grid_size(width, module.stride)
        grid = anchor_grid(rows, columns, stride=module.stride, scales=module.scales)
        score = (rng.uniform(size=len(grid)) ** 4).astype(np.float32)
        deltas = rng.normal(0, 0.3, (len(grid), 4)).astype(np.float32)
        found = propose(*map(tf.constant, (score, deltas)), grid, size=(height, width), top_k=1000)
        official = oracle.propose(height, width, module, score, deltas)
        assert len(official) == min(1000, 2 * rows * columns)
        np.testing.assert_allclose(found[0], np.array(official)[:, :4], atol=1e-3)
        np.testing.assert_array_equal(found[1], np.array(official)[:, 4])
        boxes, scores, expected = [*boxes, found[0]], [*scores, found[1]], expected + official
    assert len(np.unique(np.concatenate(scores))) == len(expected)  # no ties
    found = joint_nms(tf.concat(boxes, 0), tf.concat(scores, 0), DetectConfig())
    survivors = np.array(oracle.nms(expected))
    assert 20 < len(survivors) < 0.5 * len(expected)
    np.testing.assert_array_equal(found.scores, survivors[:, 4])
    np.testing.assert_allclose(found.boxes, survivors[:, :4], atol=1e-3)
