"""What every detector does, whatever computes: a network, an export, a runtime, a server."""

import functools
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar, overload

import numpy as np
from PIL import Image

from ssh_tf.imaging.fetch import is_url
from ssh_tf.inference.inputs import ImageSource, pixels_of
from ssh_tf.inference.results import Detections

Item = TypeVar("Item")
Result = TypeVar("Result")


class FaceDetector(Protocol):
    """Finds faces in images.

    Who implements it inherits from it and adds `find`, `fingerprint` and `__repr__`. The others
    follow from these, so that all detectors take and return the same.
    """

    @abstractmethod
    def find(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
        if score_threshold is not None and not 0 <= score_threshold <= 1:
            raise ValueError(f"`score_threshold` must be in [0, 1]. Received: {score_threshold}")
        pixels = pixels_of(image)
        boxes, scores = self.find(pixels)
        found = Detections(boxes, scores, pixels.shape[:2], _source(image, pixels))
        return found if score_threshold is None else found.filter(score=score_threshold)

    def detect_batch(
        self, images: Iterable[ImageSource], *, score_threshold: float | None = None
    ) -> list[Detections]:
        """Finds the faces of several images of any sizes, one by one; see `detect`.

        One by one, since a common canvas would change results (docs/decisions/0006) and images
        large enough to fill the device gain nothing from company.
        """
        return [self.detect(image, score_threshold=score_threshold) for image in images]

    def map(
        self, function: "Callable[[FaceDetector, Item], Result]", items: Iterable[Item]
    ) -> "Iterator[tuple[Item, Callable[[], Result]]]":
        """Calls a function with this detector and each of the items.

        A detector of many machines calls it there: function, items and results must be picklable.

        Args:
            function: Called with the detector and an item.
            items: Taken as they are needed.

        Yields:
            `(item, result)` in the order of the items. `result()`, to be called once and before the
            next item, returns what the function returned, or raises what it raised.
        """
        for item in items:
            yield item, functools.partial(function, self, item)

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


def _source(image: ImageSource, pixels: np.ndarray) -> Any:
    """Returns what gives the pixels later: a list of results of files must not hold all pixels."""
    local = isinstance(image, (str, os.PathLike)) and not is_url(image)
    if local or isinstance(image, (bytes, Image.Image)):
        return functools.partial(pixels_of, image)
    return pixels
