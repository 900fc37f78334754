"""The served graph around the detector: hostile bytes in, one status per image out, never an error.

TensorFlow's decoders raise, and an error in a graph fails the whole request, good images and all.
A `tf.data` pipeline inside the graph drops what raises instead; its kernels are part of TensorFlow.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ssh_tf import signature
from ssh_tf.config import ExportConfig
from ssh_tf.imaging.decoder import decode, header_size
from ssh_tf.imaging.header import PNG_SIGNATURE
from ssh_tf.imaging.orientation import orientation_graph, upright_graph
from ssh_tf.inference.graph import ScoredBoxes

Tensor = Any


def from_bytes(
    detect: Callable[[Tensor], ScoredBoxes], items: Tensor, config: ExportConfig, *, rows: int
) -> dict[str, Tensor]:
    """Decodes and detects encoded images one by one, so that no result depends on batch mates.

    Args:
        detect: Finds the faces of `[H, W, 3]` uint8.
        items: `[N]` string.
        config: Limits, and whether images are turned upright.
        rows: Faces per image: the best ones, filled up with zeros.

    Returns:
        Output name to values, `N` first.
    """

    def detect_one(encoded: Tensor) -> dict[str, Tensor]:
        image, status = decode_safely(encoded, config)  # [H, W, 3]
        if config.upright:
            image = _turn(image, encoded, status)
        return _outputs(detect, image, status, rows)

    return _for_each(detect_one, items, rows)


def from_pixels(
    detect: Callable[[Tensor], ScoredBoxes], items: Tensor, config: ExportConfig, *, rows: int
) -> dict[str, Tensor]:
    """Detects images given as pixels; see `from_bytes`.

    Args:
        detect: Finds the faces of `[H, W, 3]` uint8.
        items: `[N, H, W, 3]` uint8.
        config: Its `max_pixels` is the limit.
        rows: Faces per image.

    Returns:
        Output name to values, `N` first.
    """
    height, width = tf.unstack(tf.shape(items, tf.int64)[1:3])
    pixels = height * width
    refused = tf.where(pixels > 0, signature.STATUS_TOO_LARGE, signature.STATUS_NOT_AN_IMAGE)
    good = (pixels > 0) & (pixels <= config.max_pixels)
    status = tf.where(good, signature.STATUS_OK, refused)
    return _for_each(lambda image: _outputs(detect, image, status, rows), items, rows)


def decode_safely(encoded: Tensor, config: ExportConfig) -> tuple[Tensor, Tensor]:
    """Decodes an image unless it is broken, too large or none at all.

    Args:
        encoded: Scalar string.
        config: Limits.

    Returns:
        `(image, status)`: `[H, W, 3]` uint8 as stored and a scalar int32 of `signature.STATUS_...`.
        Without `STATUS_OK` the image means nothing.
    """
    png = tf.strings.substr(encoded, 0, len(PNG_SIGNATURE)) == PNG_SIGNATURE
    known = tf.io.is_jpeg(encoded) | png
    size = _or_default(header_size, encoded, tf.zeros([2], tf.int64))
    height, width = tf.unstack(tf.ensure_shape(size, [2]))
    # Each side by itself, as the product of two sides from a hostile header could overflow.
    limit = config.max_pixels
    large = (height > limit) | (width > limit) | (height * width > limit)
    heavy = tf.strings.length(encoded) > config.max_bytes
    refused = ~known | large | heavy | (height < 1) | (width < 1)
    nothing = tf.zeros([0, 0, 3], tf.uint8)
    image = tf.cond(refused, lambda: nothing, lambda: _or_default(decode, encoded, nothing))
    image = tf.ensure_shape(image, [None, None, 3])
    status = tf.where(tf.size(image) > 0, signature.STATUS_OK, signature.STATUS_CORRUPT)
    status = tf.where(large | heavy, signature.STATUS_TOO_LARGE, status)
    return image, tf.where(known, status, signature.STATUS_NOT_AN_IMAGE)


def _or_default(function: Callable[[Tensor], Tensor], item: Tensor, default: Tensor) -> Tensor:
    """Returns `function(item)`, or `default` where that raises."""
    good = tf.data.Dataset.from_tensors(item).map(function).ignore_errors()
    return good.concatenate(tf.data.Dataset.from_tensors(default)).take(1).get_single_element()


def _turn(image: Tensor, encoded: Tensor, status: Tensor) -> Tensor:
    """Turns a decoded image upright; the bytes of refused ones are not looked at."""
    return tf.cond(
        status == signature.STATUS_OK,
        lambda: upright_graph(image, orientation_graph(encoded)),
        lambda: image,
    )


def _outputs(
    detect: Callable[[Tensor], ScoredBoxes], image: Tensor, status: Tensor, rows: int
) -> dict[str, Tensor]:
    """Detects if the status is good; returns the outputs of one image, padded to `rows`."""
    nothing = ScoredBoxes(tf.zeros([0, 4]), tf.zeros([0]))
    good = status == signature.STATUS_OK
    found = tf.cond(good, lambda: detect(image), lambda: nothing)
    # NMS drops scores that are NaN; a network of extreme weights can also give such boxes.
    boxes = tf.ensure_shape(found.boxes, [None, 4])
    finite = tf.reduce_all(tf.math.is_finite(boxes), axis=-1)  # [D]
    boxes, scores = boxes[finite], tf.ensure_shape(found.scores, [None])[finite]
    count = tf.shape(scores)[0]
    size = tf.shape(image)[:2]

    def fill(values: Tensor) -> Tensor:
        padding = [[0, rows - count]] + [[0, 0]] * (values.shape.rank - 1)
        return tf.ensure_shape(tf.pad(values, padding), [rows, *values.shape[1:]])

    return {
        signature.DETECTION_BOXES: fill(_fractions(boxes, size)),  # [R, 4]
        signature.DETECTION_SCORES: fill(scores),  # [R]
        signature.DETECTION_CLASSES: fill(tf.fill([count], float(signature.FACE_LABEL))),  # [R]
        signature.NUM_DETECTIONS: count,
        signature.STATUS: status,
        signature.IMAGE_SIZE: tf.where(good, size, 0),  # [2]
    }


def _fractions(boxes: Tensor, size: Tensor) -> Tensor:
    """Turns `x1, y1, x2, y2` in px into `ymin, xmin, ymax, xmax` as parts of height and width."""
    height, width = tf.unstack(tf.cast(tf.maximum(size, 1), tf.float32))
    x1, y1, x2, y2 = tf.unstack(boxes, axis=-1)
    return tf.stack([y1 / height, x1 / width, y2 / height, x2 / width], axis=-1)


def _for_each(
    one: Callable[[Tensor], dict[str, Tensor]], items: Tensor, rows: int
) -> dict[str, Tensor]:
    outputs = {
        signature.DETECTION_BOXES: tf.TensorSpec([rows, 4], tf.float32),
        signature.DETECTION_SCORES: tf.TensorSpec([rows], tf.float32),
        signature.DETECTION_CLASSES: tf.TensorSpec([rows], tf.float32),
        signature.NUM_DETECTIONS: tf.TensorSpec([], tf.int32),
        signature.STATUS: tf.TensorSpec([], tf.int32),
        signature.IMAGE_SIZE: tf.TensorSpec([2], tf.int32),
    }
    result: dict[str, Tensor] = tf.map_fn(one, items, fn_output_signature=outputs)
    return result
