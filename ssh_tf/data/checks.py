"""What an image and its boxes have to be before they enter a data set."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import tensorflow as tf

from ssh_tf.config import MAX_PIXELS
from ssh_tf.data.annotations import AnnotatedImage, loss_reason, training_corners, visible_part
from ssh_tf.data.records import to_example
from ssh_tf.data.sources import Source
from ssh_tf.errors import UserError
from ssh_tf.imaging.decoder import decode_bytes
from ssh_tf.imaging.header import (
    JPEG_START,
    PNG_SIGNATURE,
    UPRIGHT,
    orientation,
    stored_size,
    turned_size,
)
from ssh_tf.imaging.orientation import upright_boxes_graph

Verify = Literal["none", "header", "full"]
OnError = Literal["fail", "skip"]
Size = tuple[int, int]

# The turn that undoes another: a quarter to the right one to the left; all others undo themselves.
_UNDO = {6: 8, 8: 6}
# So many px a box may cross the border and still be said to lie in the image.
_SLACK_PX = 2


@dataclass(frozen=True)
class Checks:
    """What happens to images before they are stored.

    Attributes:
        verify: `full` decodes every image to prove that it is whole; `header` reads its header and
            looks for its end; `none` reads the header alone, which has the size.
        on_error: What a broken or missing image does: `fail` stops the build, `skip` leaves it out
            and names it in the manifest.
        allow_lost: Whether a build goes on though more than 1 % of the annotated boxes have no
            pixel in their image. With data that follows WIDER FACE it does, as officially.
    """

    verify: Verify = "full"
    on_error: OnError = "fail"
    allow_lost: bool = False


FULL_CHECKS = Checks()


@dataclass(frozen=True)
class Checked:
    """One image: its example, or why it is left out.

    Attributes:
        name: Of the image.
        example: The serialized example.
        faces: Boxes in it.
        annotated: Boxes that the annotations have.
        reason: Why the image is left out; empty if it is not.
        lost: The boxes that are not in the example, each with its place and the reason.
    """

    name: str
    example: bytes = b""
    faces: int = 0
    annotated: int = 0
    reason: str = ""
    lost: tuple[str, ...] = ()


def check_image(source: Source, checks: Checks, entry: AnnotatedImage) -> Checked:
    """Reads, checks and serializes one image.

    Raises:
        UserError: If it can't be used and `checks.on_error` is `fail`.
    """
    try:
        return _check(source, checks.verify, entry)
    except UserError as error:
        if checks.on_error == "fail":
            raise
        return Checked(entry.name, reason=str(error), annotated=len(entry.boxes))


def _check(source: Source, verify: Verify, entry: AnnotatedImage) -> Checked:
    path = source.images.describe(entry.name)
    if source.images.size(entry.name) is None:
        raise UserError(f"{path} does not exist.")
    encoded = source.images.read(entry.name)
    size = checked_size(encoded, path, verify=verify)
    turn = UPRIGHT if source.boxes_on is None else orientation(encoded)
    drawn_on = turned_size(size, turn) if source.boxes_on == "upright" else size
    _refuse_other_size(entry, drawn_on, path)
    if turn != UPRIGHT:
        _refuse_other_orientation(entry, drawn_on, path)
    # The official rule for boxes that cross the border is for WIDER's alone.
    boxes = entry.boxes if source.boxes_on is None else visible_part(entry.boxes, *drawn_on)
    corners, kept = training_corners(boxes, *drawn_on)
    if source.boxes_on == "upright":
        corners = _stored(corners, drawn_on, turn)
    example = to_example(
        encoded,
        name=entry.name,
        size=size,
        corners=corners,
        attributes=entry.attributes[kept],
        annotated=len(entry.boxes),
        orientation=turn,
    )
    lost = np.setdiff1d(np.arange(len(entry.boxes)), kept)
    reasons = tuple(f"{entry.place(i)}: {loss_reason(entry.boxes[i], *drawn_on)}" for i in lost)
    return Checked(entry.name, example, len(kept), len(entry.boxes), lost=reasons)


def _stored(corners: np.ndarray, size: Size, turn: int) -> np.ndarray:
    """Moves corners from the upright image, of this size, to the stored pixels."""
    if turn == UPRIGHT:
        return corners
    undo = tf.constant(_UNDO.get(turn, turn))
    return np.asarray(upright_boxes_graph(tf.constant(corners), tf.constant(size), undo))


def _refuse_other_size(entry: AnnotatedImage, size: Size, path: str) -> None:
    """Refuses boxes that were drawn on a larger or smaller copy of the image, or on its side."""
    if entry.declared_size in (None, size):
        return
    height, width = entry.declared_size or size
    if (width, height) == size:
        _refuse_orientation(path)
    raise UserError(
        f"{path} has {size[1]} x {size[0]} px, but its annotations say {width} x {height} px: they "
        "are of another size of it. Fetch the image that was annotated."
    )


def _refuse_other_orientation(entry: AnnotatedImage, size: Size, path: str) -> None:
    """Refuses boxes that fit the image only if it is on its side."""
    height, width = size
    centers = entry.boxes[:, :2] + entry.boxes[:, 2:] / 2  # [F, 2] x, y
    ends = entry.boxes[:, :2] + entry.boxes[:, 2:]
    outside = (centers >= [width, height]).any()
    fits_turned = (ends <= np.array([height, width]) + _SLACK_PX).all()
    if outside and fits_turned:
        _refuse_orientation(path)


def _refuse_orientation(path: str) -> None:
    raise UserError(
        f"{path} is turned by its EXIF orientation, and its boxes fit only the other way round. "
        "Say whether boxes are drawn on the upright or on the stored pixels (boxes_on)."
    )


def checked_size(encoded: bytes, path: str, *, verify: Verify = "full") -> Size:
    """Checks an image and returns its size.

    Args:
        encoded: The file's bytes.
        path: Its name, for the error.
        verify: See `Checks`.

    Returns:
        Height and width of the stored pixels, px.

    Raises:
        UserError: If the bytes are not a JPEG or PNG of at most `MAX_PIXELS`, or not a whole one as
            far as `verify` looks.
    """
    jpeg = encoded.startswith(JPEG_START)
    if not jpeg and not encoded.startswith(PNG_SIGNATURE):
        raise UserError(f"{path} is neither JPEG nor PNG (it begins with {encoded[:8]!r}).")
    size = stored_size(encoded)
    if size is None:
        raise UserError(f"{path} is truncated or corrupt (its header ends early). Fetch it again.")
    height, width = size
    if min(size) < 1:
        raise UserError(f"{path} is corrupt (its header says {width} x {height} px).")
    if height * width > MAX_PIXELS:
        raise UserError(
            f"{path} has {width} x {height} px, more than {MAX_PIXELS:,}. Scale it down."
        )
    # Some cameras write more after a JPEG's end.
    if verify == "header" and (b"\xff\xd9" if jpeg else b"IEND") not in encoded[-4096:]:
        raise UserError(f"{path} is truncated (it has no end marker). Fetch it again.")
    if verify == "full":
        _decode(encoded, path, size)
    return size


def _decode(encoded: bytes, path: str, size: Size) -> None:
    try:
        shape = tuple(decode_bytes(encoded).shape[:2])
    except tf.errors.OpError as error:
        # Without the names of the operation that TensorFlow puts around it.
        reason = error.message.split("}} ")[-1].split(" [Op:")[0].split("\n")[0]
        raise UserError(f"{path} is truncated or corrupt ({reason}). Fetch it again.") from error
    if shape != size:
        raise UserError(f"{path} is corrupt (its header and its pixels differ in size).")
