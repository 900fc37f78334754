"""What every client shares: requests of a few images, and a model's outputs as faces in px."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ssh_tf import signature
from ssh_tf.errors import UserError
from ssh_tf.imaging.header import stored_size
from ssh_tf.inference.results import boxes_in_px

_MAX_IMAGES = 8
# With base64 around them they stay well below the limit of a body, 44 MB.
_MAX_BYTES = 16 * 2**20


class ClientError(UserError):
    """A request without an answer, or with an error for an answer.

    Args:
        message: One line.
        code: The HTTP status (`"503"`) or gRPC code (`"UNAVAILABLE"`); `""` without an answer.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True)
class Faces:
    """The faces of one image, best first.

    Attributes:
        boxes: `[n, 4]` float32, `x1, y1, x2, y2`, px.
        scores: `[n]` float32.
        size: Height and width of the image that the boxes refer to, px: the upright one, unless the
            model was told otherwise. 0, 0 for an image that was refused.
        status: `STATUS_...` of `ssh_tf/signature.py`; all but `STATUS_OK`, which is 0, come
            without faces. `None` from a model without this output.
    """

    boxes: np.ndarray
    scores: np.ndarray
    size: tuple[int, int]
    status: int | None


def in_batches(
    images: Sequence[bytes], predict: Callable[[Sequence[bytes]], list[Faces]]
) -> list[Faces]:
    """Asks for a few images at a time, so that no request outgrows a server's limits."""
    return [faces for batch in _batches(images) for faces in predict(batch)]


def _batches(images: Sequence[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for image in images:
        if batch and (len(batch) == _MAX_IMAGES or size + len(image) > _MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(image)
        size += len(image)
    if batch:
        yield batch


def faces_of(images: Sequence[bytes], outputs: Any, server: str) -> list[Faces]:
    """Returns the faces in a model's outputs.

    Args:
        images: The files that were sent.
        outputs: Output name to values, one row per image.
        server: Its address, for the error message.

    Raises:
        ClientError: If the outputs are not those of a face detector for these images.
    """
    try:
        counts = np.asarray(outputs[signature.NUM_DETECTIONS], np.int64)  # [N]
        boxes = np.asarray(outputs[signature.DETECTION_BOXES], np.float32)  # [N, R, 4]
        scores = np.asarray(outputs[signature.DETECTION_SCORES], np.float32)  # [N, R]
        status = _column(outputs, signature.STATUS, len(images))  # [N]
        sizes = _column(outputs, signature.IMAGE_SIZE, len(images))  # [N, 2]
        rows = [len(counts), len(boxes), len(scores), len(status), len(sizes)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ClientError(f"{server} gave no detections: {error!r}") from error
    if set(rows) != {len(images)}:
        raise ClientError(f"{server} gave {max(rows)} results for {len(images)} images.")
    found = []
    for i, image in enumerate(images):
        count, size = counts[i], _size(image, sizes[i])
        if size is None and count:
            raise ClientError(f"{server} found faces in an image whose header can't be read.")
        size = size or (0, 0)
        found.append(Faces(boxes_in_px(boxes[i, :count], size), scores[i, :count], size, status[i]))
    return found


def _column(outputs: Any, name: str, count: int) -> list[Any]:
    """Returns an output that other models than ours lack; None for each image then."""
    values = outputs.get(name)
    return [None] * count if values is None else np.asarray(values, np.int64).tolist()


def _size(image: bytes, given: list[int] | None) -> tuple[int, int] | None:
    """Returns what the model says, or else how the image is stored, as most models read it."""
    return stored_size(image) if given is None else (given[0], given[1])
