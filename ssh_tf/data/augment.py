"""Augmentations of stronger recipes: pure functions of an image, its faces and a seed.

Faces are official corners (docs/decisions/0003). A seed is `[2]` int64, as `tf.random.stateless_*`
takes it: the same seed gives the same result, eagerly and in `tf.data`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from ssh_tf.model.backbones.vgg16 import KERAS_MEANS

Tensor = Any

# RGB of what lies beyond an image: ImageNet's mean, which the network turns into zeros.
MEAN_COLOR = tuple(round(mean) for mean in reversed(KERAS_MEANS))

# SSD's distortion of colors (Liu et al., arXiv:1512.02325, its prototxt): largest change of
# brightness as a share of the range, factors of contrast and saturation, change of hue in turns.
_BRIGHTNESS = 32 / 255
_CONTRAST = (0.5, 1.5)
_SATURATION = (0.5, 1.5)
_HUE = 18 / 360

# Deviations of the Gaussian blur, px, and its reach: three of the largest.
_BLUR_PX = (0.3, 2.0)
_BLUR_REACH = 6
# Quality of a JPEG file that was compressed too often.
_JPEG_QUALITY = (15, 75)
# Sides of an erasing patch, as shares of the face's: a hand, a mask, half of the face.
_PATCH = (0.3, 0.7)

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
    """Draws a square, around at least one face's center if any draw has one.

    A square that is longer than a side of the image holds the whole of that side.

    Args:
        size: `[2]` int32, height and width of the image, px.
        faces: `[F, 4]` float32 official corners, px.
        seed: `[2]` int64.
        factors: Sides to choose from, as shares of the shorter side, above 0.

    Returns:
        `[3]` int32: upper and left border, side, px. Borders below 0 lie outside the image.

    References:
        Factors .3, .45, .6, .8, 1 and centers inside: deepinsight/mxnet-SSH, `rcnn/io/rpn.py`.
    """
    draws = tf.random.stateless_uniform([_TRIES, 3], seed)
    choice = tf.cast(draws[:, 0] * len(factors), tf.int32)
    shorter = tf.cast(tf.reduce_min(size), tf.float32)
    side = tf.maximum(tf.cast(tf.gather(tf.constant(factors), choice) * shorter, tf.int32), 1)
    room = size[tf.newaxis] - side[:, tf.newaxis]  # [T, 2], below 0 where the square is longer
    places = tf.cast(tf.abs(room) + 1, tf.float32)
    corner = tf.minimum(room, 0) + tf.cast(draws[:, 1:] * places, tf.int32)  # [T, 2], y and x
    centers = (faces[:, 1::-1] + faces[:, 3:1:-1]) / 2  # [F, 2], y and x
    offset = centers[tf.newaxis] - tf.cast(corner, tf.float32)[:, tf.newaxis]  # [T, F, 2]
    limit = tf.cast(side, tf.float32)[:, tf.newaxis, tf.newaxis]
    holds = tf.reduce_any(tf.reduce_all((offset >= 0) & (offset < limit), axis=-1), axis=-1)
    first = tf.argmax(holds, output_type=tf.int32)  # 0 where none does
    return tf.stack([corner[first, 0], corner[first, 1], side[first]])


def crop(image: Tensor, faces: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
    """Cuts a square out of an image; faces stay if their center does, cut at the border.

    Args:
        image: `[H, W, 3]`.
        faces: `[F, 4]` float32 official corners, px.
        square: `[3]` int32 from `draw_crop`.

    Returns:
        `[side, side, 3]`, of `MEAN_COLOR` where the square lies outside the image, and `[F', 4]`.
    """
    top, left, side = tf.unstack(square)
    corner = tf.cast(tf.stack([left, top, left, top]), tf.float32)
    limit = tf.cast(side, tf.float32)
    moved = faces - corner
    centers = (moved[:, :2] + moved[:, 2:]) / 2
    inside = tf.reduce_all((centers >= 0) & (centers < limit), axis=-1)
    moved = tf.clip_by_value(tf.boolean_mask(moved, inside), 0.0, limit)
    y, x = tf.maximum(top, 0), tf.maximum(left, 0)
    part = image[y : top + side, x : left + side]
    return _on_mean_color(part, y - top, x - left, side), moved


def _on_mean_color(image: Tensor, top: Tensor, left: Tensor, side: Tensor) -> Tensor:
    """Puts `[h, w, 3]` on a square of `MEAN_COLOR`."""
    mean = tf.cast(tf.constant(MEAN_COLOR), image.dtype)
    height, width = tf.unstack(tf.shape(image)[:2])
    around = [[top, side - top - height], [left, side - left - width], [0, 0]]
    # Unsigned pixels less the mean wrap around, and come back when it is added again.
    return tf.pad(image - mean, around) + mean


def drop_small(faces: Tensor, smallest_px: float) -> Tensor:
    """Leaves out faces whose longer side is less than `smallest_px`: `[F, 4]` -> `[F', 4]`."""
    longer = tf.reduce_max(faces[:, 2:] - faces[:, :2], axis=-1)
    return tf.boolean_mask(faces, longer >= smallest_px)


def mosaic(images: Sequence[Tensor], faces: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Puts four squares of one side together, in reading order.

    Args:
        images: Four of `[S, S, 3]`.
        faces: Four of `[F, 4]` float32 official corners, px.

    Returns:
        `[2 S, 2 S, 3]` and all faces where they then are.

    References:
        Bochkovskiy et al., arXiv:2004.10934, 3.3.
    """
    side = tf.cast(tf.shape(images[0])[0], tf.float32)
    corners = ((0, 0, 0, 0), (1, 0, 1, 0), (0, 1, 0, 1), (1, 1, 1, 1))  # x, y, x, y
    moved = [
        boxes + side * tf.constant(at, tf.float32) for boxes, at in zip(faces, corners, strict=True)
    ]
    rows = [tf.concat(images[:2], axis=1), tf.concat(images[2:], axis=1)]
    return tf.concat(rows, axis=0), tf.concat(moved, axis=0)


