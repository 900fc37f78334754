"""The frames of a video file or a camera, with their times."""

import contextlib
import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import cv2
import numpy as np

from ssh_tf.errors import UserError
from ssh_tf.files import existing_file
from ssh_tf.inference.ahead import Failure, attempt
from ssh_tf.inference.recording import plain_path
from ssh_tf.prefetch import prefetch

# Where a source does not state how many frames it has in a second.
_FRAMES_PER_SECOND = 25.0
# A file whose frames and whose time both end before this share of what it states was cut off.
_WHOLE = 0.9


@dataclasses.dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Attributes:
        index: From 0.
        seconds: In the video, or since the camera was opened.
        image: `[H, W, 3]` uint8 RGB.
    """

    index: int
    seconds: float
    image: np.ndarray


def _describe(source: Path | int) -> str:
    return str(source) if isinstance(source, Path) else f"Camera {source}"


@contextlib.contextmanager
def opened(source: Path | int) -> Iterator[cv2.VideoCapture]:
    """Opens a video file or a camera.

    Args:
        source: The file, or the camera's number from 0.

    Yields:
        What frames are read from.

    Raises:
        UserError: If it can't be opened.
    """
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


def frames_of(capture: cv2.VideoCapture, source: Path | int, limit: int | None) -> Iterator[Frame]:
    """Yields the frames as they are read.

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
        yield Frame(count, seconds, np.ascontiguousarray(image[..., ::-1]))
        count += 1


def read_ahead(frames: Iterator[Frame]) -> Generator[Callable[[], Frame], None, None]:
    """Reads frames in a thread, while the caller works on those before.

    Args:
        frames: See `frames_of`.

    Yields:
        What returns a frame; the last one raises what ended the frames early, if anything did.
    """
    reading = prefetch(
        lambda _: attempt(lambda: next(frames, None)), itertools.count(), ahead=2, workers=1
    )
    with contextlib.closing(reading):
        for _, result in reading:
            read = result()
            if isinstance(read, Failure):
                yield read
                return
            if (frame := read()) is None:
                return
            yield functools.partial(_same, frame)


def _same(frame: Frame) -> Frame:
    return frame


def _time(capture: cv2.VideoCapture, last: float, *, first: bool) -> float:
    """Returns the time of the frame that was read, later than that of the last one."""
    seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
    if math.isfinite(seconds) and (seconds > last or first):
        return max(0.0, seconds)
    return 0.0 if first else last + 1 / rate_of(capture)


def _check_end(capture: cv2.VideoCapture, source: Path | int, count: int, seconds: float) -> None:
    if not count:
        raise UserError(f"{_describe(source)} gives no frame. Check it with a video player.")
    if isinstance(source, int):
        raise UserError(f"{_describe(source)} gives no more frames after {count}. Is it connected?")
    stated = frame_count(capture, None)
    length = stated / (capture.get(cv2.CAP_PROP_FPS) or _FRAMES_PER_SECOND)
    if count < _WHOLE * stated and seconds < _WHOLE * length:
        raise UserError(f"{source} ends after {count} of {stated} frames: it is not whole.")


def rate_of(capture: cv2.VideoCapture) -> float:
    """Returns the frames per second that a source states, if it can be one.

    Some files state the ticks of their clock instead, such as 90,000.
    """
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    return rate if 0 < rate <= 1000 else _FRAMES_PER_SECOND


def frame_count(capture: cv2.VideoCapture, limit: int | None) -> int:
    """Returns how many frames there will be, or 0 where a camera has no end."""
    count = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    return count if limit is None else min(count or limit, limit)
