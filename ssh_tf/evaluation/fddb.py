"""The official FDDB evaluation: discrete and continuous ROC over all ten folds.

Plain NumPy, SciPy and OpenCV. Must not import TensorFlow.

Annotated faces are ellipses. An overlap is the IoU of two painted pixel masks, clipped at the image
border, so image sizes are needed. Per image and threshold, detections and faces are paired so that
the sum of overlaps is largest; a face is found if its pair overlaps by more than a half (discrete
score), or by its overlap (continuous score). A false positive is a detection without a found face,
in both curves.

References:
    Jain and Learned-Miller, FDDB: A Benchmark for Face Detection in Unconstrained Settings, UMass
    Amherst 2010, and its program `evaluate`.

Note:
    The official program's assignment is now and then not the optimal one; here it always is. On
    known detectors the curves differ by at most one found face.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from ssh_tf.data.annotations import check_name
from ssh_tf.errors import UserError
from ssh_tf.evaluation.curves import CONTINUOUS, DISCRETE, RocCurve
from ssh_tf.evaluation.detections import (
    NumberedLine,
    content_lines,
    parse_count,
    parse_row,
    read_wider,
    refuse_fractions,
)
from ssh_tf.files import existing_file, existing_folder
from ssh_tf.imaging.header import stored_size

_ELLIPSE = ("major_radius", "minor_radius", "angle", "center_x", "center_y")
_RECTANGLE = ("x", "y", "w", "h")
_FOUND = 0.5
_FOLDS = "FDDB's folds, FDDB-fold-NN-ellipseList.txt"
_COORDINATE_LIMIT = 1 << 14  # px; keeps OpenCV's fixed-point drawing from overflowing
_SUFFIX = ".jpg"


def read_ellipses(folder: Path) -> dict[str, np.ndarray]:
    """Reads the annotations of all folds in `folder`, in the folds' order.

    Args:
        folder: Holds `FDDB-fold-NN-ellipseList.txt`, ten of them in the official data.

    Returns:
        Image name such as `2002/08/11/big/img_591` to `[F, 5]` float64: half axes in px, angle of
        the first one to the x axis in radians, center in px.

    Raises:
        UserError: If there is no fold, or a file is malformed.
    """
    paths = sorted(existing_folder(folder, _FOLDS).glob("FDDB-fold-*-ellipseList.txt"))
    if not paths:
        raise UserError(f"{folder} has no FDDB-fold-*-ellipseList.txt. Expected {_FOLDS}.")
    return {
        check_name(name, str(path)): table
        for path in paths
        for name, table in _read_blocks(path, _ELLIPSE).items()
    }


def read_image_sizes(path: Path, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Finds the sizes of images.

    Args:
        path: A text file with lines `name width height`, or FDDB's folder of images, where each is
            `<path>/<name>.jpg`.
        names: The images wanted.

    Returns:
        Name to width and height in px.

    Raises:
        UserError: If an image is not there, or a line is malformed.
    """
    if path.is_dir():
        return {name: _image_size(path / f"{name}{_SUFFIX}") for name in names}
    sizes = {}
    for number, line in content_lines(existing_file(path, "FDDB's image sizes")):
        name, _, rest = line.partition(" ")
        width, height = parse_row(path, number, rest, ("width", "height"))
        sizes[name] = (int(width), int(height))
    missing = next((name for name in names if name not in sizes), None)
    if missing is not None:
        raise UserError(f"{path} has no size of image {missing}. Add `{missing} width height`.")
    return {name: sizes[name] for name in names}


