"""Builds a folder of TFRecord shards: checked, reproducible, and finished by a second call."""

import contextlib
import functools
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from ssh_tf import signature
from ssh_tf.data.annotations import AnnotatedImage
from ssh_tf.data.checks import FULL_CHECKS, Checks
from ssh_tf.data.manifest import ShardEntry, read_manifest, shard_entries, shard_name
from ssh_tf.data.shards import ShardWork, Watch, WriteShards, write_shards
from ssh_tf.data.sources import Source, describe_missing, missing
from ssh_tf.data.unfinished import BuiltShard, Plan, Unfinished, is_whole
from ssh_tf.errors import UserError
from ssh_tf.files import folder_lock, output_folder, write_text
from ssh_tf.progress import Progress, silent

_LOG = logging.getLogger(__name__)

_MOST_WORKERS = 256


def build_records(
    source: Source,
    out: str | Path,
    *,
    shards: int = 32,
    workers: int | WriteShards = 2,
    seed: int = 0,
    checks: Checks = FULL_CHECKS,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Writes `shards` files and, last, the manifest that makes them a data set.

    Images are spread over the shards in a seeded random order, with their original bytes. What is
    written depends on the input, `shards`, `seed` and `checks` only. A build that was stopped,
    however hard, is finished by the same call: whole shards are kept. One that is finished is left
    as it is.

    Args:
        source: From `open_wider` or `open_annotations`.
        out: Folder to write into; it must not hold another data set.
        shards: Files to write; never more than there are images.
        workers: Threads that read and check images, as TensorFlow decodes outside of Python's lock;
            or what writes the shards elsewhere (`ssh_tf.distributed.records`).
        seed: Of the order.
        checks: Of the images and their boxes.
        progress: See `ssh_tf.progress`.

    Returns:
        The manifest.

    Raises:
        UserError: For input that can't be used, naming the file, for an `out` that is taken or
            another process in it, or a full disk.
    """
    threads = workers if isinstance(workers, int) else 1
    if min(shards, threads) < 1 or threads > _MOST_WORKERS or seed < 0:
        raise UserError(
            f"shards and workers must be at least 1, workers at most {_MOST_WORKERS} and seed at "
            f"least 0. Received: {shards}, {threads} and {seed}."
        )
    if checks.on_error == "fail" and (name := next(iter(missing(source)), None)) is not None:
        raise UserError(describe_missing(source, name))
    in_threads = functools.partial(write_shards, workers=threads)
    write: WriteShards = in_threads if isinstance(workers, int) else workers
    folder = output_folder(out)
    with folder_lock(folder, "data set"):
        work = _divide(source, shards, seed)
        plan = _plan(source, len(work), seed, checks)
        # Not part of the plan: a build goes on when a broken image has been replaced.
        # Nor is what happens to one: a shard is the same if none of its images is broken.
        inputs = _sha256("".join(shard.inputs for shard in work).encode())
        whole_plan = plan | {"on_error": checks.on_error, "inputs_sha256": inputs}
        notes = Unfinished(folder, plan)
        manifest = _done(folder, whole_plan)
        if manifest is None:
            notes.begin()
            built = _build(source, folder, work, notes, checks, write, progress)
            manifest = _manifest(source, built, whole_plan)
            write_text(folder / signature.MANIFEST, json.dumps(manifest, indent=1) + "\n")
        notes.end()
    return manifest


def _divide(source: Source, shards: int, seed: int) -> list[ShardWork]:
    """Spreads the images over shards."""
    order = np.random.default_rng(seed).permutation(len(source.entries))
    parts = np.array_split(order, min(shards, max(1, len(order))))
    work = []
    for i, part in enumerate(parts):
        images = [source.entries[index] for index in part]
        name = shard_name(source.name, i, len(parts))
        work.append(ShardWork(name, images, _inputs_sha256(source, images)))
    return work


def _inputs_sha256(source: Source, images: list[AnnotatedImage]) -> str:
    """Hashes what a shard is made from, but for the pixels: names, lengths of files, boxes."""
    digest = hashlib.sha256()
    for image in images:
        line = f"{image.name}\0{source.images.size(image.name)}\0"
        digest.update(line.encode(errors="surrogateescape"))
        digest.update(image.boxes.tobytes() + image.attributes.tobytes())
    return digest.hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _plan(source: Source, shards: int, seed: int, checks: Checks) -> dict[str, Any]:
    """Returns what decides the bytes that are written, but for the images."""
    return {
        "name": source.name,
        "split": source.split,
        "boxes_on": source.boxes_on,
        "shard_count": shards,
        "seed": seed,
        "verify": checks.verify,
        "source_sha256": source.sha256,
    }


def _done(folder: Path, plan: Plan) -> dict[str, Any] | None:
    """Returns the manifest if the folder holds this data set whole; None if it holds none.

    Raises:
        UserError: If it holds another one.
    """
    if not (folder / signature.MANIFEST).exists():
        return None
    with contextlib.suppress(UserError):
        manifest = dict(read_manifest(folder))
        same = {key: manifest.get(key) for key in plan} == plan
        if same and all(is_whole(folder, shard) for shard in shard_entries(folder, manifest)):
            _LOG.info("%s already holds this data set: nothing is left to do.", folder)
            return manifest
    raise UserError(
        f"{folder} already holds a data set, of other input or options, or a damaged one. Name "
        "another folder, or delete it."
    )


def _build(
    source: Source,
    folder: Path,
    work: list[ShardWork],
    notes: Unfinished,
    checks: Checks,
    write: WriteShards,
    progress: Progress,
) -> list[BuiltShard]:
    """Writes the shards that are missing; returns the entries of all."""
    built = {shard.name: notes.finished(shard.name, shard.inputs) for shard in work}
    for name, entry in built.items():
        if entry is not None and entry.skipped and checks.on_error == "fail":
            built[name] = None
    finished = [entry for entry in built.values() if entry is not None]
    to_write = [shard for shard in work if built[shard.name] is None]
    watch = Watch(source, checks, progress("records", len(source.entries)))
    watch(
        sum(len(shard.images) for shard in work) - sum(len(shard.images) for shard in to_write),
        [line for shard in finished for line in shard.lost],
    )
    with contextlib.closing(write(source, folder, to_write, checks, watch)) as written:
        for shard, entry in written:
            notes.note(entry, shard.inputs)
            built[shard.name] = entry
    return [entry for entry in built.values() if entry is not None]


def _manifest(source: Source, shards: list[BuiltShard], plan: Plan) -> dict[str, Any]:
    """Returns the manifest.

    Raises:
        UserError: If no image is left.
    """
    skipped = [image for shard in shards for image in shard.skipped]
    if source.entries and len(skipped) == len(source.entries):
        raise UserError(
            f"All {len(skipped)} images of {source.annotations} had to be left out. The first: "
            f"{skipped[0].reason}"
        )
    summed = ("images", "images_without_faces", "faces", "annotated_faces")
    counted = (len(source.entries), sum(len(entry.boxes) for entry in source.entries))
    official = source.official_counts
    return {
        "schema": signature.RECORDS_SCHEMA,
        **{key: sum(getattr(shard, key) for shard in shards) for key in summed},
        "official": None if official is None else counted == official,
        **plan,
        "attributes": source.given_attributes,
        "skipped": [image.model_dump() for image in skipped],
        "lost_boxes": [line for shard in shards for line in shard.lost],
        "shards": [
            {key: getattr(shard, key) for key in ShardEntry.model_fields}
            for shard in shards
            if shard.images
        ],
    }
