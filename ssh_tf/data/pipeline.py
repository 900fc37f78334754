"""The input pipeline: records -> shuffled, augmented, scaled images on a few sizes of canvas."""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf

from ssh_tf.config import DataConfig
from ssh_tf.data import augment
from ssh_tf.data.manifest import read_manifest
from ssh_tf.data.records import decode_upright, parse_example
from ssh_tf.errors import UserError
from ssh_tf.geometry.targets import FACE_PADDING, FACE_ROWS
from ssh_tf.imaging.scale import canvas_size, resize, scaled_size, single_scale

Tensor = Any

_READERS = 8
# What seeds are folded with: one number for each use, so that no two draw the same numbers.
_CROP, _COLORS, _SCALE, _MOSAIC, _GRAY, _BLUR, _JPEG, _ERASE = range(1, 9)


def training_dataset(
    config: DataConfig,
    *,
    batch: int,
    seed: int,
    skip: int = 0,
    pipelines: int = 1,
    pipeline: int = 0,
) -> tf.data.Dataset:
    """Reads folders of records forever, in an order that `seed` decides.

    All images of a batch lie on canvases of one size (`canvas_size`), so that there are few shapes
    and little padding. An image of a rare size waits until enough of its kind have come, over the
    end of a pass if need be; none is left out. TensorFlow's global seed, where one is set, takes
    part in the order, too.

    Args:
        config: What to read and what to make of it.
        batch: Images per element.
        seed: Of order and augmentation.
        skip: Batches to skip, to continue where an earlier run stopped. They are read, but not
            decoded.
        pipelines: Number of pipelines that share the batches, one on each machine.
        pipeline: Which of them this is: its batches are `pipeline`, `pipeline + pipelines`, ...

    Returns:
        Elements: `images` `[B, H, W, 3]` float32 RGB in `[0, 255]`, each image in the upper left of
        its canvas, which is 0 beyond; `sizes` `[B, 2]` int32 height and width, px; `faces`
        `[B, M, 4]` float32 official corners in network px, M a multiple of `FACE_ROWS` less one,
        padded with `FACE_PADDING`; `names` `[B]` string.

    Raises:
        UserError: If a folder is not a data set or has no image with a face.
    """
    dataset = _mixed_records(config, seed).enumerate()
    dataset = dataset.map(lambda index, record: _plan(index, record, config, seed))
    if config.mosaic_probability:
        dataset = _mosaics(dataset, config.mosaic_probability)
    if batch > 1:
        dataset = dataset.group_by_window(
            lambda plan: _key(plan["canvas"]),
            lambda _, group: group.batch(batch),
            window_size=batch,
        )
    else:
        dataset = dataset.batch(1)
    dataset = dataset.skip(skip).shard(pipelines, pipeline).unbatch()
    dataset = dataset.map(lambda plan: _sample(plan, config), num_parallel_calls=tf.data.AUTOTUNE)
    if batch > 1:
        padding = {"images": 0.0, "sizes": 0, "faces": FACE_PADDING, "names": ""}
        dataset = dataset.padded_batch(batch, padding_values=padding, drop_remainder=True)
    else:  # without a copy of the image
        dataset = dataset.map(lambda sample: {k: v[tf.newaxis] for k, v in sample.items()})
    return dataset.prefetch(tf.data.AUTOTUNE)


def _mixed_records(config: DataConfig, seed: int) -> tf.data.Dataset:
    """Serialized examples of all folders, forever, mixed in proportion to the folders' weights."""
    folders = [_records(folder, config, seed) for folder in config.records]
    weights = list(config.records.values())
    return tf.data.Dataset.sample_from_datasets(folders, weights, seed=seed)


