"""Writes the shards of a data set: images, checked, with their boxes, in files whole or absent."""

import contextlib
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from ssh_tf.data.annotations import AnnotatedImage
from ssh_tf.data.checks import Checked, Checks, check_image
from ssh_tf.data.manifest import file_sha256
from ssh_tf.data.sources import Source
from ssh_tf.data.unfinished import BuiltShard, Skipped
from ssh_tf.errors import UserError, error_code, explain
from ssh_tf.files import atomic_path
from ssh_tf.prefetch import prefetch
from ssh_tf.progress import Tick

_AHEAD = 16  # images that wait for the writer, per worker
_MOST_LOST = 0.01  # of the annotated boxes
_SHOWN = 3  # lost boxes that an error names


@dataclass(frozen=True)
class ShardWork:
    """A shard to write.

    Attributes:
        name: Of its file.
        images: What goes into it.
        inputs: The hash of that.
    """

    name: str
    images: list[AnnotatedImage]
    inputs: str


class Watch:
    """Receives every image, and ends a build in which too many boxes are lost.

    Args:
        source: The images of all shards.
        checks: Whether the boxes may be lost.
        tick: Called for each image.
    """

    def __init__(self, source: Source, checks: Checks, tick: Tick) -> None:
        self._boxes = sum(len(entry.boxes) for entry in source.entries)
        self._limited = not (checks.allow_lost or source.follows_wider)
        self._tick, self._lost = tick, list[str]()

    def __call__(self, images: int, lost: Iterable[str]) -> None:
        """Counts images and the boxes that are lost in them.

        Raises:
            UserError: If too large a share of all annotated boxes is lost; it names some of them.
        """
        self._lost += lost
        if self._limited and len(self._lost) > _MOST_LOST * self._boxes:
            raise UserError(
                f"{len(self._lost)} of {self._boxes} boxes have no pixel in their image so far, "
                f"more than {_MOST_LOST:.0%}: {'; '.join(self._lost[:_SHOWN])}. Fix them, or set "
                "allow_lost."
            )
        for _ in range(images):
            self._tick()


# `Watch`, or what stands for it where nobody watches.
Tell = Callable[[int, Iterable[str]], None]
Written = Generator[tuple[ShardWork, BuiltShard], None, None]
# Writes shards of a source into a folder, in any order; see `write_shards`.
WriteShards = Callable[[Source, Path, Sequence[ShardWork], Checks, Tell], Written]


def write_shards(
    source: Source,
    folder: Path,
    work: Sequence[ShardWork],
    checks: Checks,
    tell: Tell,
    *,
    workers: int,
) -> Written:
    """Writes shards one by one.

    Args:
        source: Where the images are.
        folder: To write into.
        work: The shards.
        checks: Of the images and their boxes.
        tell: Called with every image.
        workers: Threads that read and check images.

    Yields:
        Each shard when it is written.

    Raises:
        UserError: For an image that can't be used, or a shard that can't be written.
    """
    # One stream for all shards: workers read ahead while a shard is closed and hashed.
    images = itertools.chain.from_iterable(shard.images for shard in work)
    check = functools.partial(check_image, source, checks)
    reader = prefetch(check, images, ahead=_AHEAD * workers, workers=workers)
    with contextlib.closing(reader):
        checked = _watched((result() for _, result in reader), tell)
        for shard in work:
            part = itertools.islice(checked, len(shard.images))
            yield shard, _write_shard(folder / shard.name, part)


def _watched(images: Iterator[Checked], tell: Tell) -> Iterator[Checked]:
    for image in images:
        tell(1, image.lost)
        yield image


def _write_shard(path: Path, checked: Iterator[Checked]) -> BuiltShard:
    """Writes one shard, whole or not at all; there is no file if all its images are left out."""
    images: list[Checked] = []
    try:
        with atomic_path(path) as temporary:
            with tf.io.TFRecordWriter(str(temporary)) as writer:
                for image in checked:
                    if not image.reason:
                        writer.write(image.example)
                    images.append(dataclasses.replace(image, example=b""))
            sha256 = file_sha256(temporary)
            size = temporary.stat().st_size
        if not size:
            path.unlink()
    except (tf.errors.OpError, OSError) as error:
        code = error_code(error)
        cause = OSError(code, os.strerror(code)) if code else error  # without TensorFlow's words
        raise UserError(
            f"{path} can't be written: {explain(cause)} The same command goes on from there."
        ) from error
    stored = [image for image in images if not image.reason]
    return BuiltShard(
        name=path.name,
        images=len(stored),
        images_without_faces=sum(not image.faces for image in stored),
        faces=sum(image.faces for image in stored),
        annotated_faces=sum(image.annotated for image in images),
        bytes=size,
        sha256=sha256,
        skipped=[Skipped(name=i.name, reason=i.reason) for i in images if i.reason],
        lost=[line for image in stored for line in image.lost],
    )
