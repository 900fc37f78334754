"""A folder of result files that one detector fills, in one call or in several."""

import contextlib
import functools
import logging
import time
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ssh_tf.errors import CrashedError, UserError
from ssh_tf.evaluation.detections import (
    ORIGIN,
    image_key,
    read_wider_file,
    refuse_equal_keys,
    result_files,
    write_boxes,
    write_wider,
)
from ssh_tf.files import output_folder, write_text
from ssh_tf.imaging.files import read_image
from ssh_tf.inference.contract import FaceDetector
from ssh_tf.inference.results import Detections
from ssh_tf.progress import Progress, silent

_LOG = logging.getLogger(__name__)

# A row per image that was detected: the time since the one before, as several are in work.
_SECONDS = "seconds.csv"
_COUNTS_AS_EMPTY = "%s%s It counts as an image in which nothing was found."

Write = Callable[[Path, str, np.ndarray, np.ndarray], None]


def detect_images(
    detector: FaceDetector,
    images: Mapping[str, Path],
    out: str | Path,
    *,
    whole_pixels: bool,
    upright: bool = False,
    progress: Progress = silent,
) -> list[str]:
    """Writes one result file per image; images that have a whole one already are skipped.

    An image that can't be read is reported and has no result: its faces count as missed.

    Args:
        detector: What to evaluate.
        images: Name to file. The names decide those of the result files, see `image_key`.
        out: Folder of result files.
        whole_pixels: Whether corners are truncated, as the official code does for WIDER.
        upright: Whether images are turned as their EXIF orientation asks. The official sets are
            annotated as they are stored.
        progress: See `ssh_tf.progress`.

    Returns:
        Names of the images that can't be read.

    Raises:
        UserError: If `out` is not writable or holds other results than this detector's, two images
            would share a result file, or none of the images is there.
    """
    refuse_equal_keys(images)
    _require_one(images)
    folder = output_folder(out)
    _claim(folder, detector.fingerprint())
    write = write_wider if whole_pixels else write_boxes
    tick = progress("evaluate", len(images))
    done = {name for name in images if _is_whole(folder / f"{image_key(name)}.txt")}
    todo = [name for name in images if name not in done]
    for _ in done:
        tick()
    unreadable, started = [], time.monotonic()
    read = functools.partial(_read, images, upright)
    finish = functools.partial(_write, folder, write)
    with contextlib.closing(detector.ahead(todo, read, finish)) as stream:
        for name, result in stream:
            try:
                result()
            except (_UnreadableError, CrashedError) as error:
                reason = f"{images[name]}: {error}" if isinstance(error, CrashedError) else error
                hint = _look_alike(images[name])
                _LOG.warning(_COUNTS_AS_EMPTY, reason, hint)
                unreadable.append(name)
            else:
                now = time.monotonic()
                _add_seconds(folder, now - started)
                started = now
            tick()
    return unreadable


class _UnreadableError(UserError):
    """An image can't be read, which is no fault of the detector."""


def _read(images: Mapping[str, Path], upright: bool, name: str) -> np.ndarray:
    try:
        return read_image(images[name], upright=upright)
    except UserError as error:
        raise _UnreadableError(str(error)) from error


def _write(folder: Path, write: Write, name: str, found: Detections) -> None:
    write(folder, name, found.boxes, found.scores)


def detection_seconds(folder: Path) -> float:
    """Returns how long all detections in a folder took, those of earlier calls included, s."""
    try:
        rows = (folder / _SECONDS).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0.0  # results of a version that did not note it
    return sum(float(row) for row in rows if _is_seconds(row))


def _add_seconds(folder: Path, seconds: float) -> None:
    with (folder / _SECONDS).open("a", encoding="ascii") as file:
        file.write(f"{seconds:.6f}\n")


def _is_seconds(row: str) -> bool:
    """Tells whole rows from what a killed process leaves."""
    return row.replace(".", "", 1).isdecimal()


def _claim(folder: Path, fingerprint: str) -> None:
    """Notes whose results a folder holds, or checks that they are this detector's."""
    path, origin = folder / ORIGIN, f"{fingerprint}\n"
    if not path.exists():
        unclaimed = next(result_files(folder), None)
        if unclaimed is not None:
            raise UserError(
                f"{folder} holds result files such as {unclaimed}, but no {ORIGIN} that says whose "
                "they are. Name another folder for the results."
            )
        write_text(path, origin)
        return
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    if not text.endswith("\n"):
        raise UserError(
            f"{path} is damaged, so that it is not known whose results {folder} holds. Name "
            "another folder for the results, or remove this one."
        )
    if text != origin:
        raise UserError(
            f"{folder} holds results of another model or of other settings. Name another folder "
            "for the results."
        )


def _is_whole(path: Path) -> bool:
    """Tells whether an image has its result; an empty or cut file is none."""
    try:
        if not path.stat().st_size:
            _LOG.warning("%s is empty. Its image is detected again.", path)
            return False
        read_wider_file(path)
    except FileNotFoundError:
        return False
    except UserError as error:
        _LOG.warning("%s Its image is detected again.", error)
        return False
    return True


def _require_one(images: Mapping[str, Path]) -> None:
    if images and not any(path.is_file() for path in images.values()):
        first = next(iter(images.values()))
        raise UserError(
            f"None of the {len(images)} images is there, the first would be {first}. Name the "
            "folder of the images."
        )


def _look_alike(path: Path) -> str:
    """Says if there is a file whose name only differs in how Unicode composes its letters."""
    if not path.parent.is_dir() or path.exists():
        return ""
    wanted = unicodedata.normalize("NFC", path.name)
    for other in path.parent.iterdir():
        if unicodedata.normalize("NFC", other.name) == wanted:
            return f" {other.name!a} looks the same, but differs in bytes: rename one."
    return ""
