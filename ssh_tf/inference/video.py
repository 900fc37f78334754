"""Detects the frames of a video file or a camera: a video with boxes, and the boxes per frame."""

import contextlib
import functools
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import numpy as np
from keras import ops

from ssh_tf.errors import UserError
from ssh_tf.files import existing_file
from ssh_tf.geometry.boxes import pairwise_iou
from ssh_tf.imaging.redact import redact
from ssh_tf.inference.ahead import detect_ahead
from ssh_tf.inference.contract import FaceDetector
from ssh_tf.inference.frames import Frame, frame_count, frames_of, opened, rate_of, read_ahead
from ssh_tf.inference.gallery import Outputs, crops_of, picture_of, write_crops
from ssh_tf.inference.items import finished, recorded
from ssh_tf.inference.journal import Journal
from ssh_tf.inference.recording import Recording
from ssh_tf.inference.results import Detections
from ssh_tf.inference.writers import Entry
from ssh_tf.progress import Progress, silent

_VIDEO_SUFFIXES = (".avi", ".mkv", ".mov", ".mp4", ".webm")

# A face of the last frame is found again by a box that overlaps it so far.
_SAME_FACE_IOU = 0.3

# A frame's entry, its time in seconds and its picture.
_Finished = tuple[Entry, float, np.ndarray]


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
    entries = finished(str(source), kept, results)
    return recorded({"video": str(source)}, work, kept) if entries is None else entries


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
    with opened(source) as capture, contextlib.ExitStack() as stack:
        tick = progress(f"detect {_name(source)}", frame_count(capture, limit))
        recording = None
        if target := _target(source, outputs):
            sound = source if isinstance(source, Path) else None
            recording = stack.enter_context(Recording(target, rate_of(capture), sound))
        finish = functools.partial(_finish, source, outputs, LostFaces(outputs.hold))
        frames = frames_of(capture, source, limit)
        found = stack.enter_context(contextlib.closing(_found(detector, source, frames, finish)))
        for result in found:
            entry, seconds, picture = result()
            if recording is not None:
                recording.add(picture, seconds)
            yield entry
            tick()


def _found(
    detector: FaceDetector,
    source: Path | int,
    frames: Iterator[Frame],
    finish: Callable[[Frame, Detections], _Finished],
) -> Generator[Callable[[], _Finished], None, None]:
    """Detects frames; those of a file are read ahead. A camera's would be old at their turn."""
    if isinstance(source, int):
        for frame in frames:
            yield functools.partial(finish, frame, detector.detect(frame.image))
        return
    with contextlib.closing(read_ahead(frames)) as read:
        stream = detect_ahead(
            detector, read, lambda item: item().image, lambda item, found: finish(item(), found)
        )
        with contextlib.closing(stream):
            for _, result in stream:
                yield result


def _finish(
    source: Path | int, outputs: Outputs, lost: "LostFaces", frame: Frame, found: Detections
) -> _Finished:
    """Writes a frame's crops; the picture is the frame itself where none is drawn."""
    name = Path(f"{_name(source)}_{frame.index:06d}.jpg")
    entry = {"video": str(source), "frame": frame.index, "seconds": round(frame.seconds, 3)}
    entry |= {**found.to_dict(), **write_crops(found, name, outputs)}
    picture = found.image if outputs.pictures is None else _picture(found, outputs, lost)
    return entry, frame.seconds, picture


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
