"""Augmentations of stronger recipes: pure functions of an image, its faces and a seed.

Faces are official corners (docs/decisions/0003). A seed is `[2]` int64, as `tf.random.stateless_*`
takes it: the same seed gives the same result, eagerly and in `tf.data`.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

Tensor = Any

# SSD's distortion of colours (Liu et al., arXiv:1512.02325, its prototxt): largest change of
# brightness as a share of the range, factors of contrast and saturation, change of hue in turns.
_BRIGHTNESS = 32 / 255
_CONTRAST = (0.5, 1.5)
_SATURATION = (0.5, 1.5)
_HUE = 18 / 360

# Crops that are drawn at once, of which the first with a face is taken.
_TRIES = 250


def flip(image: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Mirrors an image and its faces left to right.

    Args:
        image: `[H, W, 3]`.
        faces: `[F, 4]` float32 official corners, px.

    Returns:
        Both mirrored. Official corners are inclusive, so x becomes `W - 1 - x` and x1 may be -1.

    References:
        `lib/datasets/imdb.py: append_flipped_images`.
    """
    last = tf.cast(tf.shape(image)[1] - 1, tf.float32)
    x1, y1, x2, y2 = tf.unstack(faces, axis=-1)
    # `tf.reverse` has a fast path for rows of pixels, which a slice of step -1 has not.
    return tf.reverse(image, [1]), tf.stack([last - x2, y1, last - x1, y2], axis=-1)


def draw_crop(size: Tensor, faces: Tensor, seed: Tensor, *, factors: Sequence[float]) -> Tensor:
    """Draws a square inside an image, around at least one face's centre if any draw has one.

    Args:
        size: `[2]` int32, height and width of the image, px.
        faces: `[F, 4]` float32 official corners, px.
        seed: `[2]` int64.
        factors: Sides to choose from, as shares of the shorter side, in `(0, 1]`.

    Returns:
        `[3]` int32: upper and left border, side, px.

    References:
        Factors .3, .45, .6, .8, 1 and centres inside: deepinsight/mxnet-SSH, `rcnn/io/rpn.py`.
    """
    draws = tf.random.stateless_uniform([_TRIES, 3], seed)
    choice = tf.cast(draws[:, 0] * len(factors), tf.int32)
    shorter = tf.cast(tf.reduce_min(size), tf.float32)
    side = tf.maximum(tf.cast(tf.gather(tf.constant(factors), choice) * shorter, tf.int32), 1)
    room = tf.cast(size[tf.newaxis] - side[:, tf.newaxis] + 1, tf.float32)  # [T, 2]
    corner = tf.cast(draws[:, 1:] * room, tf.int32)  # [T, 2], y and x
    centres = (faces[:, 1::-1] + faces[:, 3:1:-1]) / 2  # [F, 2], y and x
    offset = centres[tf.newaxis] - tf.cast(corner, tf.float32)[:, tf.newaxis]  # [T, F, 2]
    limit = tf.cast(side, tf.float32)[:, tf.newaxis, tf.newaxis]
    holds = tf.reduce_any(tf.reduce_all((offset >= 0) & (offset < limit), axis=-1), axis=-1)
    first = tf.argmax(holds, output_type=tf.int32)  # 0 where none does
    return tf.stack([corner[first, 0], corner[first, 1], side[first]])


def crop(image: Tensor, faces: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
    """Cuts a square out of an image; faces stay if their centre does, cut at the border.

    Args:
        image: `[H, W, 3]`.
        faces: `[F, 4]` float32 official corners, px.
        square: `[3]` int32 from `draw_crop`.

    Returns:
        `[side, side, 3]` and `[F', 4]`.
    """
    top, left, side = tf.unstack(square)
    corner = tf.cast(tf.stack([left, top, left, top]), tf.float32)
    limit = tf.cast(side, tf.float32)
    moved = faces - corner
    centres = (moved[:, :2] + moved[:, 2:]) / 2
    inside = tf.reduce_all((centres >= 0) & (centres < limit), axis=-1)
    kept = tf.clip_by_value(tf.boolean_mask(moved, inside), 0.0, limit)
    return image[top : top + side, left : left + side], kept


def drop_small(faces: Tensor, smallest_px: float) -> Tensor:
    """Leaves out faces whose longer side is less than `smallest_px`: `[F, 4]` -> `[F', 4]`."""
    longer = tf.reduce_max(faces[:, 2:] - faces[:, :2], axis=-1)
    return tf.boolean_mask(faces, longer >= smallest_px)


def distort_colours(image: Tensor, seed: Tensor) -> Tensor:
    """Changes brightness, contrast, saturation and hue, each of them in half of the images.

    Args:
        image: `[H, W, 3]` float32 RGB in `[0, 255]`.
        seed: `[2]` int64.

    Returns:
        The same, clipped to `[0, 255]`.
    """
    seeds = tf.random.split(seed, 8)  # [8, 2]
    changes = (
        lambda x: tf.image.stateless_random_brightness(x, _BRIGHTNESS, seeds[0]),
        lambda x: tf.image.stateless_random_contrast(x, *_CONTRAST, seeds[1]),
        lambda x: tf.image.stateless_random_saturation(x, *_SATURATION, seeds[2]),
        lambda x: tf.image.stateless_random_hue(x, _HUE, seeds[3]),
    )
    result = image / 255.0
    for change, own in zip(changes, tf.unstack(seeds[4:]), strict=True):
        apply = tf.random.stateless_uniform([], own) < 0.5
        # Clipped before each: saturation and hue mean nothing outside of the colour cube.
        result = tf.clip_by_value(result, 0.0, 1.0)
        result = tf.cond(apply, lambda c=change, r=result: c(r), lambda r=result: r)
    return tf.clip_by_value(result, 0.0, 1.0) * 255.0
