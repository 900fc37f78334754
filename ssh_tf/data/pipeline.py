"""The input pipeline: records -> shuffled, flipped, scaled images on padded canvases."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from ssh_tf.config import DataConfig
from ssh_tf.data.images import decode, resize, scaled_size, single_scale
from ssh_tf.data.records import parse_example, read_manifest
from ssh_tf.errors import UserError

Tensor = Any

# Rows that fill up `faces`: no face has four corners at -1.
FACE_PADDING = -1.0


def training_dataset(
    config: DataConfig, *, batch: int, seed: int, skip: int = 0
) -> tf.data.Dataset:
    """Reads a folder of records forever, in an order that `seed` decides.

    TensorFlow's global seed, where one is set, takes part in the order too.

    Args:
        config: What to read and how to scale it.
        batch: Images per element.
        seed: Of order and flips.
        skip: Images to pass over, to continue where an earlier run stopped.

    Returns:
        Elements: `images` `[B, H, W, 3]` float32 RGB in `[0, 255]`, each image in the upper left of
        the smallest canvas that holds the batch; `sizes` `[B, 2]` int32 height and width, px;
        `faces` `[B, M, 4]` float32 official corners in network px, padded with `FACE_PADDING`;
        `names` `[B]` string.

    Raises:
        UserError: If the folder is not a data set or has no image with a face.
    """
    manifest = read_manifest(config.records)
    if manifest["images"] == 0 or (config.drop_empty and manifest["faces"] == 0):
        raise UserError(f"{config.records} has no image to train on.")
    shards = [str(Path(config.records) / shard["name"]) for shard in manifest["shards"]]
    dataset = tf.data.Dataset.from_tensor_slices(shards)
    dataset = dataset.shuffle(len(shards), seed=seed, reshuffle_each_iteration=True)
    dataset = dataset.interleave(tf.data.TFRecordDataset, cycle_length=4, block_length=1)
    if config.drop_empty:
        dataset = dataset.filter(lambda record: tf.shape(parse_example(record)["faces"])[0] > 0)
    buffer = min(config.shuffle_images, manifest["images"])
    # Shuffling precedes repeating, so that every image is seen once before any is seen twice.
    dataset = dataset.shuffle(buffer, seed=seed, reshuffle_each_iteration=True).repeat()

    def prepare(index: Tensor, record: Tensor) -> dict[str, Tensor]:
        return _prepare(parse_example(record), config, tf.stack([tf.cast(seed, tf.int64), index]))

    dataset = dataset.enumerate().skip(skip).map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.padded_batch(
        batch,
        padding_values={"images": 0.0, "sizes": 0, "faces": FACE_PADDING, "names": ""},
        drop_remainder=True,
    )
    return dataset.prefetch(tf.data.AUTOTUNE)


def _prepare(sample: dict[str, Tensor], config: DataConfig, seed: Tensor) -> dict[str, Tensor]:
    """Decodes, flips and scales one parsed record."""
    image, faces = decode(sample["encoded"]), sample["faces"]
    if config.flip:
        mirrored = tf.random.stateless_uniform([], seed) < 0.5
        image, faces = tf.cond(mirrored, lambda: flip(image, faces), lambda: (image, faces))
    size = tf.shape(image)[:2]
    scale = single_scale(size, shorter_px=config.shorter_px, longer_px=config.longer_px)
    return {
        "images": resize(image, scale),
        "sizes": scaled_size(size, scale),
        "faces": faces * tf.cast(scale, tf.float32),
        "names": sample["name"],
    }


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
    return image[:, ::-1], tf.stack([last - x2, y1, last - x1, y2], axis=-1)
