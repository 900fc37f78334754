"""TFRecords: one image and its faces <-> one `tf.train.Example`.

The schema is described in tfrecords/README.md.
"""

import os
from typing import Any

import numpy as np
import tensorflow as tf

from ssh_tf import signature
from ssh_tf.data.annotations import ATTRIBUTES
from ssh_tf.imaging.decoder import decode
from ssh_tf.imaging.header import JPEG_START, UPRIGHT
from ssh_tf.imaging.orientation import upright_boxes_graph, upright_graph, upright_size_graph

Tensor = Any

_BOX_KEYS = (signature.BOX_XMIN, signature.BOX_YMIN, signature.BOX_XMAX, signature.BOX_YMAX)


def to_example(
    encoded: bytes,
    *,
    name: str,
    size: tuple[int, int],
    corners: np.ndarray,
    attributes: np.ndarray,
    annotated: int | None = None,
    orientation: int = UPRIGHT,
) -> bytes:
    """Serializes one image.

    Args:
        encoded: The file's original bytes, JPEG or PNG.
        name: `event/file.jpg`.
        size: Height and width of the stored pixels, px.
        corners: `[F, 4]` float32 official corners on the stored pixels, px, inside the image.
        attributes: `[F, 6]` int64, in the order of `ATTRIBUTES`.
        annotated: Annotated boxes, those without an area included; by default `F`.
        orientation: EXIF's, by which the image is turned upright where it is read.

    Returns:
        A serialized `tf.train.Example`.
    """
    height, width = size
    normalized = corners / np.array([width, height, width, height], np.float32)
    faces = len(corners)
    features = {
        signature.IMAGE_ENCODED: _bytes([encoded]),
        signature.IMAGE_FORMAT: _bytes([b"jpeg" if encoded.startswith(JPEG_START) else b"png"]),
        signature.IMAGE_FILENAME: _bytes([os.fsencode(name)]),
        signature.IMAGE_SOURCE_ID: _bytes([os.fsencode(name)]),
        signature.IMAGE_HEIGHT: _ints([height]),
        signature.IMAGE_WIDTH: _ints([width]),
        signature.ANNOTATED_FACES: _ints([faces if annotated is None else annotated]),
        signature.CLASS_TEXT: _bytes([signature.FACE_TEXT.encode()] * faces),
        signature.CLASS_LABEL: _ints([signature.FACE_LABEL] * faces),
    }
    if orientation != UPRIGHT:
        features[signature.IMAGE_ORIENTATION] = _ints([orientation])
    for key, values in zip(_BOX_KEYS, normalized.T, strict=True):
        features[key] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
    for attribute, values in zip(ATTRIBUTES, attributes.T, strict=True):
        features[signature.FACE_PREFIX + attribute] = _ints(values)
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(example.SerializeToString(deterministic=True))


def _bytes(values: list[bytes]) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _ints(values: Any) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def parse_example(serialized: Tensor) -> dict[str, Tensor]:
    """Reads what training needs from a serialized example. Runs inside `tf.data`.

    Args:
        serialized: Scalar string.

    Returns:
        `encoded` scalar string, `name` scalar string, and of the image turned upright by
        `orientation` (scalar int32): `size` `[2]` int32 (height, width, px) and `faces` `[F, 4]`
        float32 official corners, px. `annotated` scalar int64: `F` and the boxes without an area.
    """
    spec = {
        signature.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string),
        signature.IMAGE_FILENAME: tf.io.FixedLenFeature([], tf.string),
        signature.IMAGE_HEIGHT: tf.io.FixedLenFeature([], tf.int64),
        signature.IMAGE_WIDTH: tf.io.FixedLenFeature([], tf.int64),
        signature.IMAGE_ORIENTATION: tf.io.FixedLenFeature([], tf.int64, UPRIGHT),
        # Records of earlier versions do not say it.
        signature.ANNOTATED_FACES: tf.io.FixedLenFeature([], tf.int64, 0),
    }
    for key in _BOX_KEYS:
        spec[key] = tf.io.VarLenFeature(tf.float32)
    parsed = tf.io.parse_single_example(serialized, spec)
    height, width = parsed[signature.IMAGE_HEIGHT], parsed[signature.IMAGE_WIDTH]
    normalized = tf.stack([parsed[key].values for key in _BOX_KEYS], axis=-1)  # [F, 4]
    stored = normalized * tf.cast(tf.stack([width, height, width, height]), tf.float32)
    size = tf.cast(tf.stack([height, width]), tf.int32)
    orientation = tf.cast(parsed[signature.IMAGE_ORIENTATION], tf.int32)
    annotated = parsed[signature.ANNOTATED_FACES]
    return {
        "encoded": parsed[signature.IMAGE_ENCODED],
        "name": parsed[signature.IMAGE_FILENAME],
        "orientation": orientation,
        "size": upright_size_graph(size, orientation),
        "faces": upright_boxes_graph(stored, size, orientation),
        "annotated": tf.maximum(annotated, tf.shape(stored, tf.int64)[0]),
    }


def decode_upright(sample: dict[str, Tensor]) -> Tensor:
    """Decodes the image of a parsed example: `[H, W, 3]` uint8 RGB, of its `size`."""
    image, orientation = decode(sample["encoded"]), sample["orientation"]
    # Most images lie as they should: no copy of them is made.
    return tf.cond(orientation == UPRIGHT, lambda: image, lambda: upright_graph(image, orientation))