def read_detections(path: Path) -> dict[str, np.ndarray]:
    """Reads detections.

    CRLF, blank lines, Ctrl-Z, a count such as `5.0` and names with `.jpg` are allowed.

    Args:
        path: A folder of result files in WIDER's format, or one text file in FDDB's: per image its
            name, the number of detections, then rows `x y w h score` (rectangles) or
            `major_radius minor_radius angle center_x center_y score` (ellipses).

    Returns:
        Image name to `[D, 5]` (rectangles) or `[D, 6]` (ellipses) float64.

    Raises:
        UserError: If an entry is malformed; the message starts with `file:line`.
    """
    if path.is_dir():
        tables = read_wider(path)
        refuse_fractions(tables.values(), path)
        return tables
    lines = content_lines(existing_file(path, "detections in FDDB's text format"))
    # The first row after a name and a count tells rectangles from ellipses.
    is_ellipse = any(len(line.split()) == len(_ELLIPSE) + 1 for _, line in lines)
    region = _ELLIPSE if is_ellipse else _RECTANGLE
    return _read_blocks(path, (*region, "score"))


def evaluate(
    detections: Mapping[str, np.ndarray],
    ellipses: Mapping[str, np.ndarray],
    sizes: Mapping[str, tuple[int, int]],
) -> dict[str, RocCurve]:
    """Scores detections by the official protocol.

    Args:
        detections: Image name to `[D, 5]` rectangles or `[D, 6]` ellipses, as `read_detections`
            returns them. An image without detections must be present, with `D` 0.
        ellipses: Image name to its annotated faces, `[F, 5]`.
        sizes: Image name to width and height, px.

    Returns:
        The `discrete` and the `continuous` curve: one point per distinct score, and an empty first
        one if some image has no detection, as the official program has it.

    Raises:
        UserError: If an annotated image has no entry in `detections`, or there is no face.
    """
    _require_all(detections, ellipses)
    faces = sum(map(len, ellipses.values()))
    steps = [
        image_steps(
            detections[name][:, -1], overlaps(regions, detections[name][:, :-1], sizes[name])
        )
        for name, regions in ellipses.items()
    ]
    points = _pool(np.concatenate(steps), has_empty=any(not len(step) for step in steps))
    thresholds, detected, found, overlap = points.T
    return {
        name: RocCurve(detected - found, positives / faces, thresholds)
        for name, positives in ((DISCRETE, found), (CONTINUOUS, overlap))
    }


