"""Losses of one module on mined labels (caffe-ssh `SoftmaxWithLoss`, `SmoothL1Loss`)."""

from typing import Any

from keras import ops

from ssh_tf.geometry.checks import check, check_shapes
from ssh_tf.geometry.targets import IGNORE, POSITIVE

Tensor = Any


def class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax cross entropy, averaged over the labeled anchors of each image.

    Args:
        logits: `[B, N, 2]` float32, background and face.
        labels: `[B, N]` int32; `IGNORE` takes no part.

    Returns:
        `[B]` float32; 0 for an image without labeled anchors.

    Raises:
        ValueError: For other shapes.

    References:
        `train_ssh.prototxt`: ignore_label -1, normalize true (VALID).
    """
    check_shapes(logits=(logits, "B N 2"), labels=(labels, "B N"))
    labeled = ops.cast(labels != IGNORE, logits.dtype)  # [B, N]
    log_probability = ops.log_softmax(logits, axis=-1)  # [B, N, 2]
    chosen = ops.where(labels == POSITIVE, log_probability[..., 1], log_probability[..., 0])
    count = ops.sum(labeled, axis=-1)  # [B]
    return -ops.sum(chosen * labeled, axis=-1) / ops.maximum(count, 1.0)


def smooth_l1(error: Tensor, *, sigma: float) -> Tensor:
    """Squared error near zero, absolute error beyond, elementwise.

    Args:
        error: Any shape.
        sigma: The two pieces meet at `1 / sigma^2`.

    Returns:
        The shape of `error`: `0.5 sigma^2 e^2` for `|e| < 1 / sigma^2`, else `|e| - 0.5 / sigma^2`.

    Raises:
        ValueError: If `sigma` is not positive.
    """
    check(sigma > 0, "`sigma` must be positive", sigma)
    size = ops.abs(error)
    square = sigma * sigma
    quadratic = ops.minimum(size, 1.0 / square)  # squaring only this part can't overflow
    return 0.5 * square * quadratic * quadratic + (size - quadratic)


def box_loss(
    deltas: Tensor, targets: Tensor, labels: Tensor, *, sigma: float, normalizer: str
) -> Tensor:
    """Smooth L1 over the positive anchors of each image.

    Args:
        deltas: `[B, N, 4]` float32, the network's.
        targets: `[B, N, 4]` float32; only rows of positive anchors are read.
        labels: `[B, N]` int32, mined.
        sigma: See `smooth_l1`.
        normalizer: `samples` divides by the labeled anchors (official), `positives` by the
            positive ones (paper 3.5).

    Returns:
        `[B]` float32; 0 for an image without positives.

    Raises:
        ValueError: For other shapes, another normalizer, or if `sigma` is not positive.
    """
    check_shapes(deltas=(deltas, "B N 4"), targets=(targets, "B N 4"), labels=(labels, "B N"))
    known = normalizer in ("samples", "positives")
    check(known, "`normalizer` must be samples or positives", normalizer)
    positive = labels == POSITIVE  # [B, N]
    # Rows that are not positive may hold infinities (no face: log of 0): never let them in.
    error = ops.where(ops.expand_dims(positive, -1), deltas - targets, 0.0)  # [B, N, 4]
    total = ops.sum(smooth_l1(error, sigma=sigma), axis=(1, 2))  # [B]
    counted = positive if normalizer == "positives" else labels != IGNORE  # [B, N]
    return total / ops.maximum(ops.sum(ops.cast(counted, total.dtype), axis=-1), 1.0)
