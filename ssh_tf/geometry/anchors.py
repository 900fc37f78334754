"""The anchor grid (`SSH/layers/generate_anchors.py`, `anchor_target_layer.py`)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from ssh_tf.geometry.checks import check

Tensor = Any

# The official code uses base_size 16 in every module, whatever the stride: anchors of all modules
# are centered on the first 16 x 16 window, not on the middle of their cell.
BASE_PX = 16.0


def base_anchors(scales: Sequence[float]) -> np.ndarray:
    """Returns the square anchors of cell (0, 0).

    Args:
        scales: Side / 16 px of each anchor.

    Returns:
        `[A, 4]` float32, half-open, px: `[0, 0, 16, 16]` for scale 1.

    Raises:
        ValueError: If there is no scale, or one is not positive.
    """
    check(len(scales) > 0 and min(scales) > 0, "`scales` must be positive numbers", scales)
    half = 0.5 * BASE_PX * np.asarray(scales, np.float32)
    center = 0.5 * BASE_PX
    return np.stack([center - half, center - half, center + half, center + half], axis=-1)


def grid_size(pixels: Tensor, stride: int) -> Tensor:
    """Returns the cells along a side: each pooling layer of Caffe rounds up, so together they do.

    Args:
        pixels: Side in px, an integer or an integer tensor.
        stride: Pixels per cell.

    Raises:
        ValueError: If `stride` is not positive.
    """
    check(stride > 0, "`stride` must be positive", stride)
    return -(-pixels // stride)


def anchor_grid(rows: Tensor, columns: Tensor, *, stride: int, scales: Sequence[float]) -> Tensor:
    """Lays the anchors on every cell of a feature map.

    Args:
        rows: Height of the feature map, a scalar integer (tensor).
        columns: Width of the feature map, a scalar integer (tensor).
        stride: Pixels per cell.
        scales: Anchor sides / 16 px.

    Returns:
        `[rows * columns * A, 4]` float32, half-open, network px, in `(row, column, anchor)` order,
        the anchor fastest.

    Raises:
        ValueError: If `stride` or a scale is not positive.
    """
    check(stride > 0, "`stride` must be positive", stride)
    y = ops.cast(ops.arange(rows), "float32") * float(stride)
    x = ops.cast(ops.arange(columns), "float32") * float(stride)
    y, x = ops.meshgrid(y, x, indexing="ij")  # [rows, columns]
    shifts = ops.stack([x, y, x, y], axis=-1)  # [rows, columns, 4]
    anchors = ops.expand_dims(shifts, 2) + base_anchors(scales)  # [rows, columns, A, 4]
    return ops.reshape(anchors, (-1, 4))
