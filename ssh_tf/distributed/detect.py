"""Detection of any number of photos on a cluster: parts are the unit, each a file of its own.

A worker does a part and writes its file; the driver lists, counts and says what failed.
"""

import contextlib
import dataclasses
import functools
import json
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssh_tf.distributed import rows as table
from ssh_tf.distributed.cluster import node_name
from ssh_tf.distributed.detectors import RayDetectors
from ssh_tf.distributed.listing import Archive, Input, Part, divide
from ssh_tf.distributed.places import stamp
from ssh_tf.distributed.reading import Image, images_of
from ssh_tf.distributed.rows import UNKNOWN, Row
from ssh_tf.errors import CrashedError, UserError
from ssh_tf.files import folder_lock, output_folder, write_text
from ssh_tf.inference.ahead import detect_ahead
from ssh_tf.inference.contract import FaceDetector
from ssh_tf.inference.gallery import WRITERS, Outputs, finish_image, picture_name
from ssh_tf.inference.items import keep_going
from ssh_tf.inference.results import Detections
from ssh_tf.inference.writers import Entry
from ssh_tf.progress import Progress, silent

_LOG = logging.getLogger(__name__)

# Of a folder of results, whose and how many they are. Readers of tables skip `_` and `.`.
JOB_FILE = "_job.json"
_PART_FILES = "part-*.parquet"


@dataclasses.dataclass(frozen=True)
class Job:
    """What is the same for all parts.

    Attributes:
        folder: Of the files of results.
        outputs: What else is made of each image.
        model: The detector's fingerprint.
    """

    folder: Path
    outputs: Outputs
    model: str

    @property
    def work(self) -> str:
        """One line that another model or other settings would change."""
        return f"{self.outputs.settings()} {self.model}"


@dataclasses.dataclass(frozen=True)
class Summary:
    """What became of a part.

    Attributes:
        images: That were detected, now or by an earlier call.
        faces: In them, of at least `outputs.show_from`.
        failures: Why the others failed, one line each, with their names.
        kept: Of the images, those that an earlier call detected.
        node: Ray's machine that did it.
    """

    images: int
    faces: int
    failures: tuple[str, ...]
    kept: int
    node: str


def detect_parts(
    detectors: RayDetectors,
    inputs: Iterable[Input],
    outputs: Outputs,
    folder: Path,
    *,
    private: bool = False,
    progress: Progress = silent,
) -> Generator[tuple[Path, Summary], None, None]:
    """Detects photos part by part; the same call goes on where another one was stopped.

    What an earlier call wrote into the folder is kept as far as it is of the same model, settings
    and files. Results of other inputs go.

    Args:
        detectors: What finds the faces.
        inputs: See `listing.list_inputs`; taken as they are needed.
        outputs: What is made of the images beside their rows; nothing can be shown.
        folder: Of the rows; all machines must reach it by this path.
        private: Whether the folder is of no use to others, so that what it holds of another model
            may go. Else the call is refused.
        progress: See `ssh_tf.progress`.

    Yields:
        File of rows and what became of the part, in the order of the inputs.

    Raises:
        UserError: If the folder can't be used, holds other results, or another process works in it.
        OSError: If a disk is full or read-only.
    """
    job = Job(output_folder(folder), outputs, detectors.fingerprint())
    with folder_lock(job.folder, "output folder"):
        _claim(job, private)
        parts, total = divide(inputs)
        tick, images, failed, count = progress("detect", total), 0, 0, 0
        for part, result in detectors.map(functools.partial(detect_part, job=job), parts):
            try:
                summary = result()
            except CrashedError:
                summary = _carefully(detectors, part, job)
            for reason in summary.failures:
                _LOG.warning("Failed: %s", reason)
            images, failed = images + summary.images, failed + len(summary.failures)
            count = part.number + 1
            yield job.folder / part.file_name, summary
            for _ in range(summary.images + len(summary.failures)):
                tick()
        _remove_from(job.folder, count)
        _note(job, finished=True, images=images, failed=failed, parts=count)


def entries_of(file: Path) -> Iterator[Entry]:
    """Yields the entries of a file of results, as `detect` writes them."""
    return map(table.entry_of, table.read_rows(file))


def detect_part(detector: FaceDetector, part: Part, *, job: Job) -> Summary:
    """Detects the images of a part and writes its file, unless an earlier call has.

    Raises:
        OSError: If the file can't be written, or the disk is full or read-only.
    """
    path = job.folder / part.file_name
    kept = _kept(path, part, job)
    rows = list(kept.values())
    if table.read_about(path) != _about(part, rows, job):
        rows = _rows(detector, part, job, kept)
        table.write_rows(path, rows, _about(part, rows, job))
    return _summary(rows, job, kept=len(kept))


