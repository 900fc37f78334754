"""Records built by many machines: each shard is written by one of them, the manifest here."""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ssh_tf.data.checks import Checks
from ssh_tf.data.shards import ShardWork, Tell, Written, write_shards
from ssh_tf.data.sources import Source
from ssh_tf.data.unfinished import BuiltShard
from ssh_tf.distributed.cluster import enter
from ssh_tf.errors import UserError

_RETRIES = 5  # after the death of a process or a machine; what is wrong with an image stays wrong


def write_on_ray(
    source: Source, folder: Path, work: Sequence[ShardWork], checks: Checks, tell: Tell
) -> Written:
    """Does what `write_shards` does on one CPU for each shard. Ray must be connected.

    All machines must reach the images and `folder` by the same paths.
    """
    import ray

    write = ray.remote(num_cpus=1, max_retries=_RETRIES)(_write)
    images = ray.put(dataclasses.replace(source, entries=[]))
    running = {write.remote(images, folder, shard, checks, os.getcwd()): shard for shard in work}
    try:
        while running:
            (done,), _ = ray.wait(list(running))
            shard = running.pop(done)
            built = _result(done, shard)
            tell(len(shard.images), built.lost)
            yield shard, built
    finally:
        for reference in running:
            ray.cancel(reference)


def _write(
    source: Source, folder: Path, shard: ShardWork, checks: Checks, working_folder: str
) -> BuiltShard:
    enter(working_folder)
    ((_, built),) = write_shards(source, folder, [shard], checks, _ignore, workers=1)
    return built


def _ignore(images: int, lost: Iterable[str]) -> None:
    """Reports nothing: the driver learns of a shard when it is written."""


def _result(reference: Any, shard: ShardWork) -> BuiltShard:
    import ray

    try:
        built: BuiltShard = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise UserError(
            f"{shard.name}: {_RETRIES + 1} processes died while they wrote it. Is there memory for "
            "one on each CPU? The same command goes on from there."
        ) from error
    return built