def _records(folder: str, config: DataConfig, seed: int) -> tf.data.Dataset:
    """Serialized examples of a folder, forever: each once in every pass."""
    manifest = read_manifest(folder)
    if manifest["images"] == 0 or (config.drop_empty and manifest["faces"] == 0):
        raise UserError(f"{folder} has no image to train on.")
    shards = [str(Path(folder) / shard["name"]) for shard in manifest["shards"]]
    dataset = tf.data.Dataset.from_tensor_slices(shards)
    dataset = dataset.shuffle(len(shards), seed=seed, reshuffle_each_iteration=True)
    dataset = dataset.interleave(
        tf.data.TFRecordDataset,
        cycle_length=min(_READERS, len(shards)),
        block_length=1,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    if config.drop_empty:
        # As officially, images whose annotated boxes are all without an area stay, as negatives.
        dataset = dataset.filter(lambda record: parse_example(record)["annotated"] > 0)
    buffer = min(config.shuffle_images, manifest["images"])
    # Shuffling precedes repeating, so that every image is seen once before any is seen twice.
    return dataset.shuffle(buffer, seed=seed, reshuffle_each_iteration=True).repeat()


def find_undecodable(folders: Iterable[str]) -> str:
    """Returns `name in folder` of the first image that can't be decoded.

    The pipeline's own error does not name it. Reads everything, one image at a time.
    """
    for folder in folders:
        shards = [str(Path(folder) / shard["name"]) for shard in read_manifest(folder)["shards"]]
        for record in tf.data.TFRecordDataset(shards):
            sample = parse_example(record)
            try:
                decode_upright(sample)
            except tf.errors.InvalidArgumentError:
                return f"{sample['name'].numpy().decode(errors='replace')} in {folder}"
    return "of unknown name"


def _plan(index: Tensor, record: Tensor, config: DataConfig, seed: int) -> dict[str, Tensor]:
    """Decides, before anything is decoded, how an image is scaled and which canvas it takes."""
    own = tf.stack([tf.cast(seed, tf.int64), index])
    plan = {"record": record, "seed": own}
    if config.crop_px is not None:
        return plan | {"canvas": tf.fill([2], config.crop_px), "shorter_px": config.crop_px}
    shorter_px = tf.constant(config.shorter_px)
    if config.shorter_choices_px:
        draw = tf.random.stateless_uniform([], tf.random.fold_in(own, _SCALE))
        choice = tf.cast(draw * len(config.shorter_choices_px), tf.int32)
        shorter_px = tf.gather(tf.constant(config.shorter_choices_px), choice)
    size = parse_example(record)["size"]
    scale = single_scale(size, shorter_px=shorter_px, longer_px=config.longer_px)
    canvas = canvas_size(
        scaled_size(size, scale),
        shorter_px=shorter_px,
        longer_px=config.longer_px,
        steps=config.canvas_steps,
    )
    return plan | {"canvas": canvas, "shorter_px": shorter_px}


def _mosaics(dataset: tf.data.Dataset, probability: float) -> tf.data.Dataset:
    """Turns plans of one image into plans of four: of different images where they make a mosaic.

    Args:
        dataset: Plans of crops.
        probability: Share of mosaics in the result.

    Returns:
        Plans with `record` `[4]` and `seed` `[4, 2]`, four times the same but in mosaics, and
        `mosaic`, which tells them apart.
    """
    # Of 4 p + (1 - p) images, 4 p are for mosaics.
    share = 4 * probability / (1 + 3 * probability)

    def is_for_mosaic(plan: dict[str, Tensor]) -> Tensor:
        draw = tf.random.stateless_uniform([], tf.random.fold_in(plan["seed"], _MOSAIC))
        return tf.cast(draw < share, tf.int64)

    def merge(mosaic: Tensor, plans: tf.data.Dataset) -> tf.data.Dataset:
        # All crops have one size of canvas: the first plan's.
        first = ("canvas", "shorter_px")
        plans = plans.repeat(4 - 3 * mosaic).batch(4)
        return plans.map(lambda p: p | {key: p[key][0] for key in first} | {"mosaic": mosaic == 1})

    return dataset.group_by_window(
        is_for_mosaic, merge, window_size_func=lambda mosaic: 1 + 3 * mosaic
    )


def _key(canvas: Tensor) -> Tensor:
    """One int64 for each size of canvas."""
    height, width = tf.unstack(tf.cast(canvas, tf.int64))
    return height * 2**31 + width


def _sample(plan: dict[str, Tensor], config: DataConfig) -> dict[str, Tensor]:
    """Decodes, augments and scales one image, or a mosaic of four."""
    record, seed = plan["record"], plan["seed"]
    shorter_px, canvas = plan["shorter_px"], plan["canvas"]
    if config.mosaic_probability:
        # One trace for its five uses.
        scaled = tf.function(lambda *args: _scaled(*args, config=config))
        image, faces, size, name = tf.cond(
            plan["mosaic"],
            lambda: _mosaic(record, seed, canvas, scaled),
            lambda: scaled(record[0], seed[0], shorter_px, canvas),
        )
        seed = seed[0]
    else:
        image, faces, size, name = _scaled(record, seed, shorter_px, canvas, config=config)
    rows = -(tf.shape(faces)[0] + 1) % FACE_ROWS
    return {
        "images": _with_changed_pixels(image, faces, size, seed, config),
        "sizes": size,
        "faces": tf.pad(faces, [[0, rows], [0, 0]], constant_values=FACE_PADDING),
        "names": name,
    }


def _scaled(
    record: Tensor, seed: Tensor, shorter_px: Tensor, canvas: Tensor, *, config: DataConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Decodes, crops, mirrors and scales one image.

    Returns:
        Image `[H, W, 3]` float32 on its canvas; faces `[F, 4]`, network px; its own size; its name.
    """
    sample = parse_example(record)
    image, faces, crops = decode_upright(sample), sample["faces"], config.crop_px is not None
    if crops:
        size, key = tf.shape(image)[:2], tf.random.fold_in(seed, _CROP)
        square = augment.draw_crop(size, faces, key, factors=config.crop_factors)
        image, faces = augment.crop(image, faces, square)
    if config.flip:
        mirrored = tf.random.stateless_uniform([], seed) < 0.5
        image, faces = tf.cond(mirrored, lambda: augment.flip(image, faces), lambda: (image, faces))
    size, longer_px = tf.shape(image)[:2], shorter_px if crops else config.longer_px
    scale = single_scale(size, shorter_px=shorter_px, longer_px=longer_px)
    faces = faces * tf.cast(scale, tf.float32)
    if crops:
        faces = augment.drop_small(faces, config.crop_smallest_px)
    return resize(image, scale, canvas=canvas), faces, scaled_size(size, scale), sample["name"]


def _mosaic(
    records: Tensor, seeds: Tensor, canvas: Tensor, scaled: Callable[..., Any]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns what `scaled` does, for four crops of half the side."""
    half = canvas // 2
    crops = [scaled(records[i], seeds[i], half[0], half) for i in range(4)]
    images, faces, _, names = zip(*crops, strict=True)
    return *augment.mosaic(images, faces), canvas, tf.strings.join(names, "+")


def _with_changed_pixels(
    canvas: Tensor, faces: Tensor, size: Tensor, seed: Tensor, config: DataConfig
) -> Tensor:
    """Augments the pixels of the image on a canvas, and leaves those beyond it at 0."""
    cover = functools.partial(augment.erase, faces=faces, probability=config.erase_probability)
    changes = (
        (_COLORS, float(config.distort_colors), augment.distort_colors),
        (_ERASE, float(config.erase_probability > 0), cover),
        (_GRAY, config.gray_probability, augment.gray),
        (_BLUR, config.blur_probability, augment.blur),
        (_JPEG, config.jpeg_probability, augment.compress),
    )
    used = [change for change in changes if change[1] > 0]
    if not used:
        return canvas
    image = canvas[: size[0], : size[1]]
    for use, probability, change in used:
        image = augment.at_random(change, probability, image, tf.random.fold_in(seed, use))
    beyond = tf.shape(canvas)[:2] - size
    return tf.pad(image, [[0, beyond[0]], [0, beyond[1]], [0, 0]])
