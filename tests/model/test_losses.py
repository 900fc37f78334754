"""Tests of the two losses."""

import numpy as np
import pytest
from keras import ops

from ssh_tf.geometry.targets import IGNORE, NEGATIVE, POSITIVE
from ssh_tf.model.losses import box_loss, class_loss, smooth_l1
from tests.support import oracle
from tests.support.golden import value_and_gradients

P, N, I = POSITIVE, NEGATIVE, IGNORE  # noqa: E741


def tensor(values: object, dtype: str = "float32") -> object:
    return ops.convert_to_tensor(np.asarray(values), dtype=dtype)


def numpy(values: object) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(values))


def boxes(deltas: object, targets: object, labels: object, normalizer: str = "samples"):
    loss = box_loss(
        tensor(deltas), tensor(targets), tensor(labels, "int32"), sigma=3.0, normalizer=normalizer
    )
    return numpy(loss)


# Classes


def test_class_loss_by_hand():
    # Probabilities of a face: 3/4, 1/5, 1/2; the last anchor is ignored.
    logits = [[[0, np.log(3)], [np.log(4), 0], [0, 0], [50, -50]]]
    loss = class_loss(tensor(logits), tensor([[P, P, N, I]], "int32"))
    expected = (np.log(4 / 3) + np.log(5) + np.log(2)) / 3
    np.testing.assert_allclose(numpy(loss), [expected], rtol=1e-6)


def test_class_loss_without_labels_is_0():
    assert numpy(class_loss(tensor([[[3, -2]]]), tensor([[I]], "int32"))).tolist() == [0]


def test_class_loss_of_wrong_certainty_is_finite():
    loss = class_loss(tensor([[[1e4, -1e4]]]), tensor([[P]], "int32"))
    assert numpy(loss).tolist() == [2e4]


# Boxes


@pytest.mark.parametrize(
    ("error", "sigma", "expected"),
    [
        (0.0, 3.0, 0.0),
        (0.1, 3.0, 0.045),  # 4.5 * 0.01
        (-0.1, 3.0, 0.045),
        (1 / 9, 3.0, 1 / 18),  # both pieces: 4.5 / 81 = 1/9 - 1/18
        (1.0, 3.0, 17 / 18),  # 1 - 1/18
        (-2.0, 3.0, 35 / 18),
        (0.5, 1.0, 0.125),
        (2.0, 1.0, 1.5),
        (0.2, 2.0, 0.08),  # 2 * 0.04
        (1e30, 3.0, 1e30),  # its square would overflow
    ],
)
def test_smooth_l1_by_hand(error: float, sigma: float, expected: float):
    np.testing.assert_allclose(numpy(smooth_l1(tensor(error), sigma=sigma)), expected, rtol=1e-6)


DELTAS = [[[0.1, 1, 0, 0], [9, 9, 9, 9], [0, 0, 0, 2], [9, 9, 9, 9]]]
ZEROS = np.zeros((1, 4, 4))


@pytest.mark.parametrize(("normalizer", "count"), [("samples", 3), ("positives", 2)])
def test_box_loss_by_hand(normalizer: str, count: int):
    # Two positives: 0.045 + 17/18 and 35/18; one negative counts in the official divisor.
    loss = boxes(DELTAS, ZEROS, [[P, N, P, I]], normalizer)
    np.testing.assert_allclose(loss, [(0.045 + 17 / 18 + 35 / 18) / count], rtol=1e-6)


@pytest.mark.parametrize("normalizer", ["samples", "positives"])
@pytest.mark.parametrize("labels", [[N, N, I, N], [I, I, I, I]])
def test_box_loss_without_positives_is_exactly_0(normalizer: str, labels: list[int]):
    assert boxes(DELTAS, ZEROS, [labels], normalizer).tolist() == [0]


def test_infinite_targets_of_other_anchors_stay_out_of_loss_and_gradient():
    targets = np.array(ZEROS)
    targets[0, 1] = [np.inf, -np.inf, np.nan, -np.inf]
    labels = tensor([[P, N, I, I]], "int32")

    def loss(deltas: object, targets: object) -> tuple[object, object]:
        value = box_loss(deltas, targets, labels, sigma=3.0, normalizer="samples")[0]
        return value, value

    value, (gradient, _) = value_and_gradients(loss, np.float32(DELTAS), np.float32(targets))
    np.testing.assert_allclose(numpy(value), (0.045 + 17 / 18) / 2, rtol=1e-6)
    # 9 * 0.1 and the sign of 1, by 2 labeled anchors.
    np.testing.assert_allclose(gradient[0, 0], [0.45, 0.5, 0, 0], rtol=1e-6)
    assert not gradient[0, 1:].any()


def test_ignored_anchors_get_exactly_no_gradient(rng: np.random.Generator):
    labels = rng.choice([P, N, I], (2, 50))

    def loss(logits: object, deltas: object) -> tuple[object, object]:
        mined = tensor(labels, "int32")
        targets = ops.zeros_like(deltas)
        classes = class_loss(logits, mined)
        both = classes + box_loss(deltas, targets, mined, sigma=3.0, normalizer="samples")
        return ops.sum(both), both

    logits, deltas = rng.normal(size=(2, 50, 2)), rng.normal(size=(2, 50, 4))
    _, gradients = value_and_gradients(loss, logits.astype("float32"), deltas.astype("float32"))
    assert not gradients[0][labels == I].any()
    assert gradients[0][labels != I].all()
    assert not gradients[1][labels != P].any()
    assert gradients[1][labels == P].all()


@pytest.mark.parametrize("seed", range(4))
def test_losses_agree_with_the_oracle(seed: int):
    rng = np.random.default_rng(seed)
    labels = rng.choice([P, N, I], (3, 300), p=[0.1, 0.6, 0.3])
    logits = rng.normal(0, 3, (3, 300, 2)).astype(np.float32)
    deltas, targets = rng.normal(0, 0.3, (2, 3, 300, 4)).astype(np.float32)
    expected = [oracle.class_loss(*image) for image in zip(logits, labels, strict=True)]
    found = class_loss(tensor(logits), tensor(labels, "int32"))
    np.testing.assert_allclose(numpy(found), expected, rtol=1e-5)
    expected = [
        oracle.box_loss(image, oracle.Targets(*assigned))
        for image, assigned in zip(deltas, zip(labels, targets, strict=True), strict=True)
    ]
    np.testing.assert_allclose(boxes(deltas, targets, labels), expected, rtol=1e-5)
