"""A folder of result files that one detector fills, in one call or in several."""

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
from ssh_tf.progress import Progress, silent

_LOG = logging.getLogger(__name__)

Write = Callable[[Path, str, np.ndarray, np.ndarray], None]

_SECONDS = "seconds.csv"  # A row per image that was detected: the time that took.


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
    detect = functools.partial(_detect, folder=folder, write=write, upright=upright)
    tick = progress("evaluate", len(images))
    left = []
    for name, path in images.items():
        if _is_whole(folder / f"{image_key(name)}.txt"):
            tick()
        else:
            left.append((name, path))
    unreadable = []
    for (name, path), result in detector.map(detect, left):
        try:
            seconds = result()
        except (_UnreadableError, CrashedError) as error:
            reason = f"{path}: {error}" if isinstance(error, CrashedError) else error
            hint = _look_alike(path)
            _LOG.warning("%s%s It counts as an image in which nothing was found.", reason, hint)
            unreadable.append(name)
        else:
            _add_seconds(folder, seconds)
        tick()
    return unreadable


class _UnreadableError(UserError):
    """Tells an image that can't be read from one that can't be detected, which ends the work."""


def _detect(
    detector: FaceDetector, item: tuple[str, Path], *, folder: Path, write: Write, upright: bool
) -> float:
    """Detects one image, writes its result file and returns how long that took, s."""
    name, path = item
    started = time.monotonic()
    try:
        image = read_image(path, upright=upright)  # [H, W, 3]
    except UserError as error:
        raise _UnreadableError(str(error)) from error
    found = detector.detect(image)
    write(folder, name, found.boxes, found.scores)
    return time.monotonic() - started


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