def at_random(
    change: Callable[[Tensor, Tensor], Tensor], probability: float, image: Tensor, seed: Tensor
) -> Tensor:
    """Applies `change(image, seed)` to a share of the images, and leaves the others as they are.

    Args:
        change: One of the functions below.
        probability: That share.
        image: `[H, W, 3]` float32.
        seed: `[2]` int64.
    """
    seeds = tf.random.split(seed)  # [2, 2]
    chosen = tf.random.stateless_uniform([], seeds[0]) < probability
    return tf.cond(chosen, lambda: change(image, seeds[1]), lambda: image)


def distort_colors(image: Tensor, seed: Tensor) -> Tensor:
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
    for change, key in zip(changes, tf.unstack(seeds[4:]), strict=True):
        apply = tf.random.stateless_uniform([], key) < 0.5
        # Clipped before each: saturation and hue mean nothing outside of the color cube.
        result = tf.clip_by_value(result, 0.0, 1.0)
        result = tf.cond(apply, lambda c=change, r=result: c(r), lambda r=result: r)
    return tf.clip_by_value(result, 0.0, 1.0) * 255.0


def gray(image: Tensor, seed: Tensor) -> Tensor:
    """Takes the colors out of `[H, W, 3]` RGB; there is nothing to draw."""
    del seed
    return tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(image))


def blur(image: Tensor, seed: Tensor) -> Tensor:
    """Blurs `[H, W, 3]` float32 by a Gaussian of random width; the border counts what is inside."""
    deviation = tf.random.stateless_uniform([], seed, *_BLUR_PX)
    distance = tf.range(-_BLUR_REACH, _BLUR_REACH + 1, dtype=tf.float32)
    weights = tf.exp(-((distance / deviation) ** 2) / 2)
    along_y = tf.tile(weights[:, tf.newaxis, tf.newaxis, tf.newaxis], [1, 1, 4, 1])
    # The fourth channel gets the sum of the weights that lie inside.
    result = tf.concat([image, tf.ones_like(image[..., :1])], axis=-1)[tf.newaxis]
    for kernel in (along_y, tf.transpose(along_y, [1, 0, 2, 3])):
        result = tf.nn.depthwise_conv2d(result, kernel, [1, 1, 1, 1], "SAME")
    return result[0, ..., :3] / result[0, ..., 3:]


def compress(image: Tensor, seed: Tensor) -> Tensor:
    """Gives `[H, W, 3]` float32 in `[0, 255]` the traces of a JPEG file of low quality."""
    pixels = tf.cast(tf.clip_by_value(tf.round(image), 0.0, 255.0), tf.uint8)
    return tf.cast(tf.image.stateless_random_jpeg_quality(pixels, *_JPEG_QUALITY, seed), tf.float32)


def erase(image: Tensor, seed: Tensor, *, faces: Tensor, probability: float) -> Tensor:
    """Covers a part of random faces with patches of one random color.

    Args:
        image: `[H, W, 3]` float32 in `[0, 255]`.
        seed: `[2]` int64.
        faces: `[F, 4]` float32 official corners, px.
        probability: Share of the faces that get a patch.

    Returns:
        The image with the patches; each lies within its face's box.

    References:
        After random erasing (Zhong et al., arXiv:1708.04896, 3.3), which covers any place.
    """
    seeds = tf.random.split(seed)  # [2, 2]
    size = tf.shape(image)[:2]
    draws = tf.random.stateless_uniform([tf.shape(faces)[0], 5], seeds[0])  # [F, 5]
    faces = tf.boolean_mask(faces, draws[:, 0] < probability)
    shares = tf.boolean_mask(draws[:, 1:], draws[:, 0] < probability)
    sides = faces[:, 2:] - faces[:, :2]  # [F', 2], x and y
    patch = sides * (_PATCH[0] + shares[:, :2] * (_PATCH[1] - _PATCH[0]))
    start = faces[:, :2] + shares[:, 2:] * (sides - patch)
    limits = tf.cast(size[::-1], tf.float32)
    corners = tf.concat([start, start + patch], axis=1)  # [F', 4]
    corners = tf.cast(tf.clip_by_value(tf.round(corners), 0.0, tf.tile(limits, [2])), tf.int32)
    covered = _covered(corners, size)[..., tf.newaxis]
    return tf.where(covered, tf.random.stateless_uniform([3], seeds[1], 0.0, 255.0), image)


def _covered(boxes: Tensor, size: Tensor) -> Tensor:
    """Returns whether each pixel lies in one of `[F, 4]` int32 half-open boxes: `[H, W]` bool."""
    x1, y1, x2, y2 = tf.unstack(boxes, axis=-1)
    # Each box counts up from its first corner on and down beyond it: running sums fill it.
    points = tf.stack([y1, x1, y1, x2, y2, x1, y2, x2], axis=-1)  # [F, 8]
    signs = tf.tile([1, -1, -1, 1], [tf.shape(boxes)[0]])
    marks = tf.scatter_nd(tf.reshape(points, [-1, 2]), signs, size + 1)
    return tf.cumsum(tf.cumsum(marks, axis=0), axis=1)[:-1, :-1] > 0
