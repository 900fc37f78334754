"""The official scale and the official resize: the one copy that all parts use."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

Tensor = Any


def single_scale(size: Tensor, *, shorter_px: Tensor, longer_px: Tensor) -> Tensor:
    """Returns the factor that brings the shorter side to `shorter_px`, or the longer to its limit.

    Args:
        size: `[2]` int, height and width of the image, px.
        shorter_px: Wanted shorter side, int.
        longer_px: Most pixels of the longer side, int; it wins.

    Returns:
        Scalar float64, one factor for both axes.

    References:
        `SSH/test.py: _get_image_blob`, `lib/utils/blob.py: prep_im_for_blob`.
    """
    size = tf.cast(size, tf.float64)
    shorter, longer = tf.reduce_min(size), tf.reduce_max(size)
    shorter_px, longer_px = tf.cast(shorter_px, tf.float64), tf.cast(longer_px, tf.float64)
    scale = shorter_px / shorter
    return tf.where(tf.round(scale * longer) > longer_px, longer_px / longer, scale)


def pyramid_scales(
    size: Tensor, *, levels_px: Sequence[int], base_px: tuple[int, int]
) -> list[Tensor]:
    """Returns the factor of each level of an image pyramid.

    Only the base is limited by a longer side: the levels are multiples of the base's factor.

    Args:
        size: `[2]` int, height and width of the image, px.
        levels_px: Nominal shorter side of each level.
        base_px: Shorter side and limit of the longer side of the base.

    Returns:
        One scalar float64 per level.

    References:
        `SSH/test.py: _get_image_blob` (pyramid), `wider_pyramid.yml`.
    """
    base = single_scale(size, shorter_px=base_px[0], longer_px=base_px[1])
    return [base * (level / base_px[0]) for level in levels_px]


def scaled_size(size: Tensor, scale: Tensor) -> Tensor:
    """Returns the size that `cv2.resize(fx=scale, fy=scale)` gives: rounded half to even.

    Args:
        size: `[2]` int, px.
        scale: Scalar float64.

    Returns:
        `[2]` int32, at least 1.
    """
    pixels = tf.round(tf.cast(size, tf.float64) * scale)
    return tf.maximum(tf.cast(pixels, tf.int32), 1)


def canvas_size(size: Tensor, *, shorter_px: Tensor, longer_px: int, steps: int) -> Tensor:
    """Rounds the size of a scaled image up to one of few: the canvas it is trained on.

    Sides of scaled images vary with the aspect ratio only, up to the two limits. Each is rounded up
    to a multiple of a step, but not beyond its limit, so that common sizes fit exactly.

    Args:
        size: `[2]` int32, height and width of the scaled image, px.
        shorter_px: Limit of the shorter side.
        longer_px: Limit of the longer side.
        steps: How many steps `longer_px` is divided into.

    Returns:
        `[2]` int32, height and width, px, nowhere less than `size`.
    """
    step = -(-longer_px // steps)
    wide, high = tf.stack([shorter_px, longer_px]), tf.stack([longer_px, shorter_px])
    limit = tf.where(size[0] <= size[1], wide, high)
    return tf.maximum(size, tf.minimum((size + step - 1) // step * step, limit))


def resize(image: Tensor, scale: Tensor, *, canvas: Tensor | None = None) -> Tensor:
    """Resizes like `cv2.resize(image, None, fx=scale, fy=scale)`, bilinear, without antialiasing.

    OpenCV maps pixels by the scale itself; `tf.image.resize` maps them by the ratio of the rounded
    sizes, which differs by up to tens of gray levels.

    Args:
        image: `[H, W, 3]` uint8 or float32.
        scale: Scalar float64.
        canvas: `[2]` int32, height and width of the result; by default those of the scaled image.
            Beyond the image it is 0.

    Returns:
        `[round(H scale), round(W scale), 3]` float32, or that on a canvas.
    """
    factor = tf.cast(scale, tf.float32)
    resized = tf.raw_ops.ScaleAndTranslate(
        images=tf.cast(image, tf.float32)[tf.newaxis],
        size=scaled_size(tf.shape(image)[:2], scale) if canvas is None else canvas,
        scale=tf.stack([factor, factor]),
        translation=tf.zeros([2]),
        kernel_type="triangle",
        antialias=False,
    )[0]
    return tf.ensure_shape(resized, [None, None, 3])
