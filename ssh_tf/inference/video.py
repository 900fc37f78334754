"""Detects the frames of a video file or a camera: a video with boxes, and the boxes per frame."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ssh_tf.errors import UserError
from ssh_tf.files import atomic_path, existing_file, output_folder
from ssh_tf.inference.contract import FaceDetector
from ssh_tf.inference.gallery import picture_of
from ssh_tf.progress import Progress, silent

VIDEO_SUFFIXES = (".avi", ".mkv", ".mov", ".mp4", ".webm")

# Where a camera or a file does not tell.
_FRAMES_PER_SECOND = 25.0


def detect_video(
    detector: FaceDetector,
    source: Path | int,
    out: Path,
    *,
    frames: int | None = None,
    show_from: float = 0.5,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Writes a video with boxes, `<out>/<name>.mp4`, whole or not at all.

    Ctrl-C ends it early: the frames up to there are kept, as a camera has no other end. Frames are
    written at even sizes, the only ones that the codec takes: an odd last row or column is cut.

    Args:
        detector: What finds the faces.
        source: A video file, or a camera's number from 0.
        out: Folder of the video.
        frames: Most frames to read; by default all.
        show_from: Least score that is drawn.
        progress: See `ssh_tf.progress`.

    Returns:
        One entry per frame, as in the JSON of `ssh-tf detect`: `frame` from 0, `seconds` (in the
        video, or since the camera was opened), the frame's `height` and `width`, and its
        `faces`, whatever their score.

    Raises:
        UserError: If the source can't be opened or gives no frame, `out` can't be written, or the
            result would overwrite the source.
    """
    target = out / f"{_name(source)}.mp4"
    if isinstance(source, Path):
        existing_file(source, "a video")
        if target.resolve() == source.resolve():
            raise UserError(f"{target} would overwrite the video itself. Name another --out.")
    output_folder(out)
    found: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        capture = stack.enter_context(_opened(source))
        rate = capture.get(cv2.CAP_PROP_FPS) or _FRAMES_PER_SECOND
        temporary = stack.enter_context(atomic_path(target))
        writer: cv2.VideoWriter | None = None
        tick = progress(f"detect {_name(source)}", _frame_count(capture, frames))
        images = _frames(capture, rate if isinstance(source, Path) else None, frames)
        with contextlib.suppress(KeyboardInterrupt):
            for index, (seconds, image) in enumerate(images):
                result = detector.detect(image)
                picture = picture_of(image, result, show_from)
                writer = writer or stack.enter_context(_writer(temporary, rate, picture.shape))
                writer.write(np.ascontiguousarray(picture[..., ::-1]))
                found.append({"frame": index, "seconds": round(seconds, 3), **result.to_dict()})
                tick()
        if not found:
            raise UserError(f"{_describe(source)} gives no frame. Check it with a video player.")
    return found


def check_videos(videos: Sequence[Path]) -> None:
    """Refuses, before any work, videos that are not there or would share a result.

    Raises:
        UserError: Naming them.
    """
    firsts: dict[str, Path] = {}
    for path in videos:
        existing_file(path, "a video")
        if firsts.setdefault(path.stem, path) is not path:
            raise UserError(
                f"{firsts[path.stem]} and {path} would both become {path.stem}.mp4. "
                "Detect them into different folders."
            )


def _name(source: Path | int) -> str:
    return source.stem if isinstance(source, Path) else f"camera{source}"


def _describe(source: Path | int) -> str:
    return str(source) if isinstance(source, Path) else f"Camera {source}"


@contextlib.contextmanager
def _opened(source: Path | int) -> Iterator[cv2.VideoCapture]:
    capture = cv2.VideoCapture(str(source) if isinstance(source, Path) else source)
    try:
        if not capture.isOpened():
            raise UserError(f"{_describe(source)} can't be opened as a video.")
        yield capture
    finally:
        capture.release()


def _frames(
    capture: cv2.VideoCapture, rate: float | None, limit: int | None
) -> Iterator[tuple[float, np.ndarray]]:
    """Yields the time in seconds and `[H, W, 3]` uint8 RGB.

    Args:
        capture: What is read.
        rate: Frames per second of a file. A camera does not wait while a frame is detected, so
            there, None, the clock counts.
        limit: Most frames.
    """
    started = time.monotonic()
    count = 0
    while limit is None or count < limit:
        whole, image = capture.read()
        if not whole:
            return
        seconds = count / rate if rate else time.monotonic() - started
        yield seconds, np.ascontiguousarray(image[..., ::-1])
        count += 1


def _frame_count(capture: cv2.VideoCapture, limit: int | None) -> int:
    """Returns how many frames there will be, or 0 where a camera has no end."""
    count = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    return count if limit is None else min(count or limit, limit)


@contextlib.contextmanager
def _writer(path: Path, rate: float, shape: tuple[int, ...]) -> Iterator[cv2.VideoWriter]:
    height, width = shape[:2]
    codec = cv2.VideoWriter.fourcc(*"mp4v")  # the one every build of OpenCV can write
    writer = cv2.VideoWriter(str(path), codec, rate, (width, height))
    try:
        if not writer.isOpened():
            raise UserError(f"{path.parent} takes no video. Check the space left.")
        yield writer
    finally:
        writer.release()
