"""TFRecords: one image and its faces <-> one `tf.train.Example`, and folders of shards.

The schema is described in tfrecords/README.md.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssh_tf import signature
from ssh_tf.data.annotations import ATTRIBUTES
from ssh_tf.errors import UserError
from ssh_tf.files import existing_folder

Tensor = Any

_BOX_KEYS = (signature.BOX_XMIN, signature.BOX_YMIN, signature.BOX_XMAX, signature.BOX_YMAX)


def to_example(
    encoded: bytes,
    *,
    name: str,
    size: tuple[int, int],
    corners: np.ndarray,
    attributes: np.ndarray,
) -> bytes:
    """Serialises one image.

    Args:
        encoded: The file's original bytes, JPEG or PNG.
        name: `event/file.jpg`.
        size: Height and width, px.
        corners: `[F, 4]` float32 official corners, px, inside the image.
        attributes: `[F, 6]` int64, in the order of `ATTRIBUTES`.

    Returns:
        A serialised `tf.train.Example`.
    """
    height, width = size
    normalised = corners / np.array([width, height, width, height], np.float32)
    faces = len(corners)
    features = {
        signature.IMAGE_ENCODED: _bytes([encoded]),
        signature.IMAGE_FORMAT: _bytes([b"jpeg" if encoded[:2] == b"\xff\xd8" else b"png"]),
        signature.IMAGE_FILENAME: _bytes([name.encode()]),
        signature.IMAGE_SOURCE_ID: _bytes([name.encode()]),
        signature.IMAGE_HEIGHT: _ints([height]),
        signature.IMAGE_WIDTH: _ints([width]),
        signature.CLASS_TEXT: _bytes([signature.FACE_TEXT.encode()] * faces),
        signature.CLASS_LABEL: _ints([signature.FACE_LABEL] * faces),
    }
    for key, values in zip(_BOX_KEYS, normalised.T, strict=True):
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
    """Reads what training needs from a serialised example. Runs inside `tf.data`.

    Args:
        serialized: Scalar string.

    Returns:
        `encoded` scalar string, `name` scalar string, `size` `[2]` int32 (height, width, px) and
        `faces` `[F, 4]` float32 official corners, px.
    """
    spec = {
        signature.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string),
        signature.IMAGE_FILENAME: tf.io.FixedLenFeature([], tf.string),
        signature.IMAGE_HEIGHT: tf.io.FixedLenFeature([], tf.int64),
        signature.IMAGE_WIDTH: tf.io.FixedLenFeature([], tf.int64),
    }
    for key in _BOX_KEYS:
        spec[key] = tf.io.VarLenFeature(tf.float32)
    parsed = tf.io.parse_single_example(serialized, spec)
    height, width = parsed[signature.IMAGE_HEIGHT], parsed[signature.IMAGE_WIDTH]
    normalised = tf.stack([parsed[key].values for key in _BOX_KEYS], axis=-1)  # [F, 4]
    return {
        "encoded": parsed[signature.IMAGE_ENCODED],
        "name": parsed[signature.IMAGE_FILENAME],
        "size": tf.cast(tf.stack([height, width]), tf.int32),
        "faces": normalised * tf.cast(tf.stack([width, height, width, height]), tf.float32),
    }


def shard_name(split: str, index: int, count: int) -> str:
    """Returns `wider_train-00003-of-00032.tfrecord` for split `train`."""
    return f"wider_{split}-{index:05d}-of-{count:05d}.tfrecord"


def read_manifest(folder: str | Path) -> Mapping[str, Any]:
    """Reads the manifest of a folder of records and checks that its shards are there.

    Args:
        folder: Made by `ssh-tf records`.

    Returns:
        The manifest: `schema`, `split`, `images`, `faces`, `shards` and more (tfrecords/README.md).

    Raises:
        UserError: If there is no manifest, it can't be read, or a shard is missing or has another
            length.
    """
    folder = existing_folder(folder, "TFRecords made by `ssh-tf records`")
    path = folder / signature.MANIFEST
    if not path.is_file():
        raise UserError(
            f"{folder} has no {signature.MANIFEST}: not a data set, or its build did not finish. "
            "Run `ssh-tf records` (again)."
        )
    try:
        manifest: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema, shards = manifest["schema"], manifest["shards"]
        sizes = {shard["name"]: shard["bytes"] for shard in shards}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a manifest ({error}). Run `ssh-tf records` again."
        ) from error
    if schema != signature.RECORDS_SCHEMA:
        raise UserError(
            f"{path} has schema {schema}; this version reads {signature.RECORDS_SCHEMA}. "
            "Run `ssh-tf records` again."
        )
    for name, size in sizes.items():
        shard = folder / name
        if not shard.is_file() or shard.stat().st_size != size:
            raise UserError(
                f"Shard {shard} is missing or not {size} bytes long, as the manifest says. "
                "Run `ssh-tf records` again."
            )
    return manifest