def overlaps(ellipses: np.ndarray, regions: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Computes the IoU of annotated and detected pixel masks.

    Args:
        ellipses: `[F, 5]`.
        regions: `[D, 4]` rectangles or `[D, 5]` ellipses.
        size: The image's width and height, px.

    Returns:
        `[F, D]` float64; 0 where both masks lie outside of the image.
    """
    width, height = size
    paint = ellipse_mask if regions.shape[1] == len(_ELLIPSE) else rectangle_mask
    masks = [ellipse_mask(row, width, height) for row in ellipses]
    faces = np.array(masks, np.float32).reshape(-1, height, width)
    areas = faces.sum(axis=(1, 2))
    iou = np.zeros((len(ellipses), len(regions)))
    # One mask at a time: an image may have thousands of detections.
    for column, region in enumerate(regions):
        x, y, w, h = cv2.boundingRect(mask := paint(region, width, height))  # all else is zeros
        mask = mask[y : y + h, x : x + w].astype(np.float32)
        # Counts of pixels are exact in float32 up to 16 million.
        inter = np.tensordot(faces[:, y : y + h, x : x + w], mask)  # [F]
        union = areas + mask.sum() - inter
        np.divide(inter, union, out=iou[:, column], where=union > 0, dtype=np.float64)
    return iou


def rectangle_mask(rectangle: np.ndarray, width: int, height: int) -> np.ndarray:
    """Paints `x, y, w, h` into `[height, width]` uint8, both corners included."""
    x, y, w, h = rectangle
    mask = np.zeros((height, width), np.uint8)
    cv2.rectangle(mask, (_pixel(x), _pixel(y)), (_pixel(x + w), _pixel(y + h)), 1, cv2.FILLED)
    return mask


def ellipse_mask(ellipse: np.ndarray, width: int, height: int) -> np.ndarray:
    """Paints an ellipse into `[height, width]` uint8: whole half axes, whole degrees."""
    major, minor, angle, x, y = ellipse
    mask = np.zeros((height, width), np.uint8)
    axes = (abs(int(major)), abs(int(minor)))
    degrees = _pixel(np.degrees(angle))
    cv2.ellipse(mask, (_pixel(x), _pixel(y)), axes, degrees, 0, 360, 1, cv2.FILLED)
    return mask


def image_steps(scores: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """Computes what one image adds to the curves as the threshold falls.

    Args:
        scores: `[D]` of the detections.
        iou: `[F, D]` overlaps.

    Returns:
        `[S, 4]` float64, one row per distinct score, falling: the score, then the changes in the
        number of detections, in found faces, and in the sum of overlaps.
    """
    thresholds = np.unique(scores)[::-1]
    totals = np.zeros((len(thresholds) + 1, 3))
    touches = iou.any(axis=0)
    solved = 0
    for index, threshold in enumerate(thresholds, 1):
        above = scores >= threshold
        useful = above & touches
        totals[index] = totals[index - 1]
        # A detection that touches no face cannot change the assignment.
        if useful.sum() > solved:
            solved = useful.sum()
            totals[index, 1:] = _assign(iou[:, useful])
        totals[index, 0] = above.sum()
    return np.column_stack([thresholds, np.diff(totals, axis=0)])


def _assign(iou: np.ndarray) -> tuple[float, float]:
    """Pairs faces and detections one to one for the largest sum; returns found faces and it."""
    paired = iou[linear_sum_assignment(iou, maximize=True)]
    return float(np.count_nonzero(paired > _FOUND)), float(paired.sum())


def _pool(steps: np.ndarray, *, has_empty: bool) -> np.ndarray:
    """Sums all images' steps; returns `[T, 4]`, one row per distinct score, falling."""
    ordered = steps[np.argsort(-steps[:, 0], kind="stable")]
    totals = np.column_stack([ordered[:, 0], np.cumsum(ordered[:, 1:], axis=0)])
    # A score's last row holds the sum over all images.
    last = np.flatnonzero(np.diff(ordered[:, 0], append=-np.inf))
    start = np.array([[np.finfo(np.float64).max, 0, 0, 0]])
    return np.concatenate([start[: int(has_empty)], totals[last]])


def _pixel(value: float) -> int:
    # The official program stores coordinates in single precision; halves go to the even pixel.
    rounded = np.rint(np.float32(value))
    return int(np.clip(rounded, -_COORDINATE_LIMIT, _COORDINATE_LIMIT))


def _image_size(path: Path) -> tuple[int, int]:
    size = stored_size(existing_file(path, "an FDDB image").read_bytes())
    if size is None:
        raise UserError(f"{path} is not a readable image. Unpack FDDB's images again.")
    height, width = size
    return width, height


def _require_all(detections: Mapping[str, np.ndarray], ellipses: Mapping[str, np.ndarray]) -> None:
    missing = [name for name in ellipses if name not in detections]
    if missing:
        raise UserError(
            f"No detections of image {missing[0]} ({len(missing)} of {len(ellipses)} images "
            "missing). Write each image, with count 0 where nothing is found."
        )
    if not any(map(len, ellipses.values())):
        raise UserError("The FDDB annotations have no face. Use the official folds.")


def _read_blocks(path: Path, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads entries of a name, a count and rows; returns name to `[N, len(columns)]`."""
    lines = content_lines(path)
    blocks = {}
    at = 0
    while at < len(lines):
        name = lines[at][1].removesuffix(_SUFFIX)
        end = at + 2 + _block_length(path, lines, at)
        rows = [parse_row(path, *line, columns) for line in lines[at + 2 : end]]
        blocks[name] = np.array(rows).reshape(-1, len(columns))
        at = end
    return blocks


def _block_length(path: Path, lines: Sequence[NumberedLine], at: int) -> int:
    """Returns the number of rows of the entry that starts at `lines[at]`."""
    left = len(lines) - at - 2
    count = parse_count(path, *lines[at + 1]) if left >= 0 else 0
    if left < count or left < 0:
        number, text = lines[-1]
        raise UserError(
            f"{path}:{number}: expected more rows after {text[:80]!r}, received the end of the file"
            ". Complete the file."
        )
    return count
