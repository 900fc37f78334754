"""What every reader of annotations yields: an image's name, its boxes and their attributes.

Also the official rule that makes training boxes of annotated ones. No TensorFlow here.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from ssh_tf.errors import UserError

ATTRIBUTES = ("blur", "expression", "illumination", "invalid", "occlusion", "pose")


_LONGEST_NAME = 4096  # as paths are on Linux


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """One image and its annotated faces.

    Attributes:
        name: Path relative to the images folder with `/`, as in `0--Parade/0_Parade_0_102.jpg`.
        boxes: `[F, 4]` float32, `x, y, w, h` in px as annotated: sizes may be 0 or negative and
            boxes may cross the border. `F` may be 0.
        attributes: `[F, 6]` int64 in `ATTRIBUTES` order; 0 where the file has none.
        given: The attributes that the file has.
        file: Where the rows are, as messages begin: `boxes.csv:`, or `faces.json: annotation` and a
            blank.
        rows: Number of each box's row in it; empty if unknown.
        declared_size: Height and width in px that the annotations state for the image, if any.
    """

    name: str
    boxes: np.ndarray
    attributes: np.ndarray
    given: tuple[str, ...] = ATTRIBUTES
    file: str = ""
    rows: Sequence[int] = ()
    declared_size: tuple[int, int] | None = None

    def place(self, index: int) -> str:
        """Returns where a box comes from: `boxes.csv:17`."""
        return f"{self.file}{self.rows[index]}" if self.rows else f"{self.name}, box {index + 1}"


def annotated(name: str, faces: Sequence[Sequence[float]], **fields: Any) -> AnnotatedImage:
    """Makes an entry of faces that are a box, or a box and six attributes each."""
    table = np.zeros((len(faces), 4 + len(ATTRIBUTES)))
    for row, values in zip(table, faces, strict=True):
        row[: len(values)] = values
    boxes, attributes = table[:, :4].astype(np.float32), table[:, 4:].astype(np.int64)
    return AnnotatedImage(name, boxes, attributes, **fields)


def training_corners(
    boxes_xywh: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Converts annotated boxes to the corners that the official code trains on.

    Rounds `x, y, w, h` (halves away from zero), clamps the upper left corner to 0 *before* adding
    the size, clips the lower right corner to the image, and drops a box iff it is then narrower or
    lower than 1 px. There is no minimum size and faces flagged invalid stay.

    Args:
        boxes_xywh: `[F, 4]`, `x, y, w, h` in px as annotated. `F` may be 0.
        height: Image height in px.
        width: Image width in px.

    Returns:
        corners: `[F', 4]` float32, `x1, y1, x2, y2` in px, with `x2 = x1 + w`.
        kept: `[F']` int64, the index in `boxes_xywh` of each.

    Note:
        The corners are the official ones: `x2 = x1 + w`, at most `width`, is one pixel past the
        face, but the official training code then treats it as the last pixel, inclusive.

    References:
        Official `lib/datasets/wider.py`, `gt_roidb`, and its `wider_write_csv.m` (rounding).
    """
    boxes = np.asarray(boxes_xywh, np.float64).reshape(-1, 4)
    rounded = np.trunc(boxes + np.copysign(0.5, boxes))
    upper_left = np.maximum(rounded[:, :2], 0)
    lower_right = np.minimum(upper_left + rounded[:, 2:], [width, height])
    kept = np.flatnonzero((lower_right - upper_left >= 1).all(axis=1))
    corners = np.concatenate([upper_left, lower_right], axis=1)[kept]
    return corners.astype(np.float32), kept


def visible_part(boxes_xywh: np.ndarray, height: int, width: int) -> np.ndarray:
    """Cuts boxes at the border of their image.

    `training_corners` moves a box that crosses the left or upper border into the image, as the
    official code does with WIDER FACE's. Elsewhere that would make faces of boxes that lie outside.

    Args:
        boxes_xywh: `[F, 4]`, `x, y, w, h` in px.
        height: Image height in px.
        width: Image width in px.

    Returns:
        `[F, 4]` float64 of the same kind. Boxes that have no pixel in the image, or are fractions
        of it instead of px, have a width or height of at most 0.
    """
    boxes = np.asarray(boxes_xywh, np.float64)
    upper_left = np.maximum(boxes[:, :2], 0)
    lower_right = np.minimum(boxes[:, :2] + boxes[:, 2:], [width, height])
    sizes = np.where(_are_fractions(boxes)[:, np.newaxis], 0, lower_right - upper_left)
    return np.concatenate([upper_left, sizes], axis=1)


def _are_fractions(boxes: np.ndarray) -> np.ndarray:
    """Tells for each of `[F, 4]` boxes whether it lies in a square of 1 px, not on its border."""
    inside = (np.abs(boxes) <= 1).all(axis=1)
    return np.asarray(inside & (boxes % 1 > 0).any(axis=1))


def check_name(name: str, where: str) -> str:
    """Returns the name of an image in normal form.

    Args:
        name: Relative to the images' folder.
        where: Where the name is from, for the error.

    Raises:
        UserError: If it leads out of the folder or has characters that no name should have.
    """
    path = PurePosixPath(name)
    received = f"received {name[:200]!r}"
    if len(name) > _LONGEST_NAME:
        raise UserError(f"{where}: expected the name of an image, {received}... Fix it.")
    if "\0" in name or "\\" in name:
        raise UserError(
            f"{where}: expected an image name with `/` between folders, {received}. Fix it."
        )
    outside = path.is_absolute() or bool(PureWindowsPath(name).drive) or ".." in path.parts
    if outside or not path.parts:
        raise UserError(
            f"{where}: expected an image name that stays inside the images folder, {received}. "
            "Make it relative, without `..`."
        )
    return str(path)


def refuse_fractions(images: Iterable[AnnotatedImage], source: object) -> None:
    """Refuses boxes that are all fractions of their image: such values are not px.

    Args:
        images: Entries whose boxes should be px.
        source: What the annotations are called in the error.

    Raises:
        UserError: If there are boxes and all of them are.
    """
    boxes = [image.boxes for image in images if len(image.boxes)]
    if boxes and _are_fractions(np.concatenate(boxes)).all():
        raise UserError(
            f"{source}: all boxes lie between 0 and 1, so they seem to be fractions of the image. "
            "Expected px. Multiply them by width and height, or use YOLO's format for fractions."
        )


def refuse_duplicates(images: Iterable[AnnotatedImage], source: object) -> None:
    """Refuses entries whose names are equal, or look equal but differ in bytes.

    Raises:
        UserError: Naming both.
    """
    seen: dict[str, AnnotatedImage] = {}
    for image in images:
        first = seen.setdefault(unicodedata.normalize("NFC", image.name), image)
        if first is not image:
            name = ascii(first.name)
            how = "twice" if first.name == image.name else f"beside {name}, which looks the same"
            raise UserError(
                f"{source}: the image {image.name!a} is there {how}. Expected each image once."
            )


def loss_reason(box_xywh: np.ndarray, height: int, width: int) -> str:
    """Says why `training_corners` drops a box.

    Args:
        box_xywh: `[4]`, px as annotated; one that is dropped.
        height: Image height in px.
        width: Image width in px.
    """
    x, y, w, h = box_xywh.tolist()
    if min(w, h) < 0:
        return "its width or height is negative"
    if min(w, h) == 0:
        return "its width or height is 0"
    if _are_fractions(np.array([[x, y, w, h]]))[0]:
        return "it seems to be in fractions of the image, not in px"
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        return f"it lies outside the image of {width} x {height} px"
    return "it is narrower or lower than 1 px in the image"
