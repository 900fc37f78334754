"""Detects the frames of a video file or a camera: a video with boxes, and the boxes per frame."""

import contextlib
import functools
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from keras import ops

from ssh_tf.errors import UserError
from ssh_tf.files import existing_file
from ssh_tf.geometry.boxes import pairwise_iou
from ssh_tf.imaging.redact import redact
from ssh_tf.inference.contract import FaceDetector
from ssh_tf.inference.gallery import Outputs, crops_of, picture_of, write_crops
from ssh_tf.inference.items import continued
from ssh_tf.inference.journal import Journal
from ssh_tf.inference.recording import Recording, plain_path
from ssh_tf.inference.results import Detections
from ssh_tf.inference.writers import Entry
from ssh_tf.progress import Progress, silent

_VIDEO_SUFFIXES = (".avi", ".mkv", ".mov", ".mp4", ".webm")

# Where a source does not state how many frames it has in a second.
_FRAMES_PER_SECOND = 25.0
# A file whose frames and whose time both end before this share of what it states was cut off.
_WHOLE = 0.9
# A face of the last frame is found again by a box that overlaps it so far.
_SAME_FACE_IOU = 0.3


def detect_video(
    detector: FaceDetector,
    source: Path | int,
    outputs: Outputs,
    *,
    frames: int | None = None,
    journal: Journal | None = None,
    progress: Progress = silent,
) -> Iterator[Entry]:
    """Detects a video frame by frame and writes what is asked for.

    The video is `<pictures>/<name>.mp4`, with the sound of the source where ffmpeg is installed.
    Whatever ends it early, the frames up to there are kept in it. Frames are written at even sizes,
    the only ones that the codec takes: an odd last row or column is cut.

    Args:
        detector: What finds the faces.
        source: A video file, or a camera's number from 0.
        outputs: What is written.
        frames: Maximum number of frames to read; by default all.
        journal: Of finished videos, which are not detected again.
        progress: See `ssh_tf.progress`.

    Yields:
        One entry per frame, as in the JSON of `ssh-tf detect`: `video` (its path), `frame` from 0,
        `seconds` (in the video, or since the camera was opened), the frame's `height` and `width`,
        and its `faces`, whatever their score. At the end, for one that failed, `video` and `error`.

    Raises:
        UnavailableError: If a server is gone.
        OSError: If the disk is full or read-only.
    """
    work = functools.partial(_detect_frames, detector, source, outputs, frames, progress)
    results = functools.partial(_results, source=source, outputs=outputs)
    kept = journal if isinstance(source, Path) else None
    return continued({"video": str(source)}, work, kept, results)


def is_video(path: Path) -> bool:
    """Whether a path has a video's name, and is no folder."""
    return path.suffix.lower() in _VIDEO_SUFFIXES and not path.is_dir()


def check_videos(videos: Sequence[Path | int], outputs: Outputs) -> None:
    """Refuses videos that are not there or whose results would overwrite an input or each other.

    Raises:
        UserError: Naming them.
    """
    firsts: dict[str, Path] = {}
    for path in videos:
        if isinstance(path, int):
            continue
        existing_file(path, "a video")
        if firsts.setdefault(path.stem, path) is not path and outputs.folder is not None:
            raise UserError(
                f"{firsts[path.stem]} and {path} would both become {path.stem}.mp4. "
                "Detect them into different folders."
            )
        _target(path, outputs)


def _name(source: Path | int) -> str:
    return source.stem if isinstance(source, Path) else f"camera{source}"


def _target(source: Path | int, outputs: Outputs) -> Path | None:
    """Returns the video to write, if any.

    Raises:
        UserError: If it would overwrite an input.
    """
    if outputs.pictures is None:
        return None
    return outputs.checked(outputs.pictures / f"{_name(source)}.mp4")


def _results(entry: Entry, source: Path | int, outputs: Outputs) -> list[Path]:
    target = _target(source, outputs)
    return crops_of(entry) if target is None else [target, *crops_of(entry)]


def _detect_frames(
    detector: FaceDetector,
    source: Path | int,
    outputs: Outputs,
    limit: int | None,
    progress: Progress,
) -> Iterator[Entry]:
    with _opened(source) as capture, contextlib.ExitStack() as stack:
        tick = progress(f"detect {_name(source)}", _frame_count(capture, limit))
        recording = None
        if target := _target(source, outputs):
            sound = source if isinstance(source, Path) else None
            recording = stack.enter_context(Recording(target, _rate(capture), sound))
        lost = LostFaces(outputs.hold)
        for index, (seconds, image) in enumerate(_frames(capture, source, limit)):
            found = detector.detect(image)
            if recording is not None:
                recording.add(_picture(found, outputs, lost), seconds)
            entry = {"video": str(source), "frame": index, "seconds": round(seconds, 3)}
            name = Path(f"{_name(source)}_{index:06d}.jpg")
            yield {**entry, **found.to_dict(), **write_crops(found, name, outputs)}
            tick()


