"""Builds a folder of TFRecord shards: checked, reproducible, and finished by a second call."""

import dataclasses
import functools
import hashlib
import itertools
import json
import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from ssh_tf import signature
from ssh_tf.data.annotations import AnnotatedImage, training_corners
from ssh_tf.data.checks import FULL_CHECKS, Checks, image_size
from ssh_tf.data.records import shard_name, to_example
from ssh_tf.data.sources import Source, missing
from ssh_tf.errors import UserError
from ssh_tf.files import atomic_path, folder_lock, output_folder, write_text
from ssh_tf.progress import Progress, Tick, silent

# What a build that has not finished keeps in its folder: its plan, and an entry per finished shard.
_WORK = ".build"
_AHEAD = 16  # images that wait for the writer, per worker
_CHUNK = 2**20
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Checked:
    """One image: its example, or why it is left out."""

    name: str
    example: bytes = b""
    faces: int = 0
    annotated: int = 0
    reason: str = ""


def build_records(
    source: Source,
    out: str | Path,
    *,
    shards: int = 32,
    workers: int = 2,
    seed: int = 0,
    checks: Checks = FULL_CHECKS,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Writes `shards` files and, last, the manifest that makes them a data set.

    Images are spread over the shards in a seeded random order, with their original bytes. What is
    written depends on the input, `shards`, `seed` and `checks` only. A build that was stopped,
    however hard, is finished by the same call: whole shards are kept.

    Args:
        source: From `open_wider` or `open_annotations`.
        out: Folder to write into; it must not hold a data set.
        shards: Files to write; never more than there are images.
        workers: Threads that read and check images; TensorFlow decodes outside of Python's lock.
        seed: Of the order.
        checks: Of the images.
        progress: See `ssh_tf.progress`.

    Returns:
        The manifest.

    Raises:
        UserError: For input that can't be used, naming the file, for an `out` that is taken or
            another process in it, or a full disk.
    """
    if min(shards, workers) < 1:
        raise UserError(
            f"--shards and --workers must be at least 1. Received: {shards} and {workers}."
        )
    if checks.on_error == "fail" and (name := next(iter(missing(source)), None)) is not None:
        raise UserError(
            f"{source.images.describe(name)} does not exist. Expected an image that "
            f"{source.annotations} names."
        )
    folder = output_folder(out)
    options = {"seed": seed, **dataclasses.asdict(checks)}
    with folder_lock(folder, "data set"):
        path, work = folder / signature.MANIFEST, folder / _WORK
        if path.exists() and work.exists():  # stopped after its last file
            shutil.rmtree(work)
            return dict(json.loads(path.read_text(encoding="utf-8")))
        if path.exists():
            raise UserError(f"{folder} already holds a data set. Name another --out, or delete it.")
        order = np.random.default_rng(seed).permutation(len(source.entries))
        parts = np.array_split(order, min(shards, max(1, len(order))))
        plan = {"split": source.split, "shards": len(parts), **options}
        _begin(folder, json.dumps(plan | {"source_sha256": source.sha256}))
        entries = _build_shards(source, folder, parts, workers, checks, progress)
        manifest = _manifest(source, entries, options)
        write_text(path, json.dumps(manifest, indent=1) + "\n")
        shutil.rmtree(work)
    return manifest


def _begin(folder: Path, plan: str) -> None:
    """Begins a build, or goes on with one of the same plan."""
    path = folder / _WORK / "plan.json"
    if path.exists() and path.read_text(encoding="utf-8") != plan:
        raise UserError(
            f"{folder} holds part of another build (other annotations, --shards, --seed, --verify "
            "or --on_error). Name another --out, or delete it."
        )
    path.parent.mkdir(exist_ok=True)
    write_text(path, plan)
    for left_over in (*folder.glob(".*.tmp.*"), *path.parent.glob(".*.tmp.*")):
        left_over.unlink()


def _build_shards(
    source: Source,
    folder: Path,
    parts: list[np.ndarray],
    workers: int,
    checks: Checks,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Writes the shards that are missing; returns the entries of all."""
    paths = [folder / shard_name(source.split, i, len(parts)) for i in range(len(parts))]
    chosen = {
        path: [source.entries[i] for i in part] for path, part in zip(paths, parts, strict=True)
    }
    entries = {path: _finished(path, source, images) for path, images in chosen.items()}
    missing_ones = [path for path in paths if entries[path] is None]
    tick = progress("records", len(source.entries))
    for _ in range(len(source.entries) - sum(len(chosen[path]) for path in missing_ones)):
        tick()
    with ThreadPoolExecutor(max_workers=workers) as pool:
        # One stream for all shards: workers read ahead while a shard is closed and hashed.
        images = itertools.chain.from_iterable(chosen[path] for path in missing_ones)
        check = functools.partial(_check, source, checks)
        checked = _in_order(pool, check, images, ahead=_AHEAD * workers)
        for path in missing_ones:
            entry = _write_shard(path, itertools.islice(checked, len(chosen[path])), tick)
            note = {"input": _input_hash(source, chosen[path]), "entry": entry}
            write_text(_note(path), json.dumps(note))
            entries[path] = entry
        checked.close()
    return [entry for entry in entries.values() if entry is not None]


def _note(shard: Path) -> Path:
    """Where the entry of a finished shard stands until the manifest is written."""
    return shard.parent / _WORK / f"{shard.name}.json"


def _finished(path: Path, source: Source, chosen: list[AnnotatedImage]) -> dict[str, Any] | None:
    """Returns the entry of a shard that an earlier call wrote from the same images."""
    if not path.exists() or not _note(path).exists():
        return None
    note: dict[str, Any] = json.loads(_note(path).read_text(encoding="utf-8"))
    same = note["input"] == _input_hash(source, chosen)
    return note["entry"] if same and path.stat().st_size == note["entry"]["bytes"] else None


def _input_hash(source: Source, chosen: list[AnnotatedImage]) -> str:
    sizes = [[entry.name, source.images.size(entry.name)] for entry in chosen]
    return hashlib.sha256(json.dumps(sizes).encode()).hexdigest()


def _in_order(
    pool: ThreadPoolExecutor,
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
    *,
    ahead: int,
) -> Generator[_Result, None, None]:
    """Maps in a pool, in order; no more than `ahead` results wait, so that memory stays flat."""
    waiting: deque[Future[_Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _check(source: Source, checks: Checks, entry: AnnotatedImage) -> Checked:
    """Reads, checks and serialises one image."""
    annotated = len(entry.boxes)
    path = source.images.describe(entry.name)
    try:
        if source.images.size(entry.name) is None:
            raise UserError(f"{path} does not exist.")
        encoded = source.images.read(entry.name)
        height, width = image_size(encoded, path, verify=checks.verify)
    except UserError as error:
        if checks.on_error == "fail":
            raise
        return Checked(entry.name, reason=str(error), annotated=annotated)
    corners, kept = training_corners(entry.boxes, height, width)
    example = to_example(
        encoded,
        name=entry.name,
        size=(height, width),
        corners=corners,
        attributes=entry.attributes[kept],
    )
    return Checked(entry.name, example, len(corners), annotated)


def _write_shard(path: Path, checked: Iterator[Checked], tick: Tick) -> dict[str, Any]:
    """Writes one shard, whole or not at all; returns its entry in the manifest."""
    images = faces = annotated = faceless = 0
    skipped = []
    try:
        with atomic_path(path) as temporary:
            with tf.io.TFRecordWriter(str(temporary)) as writer:
                for image in checked:
                    annotated += image.annotated
                    if image.reason:
                        skipped.append({"name": image.name, "reason": image.reason})
                    else:
                        writer.write(image.example)
                        images, faces = images + 1, faces + image.faces
                        faceless += not image.faces
                    tick()
            sha256 = file_sha256(temporary)
            size = temporary.stat().st_size
    except (tf.errors.OpError, OSError) as error:
        reason = str(error).split("\n")[0][:200]
        raise UserError(
            f"{path} can't be written ({reason}). Free some space and run the same command again: "
            "whole shards are kept."
        ) from error
    return {
        "name": path.name,
        "images": images,
        "images_without_faces": faceless,
        "faces": faces,
        "annotated_faces": annotated,
        "bytes": size,
        "sha256": sha256,
        "skipped": skipped,
    }


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file of any length, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _manifest(
    source: Source, entries: list[dict[str, Any]], options: Mapping[str, Any]
) -> dict[str, Any]:
    def total(key: str) -> int:
        return sum(entry[key] for entry in entries)

    counts = {
        key: total(key) for key in ("images", "images_without_faces", "faces", "annotated_faces")
    }
    counted = (len(source.entries), sum(len(entry.boxes) for entry in source.entries))
    official = source.official_counts
    return {
        "schema": signature.RECORDS_SCHEMA,
        "split": source.split,
        **counts,
        "official": None if official is None else counted == official,
        **options,
        "source_sha256": source.sha256,
        "skipped": [image for entry in entries for image in entry["skipped"]],
        "shards": [
            {key: entry[key] for key in ("name", "images", "faces", "bytes", "sha256")}
            for entry in entries
        ],
    }
