"""What is in a folder of records: verified, counted, and how much of it anchors can learn."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from ssh_tf import signature
from ssh_tf.config import ModuleConfig
from ssh_tf.data.annotations import ATTRIBUTES
from ssh_tf.data.manifest import ShardEntry, read_manifest, shard_entries
from ssh_tf.data.records import parse_example
from ssh_tf.data.unfinished import is_whole
from ssh_tf.errors import UserError
from ssh_tf.geometry.anchors import BASE_PX
from ssh_tf.progress import Progress, silent

_CENTER = BASE_PX / 2  # of the anchors in the first cell, px (`generate_anchors.py`)


@dataclass(frozen=True)
class Contents:
    """The faces of a data set, image by image.

    Attributes:
        names: Of the images.
        sizes: `[I, 2]` int, height and width, px.
        faces: `[F, 4]` float32 official corners, px.
        image_of: `[F]` int, the image of each face.
        attributes: `[F, 6]` int64, in the order of `ATTRIBUTES`.
    """

    names: list[str]
    sizes: np.ndarray
    faces: np.ndarray
    image_of: np.ndarray
    attributes: np.ndarray

    @property
    def faces_per_image(self) -> np.ndarray:
        """`[I]` int."""
        return np.bincount(self.image_of, minlength=len(self.names))


@dataclass(frozen=True)
class _Image:
    """What a record says of an image: see `Contents`."""

    name: str
    size: np.ndarray
    faces: np.ndarray
    attributes: np.ndarray


_NO_ATTRIBUTES = np.zeros((0, len(ATTRIBUTES)), np.int64)


def read_contents(folder: str | Path, *, progress: Progress = silent) -> Contents:
    """Verifies a folder of records against its manifest and reads all but the pixels.

    Args:
        folder: Made by `ssh-tf records`.
        progress: See `ssh_tf.progress`.

    Raises:
        UserError: If a shard's checksum, its number of images or of faces is not the manifest's.
    """
    shards = shard_entries(folder, read_manifest(folder))
    tick = progress("inspect", len(shards))
    images: list[_Image] = []
    for shard in shards:
        images += _read_shard(Path(folder), shard)
        tick()
    counts = [len(image.faces) for image in images]
    return Contents(
        [image.name for image in images],
        np.array([image.size for image in images], np.int64).reshape(-1, 2),
        np.concatenate([np.zeros((0, 4), np.float32), *(image.faces for image in images)]),
        np.repeat(np.arange(len(images)), counts),
        np.concatenate([_NO_ATTRIBUTES, *(image.attributes for image in images)]),
    )


def _read_shard(folder: Path, shard: ShardEntry) -> list[_Image]:
    """Reads the records of a shard, all but the pixels."""
    path = folder / shard.name
    if not is_whole(folder, shard):
        raise UserError(
            f"{path} has another checksum than the manifest says: it was changed or damaged. "
            "Run `ssh-tf records` again."
        )
    images = []
    for record in tf.data.TFRecordDataset(str(path)):
        sample = parse_example(record)
        name, size = os.fsdecode(sample["name"].numpy()), sample["size"].numpy()
        images.append(_Image(name, size, sample["faces"].numpy(), _attributes(record)))
    faces = sum(len(image.faces) for image in images)
    if (len(images), faces) != (shard.images, shard.faces):
        raise UserError(
            f"{path} holds {len(images)} images and {faces} faces; the manifest says "
            f"{shard.images} and {shard.faces}. Run `ssh-tf records` again."
        )
    return images


def _attributes(record: tf.Tensor) -> np.ndarray:
    keys = [signature.FACE_PREFIX + name for name in ATTRIBUTES]
    spec = {key: tf.io.VarLenFeature(tf.int64) for key in keys}
    parsed = tf.io.parse_single_example(record, spec)
    return np.stack([parsed[key].values.numpy() for key in keys], axis=-1)


def best_anchor_iou(
    corners: np.ndarray, scale: float, modules: Sequence[ModuleConfig]
) -> np.ndarray:
    """Computes each face's IoU with the anchor that fits it best, wherever the image ends.

    An anchor's IoU with a face falls with the distance of their centers along each axis, so that
    the anchor of the nearest cell is the best of its kind: no grid is needed.

    Args:
        corners: `[F, 4]` official corners, px of the image.
        scale: Network px per image px.
        modules: Whose anchors.

    Returns:
        `[F]` float64 in `[0, 1]`.

    References:
        `lib/utils/bbox.pyx` (areas count the last pixel); `generate_anchors.py`.
    """
    upper_left = corners[:, :2].astype(np.float64) * scale
    lower_right = corners[:, 2:].astype(np.float64) * scale + 1.0  # half-open
    center, side = (upper_left + lower_right) / 2, lower_right - upper_left  # [F, 2]
    best = np.zeros(len(corners))
    for module in modules:
        cell = np.maximum(np.round((center - _CENTER) / module.stride), 0)
        distance = np.abs(center - (_CENTER + module.stride * cell))
        for anchor_scale in module.anchor_scales:
            anchor = BASE_PX * anchor_scale
            overlap = np.clip(
                np.minimum((anchor + side) / 2 - distance, np.minimum(anchor, side)), 0, None
            )
            shared = overlap.prod(axis=1)
            iou = shared / (anchor**2 + side.prod(axis=1) - shared)
            best = np.maximum(best, iou)
    return best