def _picture(found: Detections, outputs: Outputs, lost: "LostFaces") -> np.ndarray:
    if outputs.redaction is None:
        return picture_of(found, outputs)
    boxes = lost.join(found.filter(outputs.show_from).boxes)
    return redact(found.image, boxes, outputs.redaction)


class LostFaces:
    """Faces of the last frames that were not found again: they are probably still there.

    Args:
        hold: For how many frames a lost face is remembered.
    """

    def __init__(self, hold: int) -> None:
        self._hold = hold
        self._boxes, self._ages = np.zeros((0, 4), np.float32), np.zeros(0, int)

    def join(self, boxes: np.ndarray) -> np.ndarray:
        """Returns the boxes of a frame, `[D, 4]`, followed by those of the faces it lost."""
        old = self._ages < self._hold
        if len(boxes) and old.any():
            overlap = ops.convert_to_numpy(pairwise_iou(self._boxes, boxes))  # [old, D]
            old &= overlap.max(axis=1) < _SAME_FACE_IOU
        self._boxes = np.concatenate([boxes, self._boxes[old]])
        self._ages = np.concatenate([np.zeros(len(boxes), int), self._ages[old] + 1])
        return self._boxes


def _describe(source: Path | int) -> str:
    return str(source) if isinstance(source, Path) else f"Camera {source}"


@contextlib.contextmanager
def _opened(source: Path | int) -> Iterator[cv2.VideoCapture]:
    with contextlib.ExitStack() as stack:
        capture = _capture(source, stack)
        stack.callback(capture.release)
        if not capture.isOpened():
            raise UserError(f"{_describe(source)} can't be opened as a video.")
        yield capture


def _capture(source: Path | int, stack: contextlib.ExitStack) -> cv2.VideoCapture:
    if isinstance(source, int):
        return cv2.VideoCapture(source)
    existing_file(source, "a video")
    return cv2.VideoCapture(str(stack.enter_context(plain_path(source))))


def _frames(
    capture: cv2.VideoCapture, source: Path | int, limit: int | None
) -> Iterator[tuple[float, np.ndarray]]:
    """Yields the time in seconds and `[H, W, 3]` uint8 RGB.

    Times of a file are those of its container, which need not be regular; where they stand still, a
    frame's usual time is added. A camera does not wait while a frame is detected: the clock counts.

    Args:
        capture: What is read.
        source: File or camera.
        limit: Maximum number of frames.

    Raises:
        UserError: At the end, if there was no frame, or fewer than there should be.
    """
    started, count, seconds = time.monotonic(), 0, 0.0
    while limit is None or count < limit:
        whole, image = capture.read()
        if not whole:
            _check_end(capture, source, count, seconds)
            return
        if isinstance(source, int):
            seconds = time.monotonic() - started
        else:
            seconds = _time(capture, seconds, first=not count)
        yield seconds, np.ascontiguousarray(image[..., ::-1])
        count += 1


def _time(capture: cv2.VideoCapture, last: float, *, first: bool) -> float:
    """Returns the time of the frame that was read, later than that of the last one."""
    seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
    if math.isfinite(seconds) and (seconds > last or first):
        return max(0.0, seconds)
    return 0.0 if first else last + 1 / _rate(capture)


def _check_end(capture: cv2.VideoCapture, source: Path | int, count: int, seconds: float) -> None:
    if not count:
        raise UserError(f"{_describe(source)} gives no frame. Check it with a video player.")
    if isinstance(source, int):
        raise UserError(f"{_describe(source)} gives no more frames after {count}. Is it connected?")
    stated = _frame_count(capture, None)
    length = stated / (capture.get(cv2.CAP_PROP_FPS) or _FRAMES_PER_SECOND)
    if count < _WHOLE * stated and seconds < _WHOLE * length:
        raise UserError(f"{source} ends after {count} of {stated} frames: it is not whole.")


def _rate(capture: cv2.VideoCapture) -> float:
    """Returns the frames per second that a source states, if it can be one.

    Some files state the ticks of their clock instead, such as 90,000.
    """
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    return rate if 0 < rate <= 1000 else _FRAMES_PER_SECOND


def _frame_count(capture: cv2.VideoCapture, limit: int | None) -> int:
    """Returns how many frames there will be, or 0 where a camera has no end."""
    count = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    return count if limit is None else min(count or limit, limit)
