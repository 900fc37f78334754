"""Box arithmetic on `keras.ops`.

Boxes are `[x1, y1, x2, y2]` float32 px, half-open: width = x2 - x1 (docs/decisions/0003).
"""

from typing import Any

from keras import ops

from ssh_tf.geometry.checks import check_shapes

Tensor = Any


def include_last_pixel(boxes: Tensor) -> Tensor:
    """Turns inclusive corners into half-open ones.

    The official code counts the pixel under (x2, y2) as part of a box: width = x2 - x1 + 1, both
    for ground truth at network scale and for areas in NMS (`lib/utils/bbox.pyx`, `lib/nms`).

    Args:
        boxes: `[..., 4]` float32, inclusive corners, px.

    Returns:
        `[..., 4]` float32, half-open, px.

    Raises:
        ValueError: For another shape.
    """
    check_shapes(boxes=(boxes, "... 4"))
    return boxes + ops.convert_to_tensor([0.0, 0.0, 1.0, 1.0], dtype=boxes.dtype)


def exclude_last_pixel(boxes: Tensor) -> Tensor:
    """Turns half-open corners into inclusive ones: the inverse of `include_last_pixel`.

    Args:
        boxes: `[..., 4]` float32, half-open, px.

    Returns:
        `[..., 4]` float32, inclusive corners, px.

    Raises:
        ValueError: For another shape.
    """
    check_shapes(boxes=(boxes, "... 4"))
    return boxes - ops.convert_to_tensor([0.0, 0.0, 1.0, 1.0], dtype=boxes.dtype)


def pairwise_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Computes the IoU of every box in one set with every box in another.

    An empty box has IoU 0 with everything, also itself, so zero padding rows can never match.

    Args:
        boxes_a: `[..., N, 4]` float32, half-open, px.
        boxes_b: `[..., M, 4]` float32, half-open, px. `M` may be 0.

    Returns:
        `[..., N, M]` float32 in `[0, 1]`.

    Raises:
        ValueError: For other shapes.
    """
    check_shapes(boxes_a=(boxes_a, "... N 4"), boxes_b=(boxes_b, "... M 4"))
    # One coordinate at a time: arrays of [..., N, M] are contiguous, [..., N, M, 2] are not.
    a_x1, a_y1, a_x2, a_y2 = ops.unstack(ops.expand_dims(boxes_a, -2), 4, axis=-1)  # [..., N, 1]
    b_x1, b_y1, b_x2, b_y2 = ops.unstack(ops.expand_dims(boxes_b, -3), 4, axis=-1)  # [..., 1, M]
    width = ops.minimum(a_x2, b_x2) - ops.maximum(a_x1, b_x1)  # [..., N, M]
    height = ops.minimum(a_y2, b_y2) - ops.maximum(a_y1, b_y1)
    intersection = ops.relu(width) * ops.relu(height)
    area_a = ops.relu(a_x2 - a_x1) * ops.relu(a_y2 - a_y1)  # [..., N, 1]
    area_b = ops.relu(b_x2 - b_x1) * ops.relu(b_y2 - b_y1)  # [..., 1, M]
    union = area_a + area_b - intersection
    return ops.divide_no_nan(intersection, union)


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Computes the regression targets of boxes relative to anchors.

    Args:
        boxes: `[..., 4]` float32, half-open, px. Sides must be positive.
        anchors: `[..., 4]` float32, half-open, px.

    Returns:
        `[..., 4]` float32 `(dx, dy, dw, dh)`: shift of the center in anchor sides, log of the ratio
        of sides.

    Raises:
        ValueError: For other shapes.

    References:
        `lib/utils/bbox_transform.py: bbox_transform`.
    """
    check_shapes(boxes=(boxes, "... 4"), anchors=(anchors, "... 4"))
    anchor_sides = anchors[..., 2:] - anchors[..., :2]  # [..., 2] width, height
    sides = boxes[..., 2:] - boxes[..., :2]  # [..., 2]
    shift = (boxes[..., :2] + 0.5 * sides) - (anchors[..., :2] + 0.5 * anchor_sides)
    return ops.concatenate([shift / anchor_sides, ops.log(sides / anchor_sides)], axis=-1)


def decode(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Moves and scales anchors by regression outputs: the inverse of `encode`.

    Args:
        deltas: `[..., 4]` float32 `(dx, dy, dw, dh)`.
        anchors: `[..., 4]` float32, half-open, px.

    Returns:
        `[..., 4]` float32 px. The official code reads these numbers as inclusive corners, that is
        one pixel further right and down than the ground truth it trained with (fidelity is kept:
        the published AP includes it).

    Raises:
        ValueError: For other shapes.

    References:
        `lib/utils/bbox_transform.py: bbox_transform_inv`, with its guard: a log ratio over 50 is
        taken as 5.
    """
    check_shapes(deltas=(deltas, "... 4"), anchors=(anchors, "... 4"))
    anchor_sides = anchors[..., 2:] - anchors[..., :2]  # [..., 2] width, height
    centers = anchors[..., :2] + 0.5 * anchor_sides + deltas[..., :2] * anchor_sides
    log_ratio = ops.where(deltas[..., 2:] > 50.0, 5.0, deltas[..., 2:])
    half = 0.5 * ops.exp(log_ratio) * anchor_sides
    return ops.concatenate([centers - half, centers + half], axis=-1)


def clip(boxes: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Clips inclusive corners to an image: x to `[0, width - 1]`, y to `[0, height - 1]`.

    Args:
        boxes: `[..., 4]` float32 px.
        height: Scalar, px.
        width: Scalar, px.

    Returns:
        `[..., 4]` float32 px.

    Raises:
        ValueError: For another shape.

    References:
        `lib/utils/bbox_transform.py: clip_boxes`.
    """
    check_shapes(boxes=(boxes, "... 4"))
    last = ops.cast(ops.stack([width, height, width, height]), boxes.dtype) - 1.0
    return ops.maximum(ops.minimum(boxes, last), 0.0)
