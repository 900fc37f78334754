"""Guards of `geometry` and `model.losses`: each bad argument is named, with what was received."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from ssh_tf.geometry import anchors, boxes, proposals, targets
from ssh_tf.geometry.checks import check_shapes
from ssh_tf.model import losses


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: anchors.base_anchors([]), r"`scales`.*Received: \[\]"),
        (lambda: anchors.base_anchors([1, -2]), r"`scales`.*Received: \[1, -2\]"),
        (lambda: anchors.grid_size(64, 0), "`stride`.*Received: 0"),
        (lambda: anchors.anchor_grid(2, 2, stride=-8, scales=[1]), "`stride`.*Received: -8"),
        (lambda: boxes.include_last_pixel(zeros(2, 5)), r"`boxes`.*Received: \(2, 5\)"),
        (lambda: boxes.exclude_last_pixel(zeros(5)), r"`boxes`.*Received: \(5,\)"),
        (lambda: boxes.pairwise_iou(zeros(4), zeros(1, 4)), r"`boxes_a`.*Received: \(4,\)"),
        (lambda: boxes.pairwise_iou(zeros(1, 4), zeros(0, 3)), r"`boxes_b`.*Received: \(0, 3\)"),
        (lambda: boxes.encode(zeros(2, 4), zeros(2, 3)), r"`anchors`.*Received: \(2, 3\)"),
        (lambda: boxes.decode(zeros(2, 3), zeros(2, 4)), r"`deltas`.*Received: \(2, 3\)"),
        (lambda: boxes.clip(zeros(2, 2), 9, 9), r"`boxes`.*Received: \(2, 2\)"),
        (lambda: proposals.face_probability(zeros(2, 3)), r"`logits`.*Received: \(2, 3\)"),
        (lambda: propose(deltas=zeros(2, 4)), r"`deltas`.*N = 3\. Received: \(2, 4\)"),
        (lambda: propose(top_k=0), "`top_k`.*Received: 0"),
        (lambda: trainable(sizes=zeros(1, 3)), r"`sizes`.*Received: \(1, 3\)"),
        (lambda: targets.match(zeros(3, 4), zeros(2, 4)), r"`faces`.*Received: \(2, 4\)"),
        (lambda: label(trainable=zeros(1, 2)), r"`trainable`.*N = 3\. Received: \(1, 2\)"),
        (lambda: label(negative_iou=0.6), r"`negative_iou`.*Received: \(0.6, 0.5\)"),
        (lambda: mine(labels=zeros(3)), r"`labels`.*Received: \(3,\)"),
        (lambda: mine(samples=0), "`samples`.*Received: 0"),
        (lambda: mine(positive_fraction=1.5), "`positive_fraction`.*Received: 1.5"),
        (lambda: targets.random_ranks(zeros(3)), r"`probability`.*Received: \(3,\)"),
        (lambda: losses.class_loss(zeros(1, 3, 2), zeros(1, 2)), r"`labels`.*Received: \(1, 2\)"),
        (lambda: losses.smooth_l1(zeros(3), sigma=0), "`sigma`.*Received: 0"),
        (lambda: box_loss(targets=zeros(1, 3, 5)), r"`targets`.*Received: \(1, 3, 5\)"),
        (lambda: box_loss(normalizer="mean"), "`normalizer`.*Received: 'mean'"),
    ],
)
def test_a_bad_argument_is_named(call: Callable[[], object], message: str):
    with pytest.raises(ValueError, match=message):
        call()


def propose(**changed: object) -> object:
    given = {"scores": zeros(3), "deltas": zeros(3, 4), "anchors": zeros(3, 4)}
    return proposals.propose(**{**given, "size": (9, 9), "top_k": 2, **changed})


def trainable(**changed: object) -> object:
    given = {"anchors": zeros(3, 4), "sizes": zeros(1, 2), "allowed_border": 0}
    return targets.trainable_anchors(**{**given, **changed})


def label(**changed: object) -> object:
    limits = {"positive_iou": 0.5, "positive_inclusive": True, "negative_iou": 0.3}
    given = {"iou": zeros(1, 3), "trainable": zeros(1, 3)}
    return targets.label_anchors(**{**given, **limits, **changed})


def mine(**changed: object) -> object:
    given = {"labels": zeros(1, 3), "face_probability": zeros(1, 3)}
    return targets.mine(**{**given, "samples": 2, "positive_fraction": 0.5, **changed})


def box_loss(**changed: object) -> object:
    given = {"deltas": zeros(1, 3, 4), "targets": zeros(1, 3, 4), "labels": zeros(1, 3)}
    return losses.box_loss(**{**given, "sigma": 3.0, "normalizer": "samples", **changed})


def test_sizes_known_only_when_the_graph_runs_are_accepted():
    @tf.function(input_signature=[tf.TensorSpec(None), tf.TensorSpec([None, 4])])
    def run(anything: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        check_shapes(anything=(anything, "N 4"), rows=(rows, "N 4"))
        return tf.shape(anything)[0]

    assert int(run(tf.zeros([2, 4]), tf.zeros([3, 4]))) == 2


def test_any_dimensions_may_stand_before_the_last():
    for shape in [(4,), (0, 4), (2, 3, 4)]:
        check_shapes(boxes=(zeros(*shape), "... 4"))
