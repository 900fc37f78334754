"""A video file written picture by picture, in time with its source and with its sound."""

import contextlib
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ssh_tf.errors import UserError
from ssh_tf.files import atomic_path

_LOG = logging.getLogger(__name__)

# What the codec's clock and players take.
_MIN_RATE, _MAX_RATE = 1.0, 240.0
# First frames closer to each other than at this multiple of the stated rate: it is only a mean.
_VARIABLE = 1.5
# The longest time that repeated pictures fill: a damaged time stamp can claim years.
_LONGEST_GAP_SECONDS = 10.0


@contextlib.contextmanager
def plain_path(path: Path) -> Iterator[Path]:
    """Yields another path to a file or folder that no library takes for a pattern or an address.

    OpenCV and ffmpeg read `12:30.mp4` as a protocol and `%d` as a series, and take only UTF-8.
    """
    with tempfile.TemporaryDirectory(prefix="ssh_tf_") as folder:
        link = Path(folder, "link").with_suffix(path.suffix)
        link.symlink_to(path.absolute())
        yield link


class Recording:
    """Writes `path`, an MP4, when the context ends, however it ends, if there was any picture.

    Pictures stand at their times: where a time is late, the picture before it is repeated.

    Args:
        path: The file.
        rate: Frames per second that the source states.
        sound: A video whose sound is added, if it has any and ffmpeg is installed.
    """

    def __init__(self, path: Path, rate: float, sound: Path | None) -> None:
        self._path, self._stated, self._sound = path, rate, sound
        self._stack = contextlib.ExitStack()
        self._writer: _Writer | None = None
        self._shown: np.ndarray | None = None
        self._time = self._seconds = 0.0

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._shown is None:
            return
        with self._stack:
            writer = self._writer or self._start(self._shown.shape, self._stated)
            writer.repeat(self._shown, 1)
            writer.close()
            if self._sound is not None:
                _add_sound(writer.path, self._sound, writer.seconds)

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """Adds a picture.

        Args:
            picture: `[H, W, 3]` uint8 RGB. The first one decides the size; others are scaled to it.
            seconds: Its time, later than that of the one before.
        """
        if self._shown is not None:
            gap = seconds - self._time
            if self._writer is None:
                self._writer = self._start(self._shown.shape, _rate(self._stated, gap))
            # A picture is shown until the next one's time, but never left out.
            self._seconds += min(gap, _LONGEST_GAP_SECONDS)
            late = self._seconds - self._writer.seconds
            self._writer.repeat(self._shown, max(1, round(late * self._writer.rate)))
        self._shown, self._time = picture, seconds

    def _start(self, shape: tuple[int, ...], rate: float) -> "_Writer":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._stack.enter_context(atomic_path(self._path))
        folder = self._stack.enter_context(plain_path(temporary.parent))
        return _Writer(folder / temporary.name, shape, rate)


def _rate(stated: float, gap: float) -> float:
    """Returns the frames per second to write, from those stated and the time between the first two.

    Where times vary, a file states the mean, which is too slow for its dense parts.
    """
    measured = 1 / gap if gap > 0 else stated
    return measured if measured > _VARIABLE * stated else stated


class _Writer:
    """OpenCV's writer, which reports a failure neither at a picture nor at the end.

    Args:
        path: An MP4 with a plain name.
        shape: Of the pictures: `(height, width, 3)`.
        rate: Frames per second.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], rate: float) -> None:
        # More decimals would need a finer clock than the codec has.
        self.rate = round(min(max(rate, _MIN_RATE), _MAX_RATE), 2)
        self.path, self._size, self._count = path, (shape[1], shape[0]), 0
        codec = cv2.VideoWriter.fourcc(*"mp4v")  # the one every build of OpenCV can write
        self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, self.rate, self._size)
        if not self._writer.isOpened():
            raise UserError(f"OpenCV can't write a video of {shape[1]} x {shape[0]} px.")

    @property
    def seconds(self) -> float:
        """Length of what is written."""
        return self._count / self.rate

    def repeat(self, picture: np.ndarray, times: int) -> None:
        """Writes a picture so many times."""
        if picture.shape[1::-1] != self._size:
            picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        frame = np.ascontiguousarray(picture[..., ::-1])
        for _ in range(times):
            self._writer.write(frame)
        self._count += times

    def close(self) -> None:
        """Ends the file and checks that all was written: OpenCV does not report a full disk.

        Raises:
            UserError: If it does not.
        """
        self._writer.release()
        written = cv2.VideoCapture(str(self.path))
        count = written.get(cv2.CAP_PROP_FRAME_COUNT) if written.isOpened() else 0
        written.release()
        if count < self._count:
            raise UserError(
                f"Only {count:.0f} of {self._count} frames could be written. Check the space left."
            )


def _add_sound(video: Path, source: Path, seconds: float) -> None:
    """Adds the sound of a source to a video, without the names and places that it may tell.

    Args:
        video: An MP4 without sound, alone in its folder.
        source: A video with or without sound.
        seconds: Length of `video`; the sound ends there.
    """
    if (ffmpeg := shutil.which("ffmpeg")) is None:
        _LOG.warning("%s: the video has no sound, since ffmpeg is not installed.", source)
        return
    joined = video.with_name("joined.mp4")
    inputs = ["-i", f"file:{video}", "-i", f"file:{source}", "-map", "0:v", "-map", "1:a?"]
    anonymous = ["-map_metadata", "-1", "-map_metadata:s", "-1", "-map_chapters", "-1"]
    for codec in ("copy", "aac"):  # MP4 does not take every codec as it is
        encode = ["-c:v", "copy", "-c:a", codec, "-t", f"{seconds:.3f}"]
        command = [ffmpeg, "-nostdin", "-v", "error", "-y", *inputs, *anonymous, *encode]
        run = subprocess.run([*command, f"file:{joined}"], capture_output=True, check=False)
        if run.returncode == 0:
            joined.replace(video)
            return
    reason = " ".join(run.stderr.decode(errors="replace").split())[-200:]
    _LOG.warning("%s: the video has no sound, since ffmpeg failed: %s", source, reason)
