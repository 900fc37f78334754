"""What every reader of annotations yields: an image's name, its boxes and their attributes.

Also the official rule that makes training boxes of annotated ones. No TensorFlow here.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

import numpy as np

from ssh_tf.errors import UserError

ATTRIBUTES = ("blur", "expression", "illumination", "invalid", "occlusion", "pose")


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """One image's entry in an annotation file.

    Attributes:
        name: Path relative to the images folder with `/`, as in `0--Parade/0_Parade_0_102.jpg`.
        boxes: `[F, 4]` float32, `x, y, w, h` in px as annotated: sizes may be 0 or negative and
            boxes may cross the border. `F` may be 0.
        attributes: `[F, 6]` int64 in `ATTRIBUTES` order; 0 where the file has none.
    """

    name: str
    boxes: np.ndarray
    attributes: np.ndarray


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


def check_name(name: str, where: str) -> str:
    """Returns the name of an image in normal form.

    Args:
        name: Relative to the images' folder.
        where: Where it stands, for the error.

    Raises:
        UserError: If it leads out of the folder or has characters that no name should have.
    """
    path = PurePosixPath(name)
    if "\0" in name or "\\" in name:
        raise UserError(
            f"{where}: expected an image name with `/` between folders, received {name!r}. Mend it."
        )
    outside = path.is_absolute() or bool(PureWindowsPath(name).drive) or ".." in path.parts
    if outside or not path.parts:
        raise UserError(
            f"{where}: expected an image name that stays inside the images folder, received "
            f"{name!r}. Make it relative, without `..`."
        )
    return str(path)
