"""What every detector does, whatever computes: a network, an export, a runtime, a server."""

import contextlib
import functools
import os
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Protocol, overload

import numpy as np
from PIL import Image

from ssh_tf.imaging.fetch import is_url
from ssh_tf.inference.ahead import Item, Later, Result, attempt, detect_ahead
from ssh_tf.inference.inputs import ImageSource, pixels_of
from ssh_tf.inference.results import Detections

Boxes = tuple[np.ndarray, np.ndarray]  # As `FaceDetector.find` returns them.


class FaceDetector(Protocol):
    """Finds faces in images.

    Who implements it inherits from it and adds `find`, `fingerprint` and `__repr__`. The others
    follow from these, so that all detectors take and return the same. Who can split `find` into
    `prepare` and `compute` lets the first run ahead in threads.

    Attributes:
        window: How many images `compute` is given at a time, where there are many.
        parallel: How many threads may call `compute` at a time.
    """

    window: int = 1
    parallel: int = 1

    @abstractmethod
    def find(self, pixels: np.ndarray) -> Boxes:
        """Finds the faces of one image.

        Args:
            pixels: `[H, W, 3]` uint8 RGB, H and W at least 1.

        Returns:
            `boxes`, `[D, 4]` float32 `x1, y1, x2, y2` in px, and `scores`, `[D]` float32, best
            first.

        Raises:
            UserError: If the image needs more memory than there is, or is refused.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Returns one line that another network or another setting would change."""

    @abstractmethod
    def __repr__(self) -> str:
        """Says in one line what computes and with which settings."""

    def prepare(self, pixels: np.ndarray) -> Any:
        """Does what `find` does before the network: scaling, say. Called in several threads.

        Args:
            pixels: See `find`.

        Returns:
            What `compute` takes; by default the pixels.

        Raises:
            UserError: As `find`.
        """
        return pixels

    def compute(self, prepared: Sequence[Any]) -> list[Callable[[], Boxes]]:
        """Runs the network, in `parallel` threads; by default does all that `find` does.

        Args:
            prepared: Of several images, at most `window`.

        Returns:
            For each of them the function that does the rest and returns what `find` does, or raises
            what went wrong with that image alone.
        """
        return [attempt(functools.partial(self.find, pixels)) for pixels in prepared]

    def detect(self, image: ImageSource, *, score_threshold: float | None = None) -> Detections:
        """Finds the faces of one image, turned upright as its EXIF asks.

        Args:
            image: See `inputs.pixels_of`.
            score_threshold: Faces with a lower score are left out, in `[0, 1]`. By default the
                threshold of the model's settings; a lower one adds no faces.

        Returns:
            Faces, best first, in px of the upright image.

        Raises:
            TypeError: For something else than an image.
            ValueError: For an array of a wrong shape or dtype, or a threshold out of range.
            UserError: If the image can't be read, is too large or is refused.
        """
        _check(score_threshold)
        pixels = pixels_of(image)
        return _of(image, pixels, self.find(pixels), score_threshold)

    def detect_batch(
        self, images: Iterable[ImageSource], *, score_threshold: float | None = None
    ) -> list[Detections]:
        """Finds the faces of several images of any sizes; see `detect`.

        Threads read the next images while the network computes. No result depends on the other
        images. The first error ends the work.
        """
        _check(score_threshold)

        def finish(image: ImageSource, found: Detections) -> Detections:
            return _of(image, found.image, (found.boxes, found.scores), score_threshold)

        with contextlib.closing(detect_ahead(self, images, pixels_of, finish)) as found:
            return [result() for _, result in found]

    def ahead(
        self,
        items: Iterable[Item],
        read: Callable[[Item], np.ndarray],
        finish: Callable[[Item, Detections], Result],
    ) -> Generator[tuple[Item, Later[Result]], None, None]:
        """Detects many images: `detect_ahead` with this detector.

        A detector of many machines does it there: all that is given and returned must be
        picklable.
        """
        return detect_ahead(self, items, read, finish)

    @overload
    def __call__(self, images: ImageSource, **options: Any) -> Detections: ...

    @overload
    def __call__(self, images: list[Any], **options: Any) -> list[Detections]: ...

    def __call__(
        self, images: ImageSource | list[Any], **options: Any
    ) -> Detections | list[Detections]:
        """Does what `detect` does with one image, what `detect_batch` does with a list."""
        if isinstance(images, list):
            return self.detect_batch(images, **options)
        return self.detect(images, **options)


def _check(score_threshold: float | None) -> None:
    if score_threshold is not None and not 0 <= score_threshold <= 1:
        raise ValueError(f"`score_threshold` must be in [0, 1]. Received: {score_threshold}")


def _of(
    image: ImageSource, pixels: np.ndarray, boxes: Boxes, score_threshold: float | None
) -> Detections:
    found = Detections(*boxes, pixels.shape[:2], _source(image, pixels))
    return found if score_threshold is None else found.filter(score=score_threshold)


def _source(image: ImageSource, pixels: np.ndarray) -> Any:
    """Returns what gives the pixels later: a list of results of files must not hold all pixels."""
    local = isinstance(image, (str, os.PathLike)) and not is_url(image)
    if local or isinstance(image, (bytes, Image.Image)):
        return functools.partial(pixels_of, image)
    return pixels
