"""Builds a folder of TFRecord shards from a split in WIDER's layout."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssh_tf import signature
from ssh_tf.data.images import PNG_SIGNATURE, decode
from ssh_tf.data.records import shard_name, to_example
from ssh_tf.data.wider import WiderImage, find_split, read_annotations, training_corners
from ssh_tf.errors import UserError
from ssh_tf.files import atomic_path, existing_file, output_folder, write_text
from ssh_tf.progress import Progress, Tick, silent


def build_records(
    wider_root: str | Path,
    split: str,
    out: str | Path,
    *,
    shards: int = 32,
    workers: int = 2,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Writes `shards` files and, last, the manifest that makes them a data set.

    Every image is decoded once to prove that it is whole; its original bytes are stored. Images are
    spread over the shards in a seeded random order. The bytes written depend on the input, `shards`
    and `seed` only.

    Args:
        wider_root: Folder in WIDER's layout.
        split: `train`, `val`, ...
        out: Folder to write into; it must not hold a data set.
        shards: Files to write; never more than there are images.
        workers: Threads that read and check images.
        seed: Of the order.
        progress: See `ssh_tf.progress`.

    Returns:
        The manifest.

    Raises:
        UserError: For input that can't be used, naming the file, or an `out` that is taken.
    """
    if min(shards, workers) < 1:
        raise UserError(
            f"--shards and --workers must be at least 1. Received: {shards} and {workers}."
        )
    source = find_split(Path(wider_root), split)
    images = read_annotations(source.annotations)
    for image in images:
        existing_file(source.images_dir / image.name, f"an image that {source.annotations} names")
    folder = output_folder(out)
    if (folder / signature.MANIFEST).exists():
        raise UserError(f"{folder} already holds a data set. Name another --out, or delete it.")
    for left_over in folder.glob(f"wider_{split}-*-of-*.tfrecord"):
        left_over.unlink()  # of a build that did not finish: there is no manifest
    order = np.random.default_rng(seed).permutation(len(images))
    parts = np.array_split(order, min(shards, max(1, len(images))))
    entries = []
    tick = progress("records", len(images))
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for index, part in enumerate(parts):
            path = folder / shard_name(split, index, len(parts))
            chosen = [images[i] for i in part]
            examples = pool.map(lambda image: _example(source.images_dir, image), chosen)
            entries.append(_write_shard(path, examples, tick))
    manifest = {
        "schema": signature.RECORDS_SCHEMA,
        "split": split,
        "images": len(images),
        "faces": sum(entry["faces"] for entry in entries),
        "annotated_faces": sum(len(image.boxes) for image in images),
        "seed": seed,
        "source_sha256": hashlib.sha256(source.annotations.read_bytes()).hexdigest(),
        "shards": entries,
    }
    write_text(folder / signature.MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return manifest


def _example(images_dir: Path, image: WiderImage) -> tuple[bytes, int]:
    """Reads, checks and serialises one image: `(example, faces)`."""
    path = images_dir / image.name
    encoded = path.read_bytes()
    height, width = image_size(encoded, path)
    corners, kept = training_corners(image.boxes, height, width)
    example = to_example(
        encoded,
        name=image.name,
        size=(height, width),
        corners=corners,
        attributes=image.attributes[kept],
    )
    return example, len(corners)


def image_size(encoded: bytes, path: Path) -> tuple[int, int]:
    """Decodes an image to prove that it is whole.

    Args:
        encoded: The file's bytes.
        path: Its name, for the error.

    Returns:
        Height and width, px.

    Raises:
        UserError: If the bytes are not a whole JPEG or PNG.
    """
    if encoded[:2] != b"\xff\xd8" and encoded[:8] != PNG_SIGNATURE:
        raise UserError(f"{path} is neither JPEG nor PNG (it begins with {encoded[:8]!r}).")
    try:
        height, width, _ = decode(encoded).shape
    except tf.errors.OpError as error:
        # Without the names of the operation that TensorFlow puts around it.
        reason = error.message.split("}} ")[-1].split(" [Op:")[0].split("\n")[0]
        raise UserError(f"{path} is truncated or corrupt ({reason}). Fetch it again.") from error
    return int(height), int(width)


def _write_shard(path: Path, examples: Iterator[tuple[bytes, int]], tick: Tick) -> dict[str, Any]:
    """Writes one shard, whole or not at all; returns its entry in the manifest."""
    images = faces = 0
    with atomic_path(path) as temporary:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for example, count in examples:
                writer.write(example)
                images, faces = images + 1, faces + count
                tick()
        data = temporary.read_bytes()
    return {
        "name": path.name,
        "images": images,
        "faces": faces,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