def _kept(path: Path, part: Part, job: Job) -> dict[str, Row]:
    """Returns the rows of an earlier call that still hold, by image."""
    if table.read_about(path).get("work") != job.work:
        return {}
    stamps = {each.source: stamp(each.source) for each in part.inputs}
    archive = part.inputs[0].source if isinstance(part.inputs[0], Archive) else None
    return {
        row["image"]: row
        for row in table.finished_rows(path)
        if UNKNOWN != table.stamp_of(row) == stamps.get(archive or row["image"])
        and all(Path(file).exists() for file in table.files_of(row))
    }


def _about(part: Part, rows: Sequence[Row], job: Job) -> dict[str, Any]:
    """Returns what a file says of itself. It is finished if all its rows can be kept."""
    return {"work": job.work, "inputs": part.key, "rows": len(rows)}


def _rows(
    detector: FaceDetector, part: Part, job: Job, kept: Mapping[str, Row], only: int | None = None
) -> list[Row]:
    """Returns the rows of a part's images, or of one of them, in their order."""
    rows: list[Row] = []

    def missing() -> Iterator[tuple[int, Image]]:
        for i, image in enumerate(images_of(part)):
            if only in (None, i):
                rows.append(kept.get(image.source, {}))
                if not rows[-1]:
                    yield len(rows) - 1, image

    finish = functools.partial(_finish, outputs=job.outputs)
    stream = detect_ahead(detector, missing(), _read, finish, finishers=WRITERS)
    with contextlib.closing(stream):
        for (place, image), result in stream:
            rows[place] = _row(image, result, job)
    return rows


def _read(item: tuple[int, Image]) -> np.ndarray:
    return item[1].read()


def _finish(item: tuple[int, Image], found: Detections, outputs: Outputs) -> Entry:
    image = item[1]
    return finish_image(image.source, picture_name(Path(image.name)), found, outputs)[0]


def _row(image: Image, result: Callable[[], Entry], job: Job) -> Row:
    """Returns the row of an image; `result` raises what is wrong with it."""

    def work() -> Iterator[Entry]:
        yield result()

    (entry,) = keep_going({"image": image.source}, work)
    folder = job.outputs.pictures
    drawn = None if folder is None else str(folder / picture_name(Path(image.name)))
    picture = None if "error" in entry else drawn
    return table.row_of(entry, image.stamp, picture=picture, model=job.model, node=node_name())


def _summary(rows: Sequence[Row], job: Job, *, kept: int = 0) -> Summary:
    failures = tuple(row["error"] for row in rows if row["status"] == table.FAILED)
    faces = table.count_faces(rows, job.outputs.show_from)
    return Summary(len(rows) - len(failures), faces, failures, kept, node_name())


def _carefully(detectors: RayDetectors, part: Part, job: Job) -> Summary:
    """Does a part at which workers died image by image, so that one image costs itself alone."""
    _LOG.warning("Workers died at %s. Its images are detected one by one.", part.file_name)
    rows = []
    for i, source in enumerate(detectors.call_apart(_names, part)):
        try:
            rows += detectors.call_apart(functools.partial(_rows_at, index=i, job=job), part)
        except CrashedError as error:
            entry = {"image": source, "error": f"{source}: {error}"}
            rows.append(table.row_of(entry, UNKNOWN, model=job.model, node=""))
    table.write_rows(job.folder / part.file_name, rows, _about(part, rows, job))
    return _summary(rows, job)


def _rows_at(detector: FaceDetector, part: Part, *, index: int, job: Job) -> list[Row]:
    return _rows(detector, part, job, {}, only=index)


def _names(detector: FaceDetector, part: Part) -> list[str]:
    """Returns what the images of a part are called, without decoding one."""
    del detector
    return [image.source for image in images_of(part)]


def _claim(job: Job, private: bool) -> None:
    """Notes whose results a folder holds, or checks that they are of this work.

    Raises:
        UserError: If they are of another work, or of nobody knows which.
    """
    path = job.folder / JOB_FILE
    try:
        work = json.loads(path.read_bytes())["work"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        work = None
    there = next(job.folder.glob(_PART_FILES), None)
    if there is not None and work != job.work:
        if not private:
            raise UserError(
                f"{job.folder} holds results of another model or of other settings. Name another "
                "folder for the results."
            )
        _remove_from(job.folder, 0)
    _note(job, finished=False)


def _note(job: Job, **state: Any) -> None:
    write_text(job.folder / JOB_FILE, json.dumps({"work": job.work, **state}) + "\n")


def _remove_from(folder: Path, count: int) -> None:
    """Removes the files of parts that are not among the first `count`: those of other inputs."""
    for file in folder.glob(_PART_FILES):
        number = file.stem.partition("-")[2]
        if number.isdecimal() and int(number) >= count:
            file.unlink()
