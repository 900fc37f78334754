"""The official WIDER FACE evaluation, to the last bit of its single-precision scores.

Plain NumPy. Must not import TensorFlow.

What the official MATLAB code does and re-implementations often miss:

- boxes of the ground truth are int32, so the IoU is rounded to 0 or 1: a detection matches the
  *first* face in the file with IoU >= 0.5, not the best one;
- scores are normalized by the smallest and the largest of the whole set, in single precision;
- detections are sorted per image, equal scores keeping the file's order;
- a missing or empty result file means no detections, and its faces are missed;
- 0/0 precision is no precision: it takes no part in the average.

References:
    WIDER FACE's `eval_tools` (`wider_eval.m`, `evaluation.m`, `norm_score.m`, `boxoverlap.m`),
    in the official SSH repository as `lib/wider_eval_tools`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ssh_tf.errors import UserError
from ssh_tf.evaluation.curves import Curve, voc_ap
from ssh_tf.evaluation.truth import WiderGroundTruth, to_int32

NO_MATCH = -1
# What a detection is in one setting.
FOUND, FALSE, IGNORED = 1, 0, -1

# 1 - 0.001, ..., 1 - 1, computed as the official code does.
_THRESHOLDS = 1.0 - np.arange(1, 1001) / 1000


@dataclass(frozen=True, slots=True)
class Matches:
    """All detections on the images of a ground truth, in its order, by falling score in an image.

    Attributes:
        images: `[D]` int64, the image's row in the ground truth.
        boxes: `[D, 4]` float64, `x, y, w, h` in px.
        scores: `[D]` float64, as the detector gave them.
        normalized: `[D]` float64, the scores by which the protocol ranks.
        faces: `[D]` int64, index of the matched face among the faces of all images, or `NO_MATCH`.
    """

    images: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    normalized: np.ndarray
    faces: np.ndarray


def evaluate(
    detections: Mapping[str, np.ndarray], ground_truth: WiderGroundTruth
) -> dict[str, Curve]:
    """Scores detections by the official protocol.

    Args:
        detections: `event/stem` to `[D, 5]`, `x, y, w, h` in px and a finite score. An image may be
            missing or have none: its faces are missed. Other images are ignored.
        ground_truth: The annotated images.

    Returns:
        Per setting the curve at 1,000 thresholds. AP is 0 without any detection, and NaN where no
        face counts. If all scores are equal, normalizing them is 0/0, no detection passes any
        threshold (NaN >= t is false in MATLAB too) and AP is 0.

    Raises:
        UserError: If there are detections, but for none of the ground truth's images.
    """
    matches = match(detections, ground_truth)
    return curves(matches, ground_truth)


def curves(matches: Matches, ground_truth: WiderGroundTruth) -> dict[str, Curve]:
    """Returns setting to curve, as `evaluate` does, of detections that are matched already."""
    found = {}
    for setting in ground_truth.counted:
        counted = counted_faces(ground_truth, setting)
        found[setting] = curve(matches.normalized, judge(matches, counted), int(counted.sum()))
    return found


def match(detections: Mapping[str, np.ndarray], ground_truth: WiderGroundTruth) -> Matches:
    """Finds each detection's face; arguments and errors are those of `evaluate`."""
    _require_common_image(detections, ground_truth.names)
    empty = np.zeros((0, 5))
    tables = [_by_score(detections.get(name, empty)) for name in ground_truth.names]
    joined = np.concatenate([empty, *tables])  # [D, 5]
    images = np.repeat(np.arange(len(tables)), np.array([*map(len, tables)], np.int64))  # [D]
    normalized = _normalize(joined[:, 4])  # over all images, also those skipped below
    faces = _match_all(ground_truth.faces, tables)
    # The official code skips images without any box in the ground truth.
    has_faces = np.array([len(boxes) > 0 for boxes in ground_truth.faces], bool)
    scored = has_faces[images]
    return Matches(
        images[scored], joined[scored, :4], joined[scored, 4], normalized[scored], faces[scored]
    )


def counted_faces(ground_truth: WiderGroundTruth, setting: str) -> np.ndarray:
    """Tells which faces count in a setting: `[F]` bool over all images' faces."""
    offsets = np.cumsum([0, *map(len, ground_truth.faces)])
    counted = np.zeros(offsets[-1], bool)
    for indices, offset in zip(ground_truth.counted[setting], offsets[:-1], strict=True):
        counted[indices + offset] = True
    return counted


def judge(matches: Matches, counted: np.ndarray) -> np.ndarray:
    """Tells right detections from wrong ones.

    Args:
        matches: All detections.
        counted: `[F]` bool, the faces that count.

    Returns:
        `[D]` int64: `FOUND` for the first detection of a face that counts, `FALSE` for further ones
        of it and for those of no face, `IGNORED` for those of a face that does not count.
    """
    matched = matches.faces != NO_MATCH
    right = matched.copy()
    right[matched] = counted[matches.faces[matched]]
    verdicts = np.where(matched & ~right, IGNORED, FALSE)
    candidates = np.flatnonzero(right)
    # Detections of an image fall in score, so the first one of a face is its best.
    _, first = np.unique(matches.faces[candidates], return_index=True)
    verdicts[candidates[first]] = FOUND
    return verdicts


def curve(normalized: np.ndarray, verdicts: np.ndarray, faces: int) -> Curve:
    """Counts found faces and detections above each of the protocol's 1,000 thresholds.

    Args:
        normalized: `[D]` scores in `[0, 1]`.
        verdicts: `[D]`, see `judge`.
        faces: Number of faces that count.
    """
    found = _count_from(normalized[verdicts == FOUND])  # [1000]
    proposed = _count_from(normalized[verdicts != IGNORED])  # [1000]
    with np.errstate(invalid="ignore"):
        precision, recall = found / proposed, found / np.float64(faces)
    return Curve(voc_ap(recall, precision), precision, recall)


def _require_common_image(detections: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
    if detections and detections.keys().isdisjoint(names):
        raise UserError(
            f"None of the {len(detections)} images with detections (first: "
            f"{next(iter(detections))}) is in the ground truth (first: {next(iter(names), 'none')})"
            ". Give the ground truth of the same split."
        )


def _by_score(table: np.ndarray) -> np.ndarray:
    return table[np.argsort(-table[:, 4], kind="stable")]


def _normalize(scores: np.ndarray) -> np.ndarray:
    """Maps all scores to `[0, 1]`, `[D]` float64 holding single-precision values."""
    single = scores.astype(np.float32)
    # Where the official code's running extremes start: it shows if all scores are negative.
    highest = np.max(single, initial=np.finfo(np.float32).tiny)
    lowest = np.min(single, initial=np.finfo(np.float32).max)
    with np.errstate(invalid="ignore"):
        return ((single - lowest) / (highest - lowest)).astype(np.float64)


def _match_all(faces: Sequence[np.ndarray], tables: Sequence[np.ndarray]) -> np.ndarray:
    """Returns, for all detections, the matched face's index among all faces, or `NO_MATCH`."""
    found = [np.zeros(0, np.int64)]
    offset = 0
    for image_faces, table in zip(faces, tables, strict=True):
        local = first_match(image_faces, table[:, :4])
        found.append(np.where(local == NO_MATCH, NO_MATCH, local + offset))
        offset += len(image_faces)
    return np.concatenate(found)


def first_match(faces: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Finds the first face, in the ground truth's order, that each box overlaps by half.

    Widths and areas count inclusive pixels (+1). Coordinates and areas are rounded to int32, halves
    away from zero, where the official code mixes them with the ground truth's int32.

    Args:
        faces: `[F, 4]` int32, `x, y, w, h` in px. `F` may be 0.
        boxes: `[D, 4]`, `x, y, w, h` in px. `D` may be 0.

    Returns:
        `[D]` int64, an index in `faces` or `NO_MATCH`.

    References:
        Official `boxoverlap.m` and `evaluation.m`.
    """
    if not len(faces) or not len(boxes):
        return np.full(len(boxes), NO_MATCH, np.int64)
    face_corners, face_area = _corners_and_area(faces.astype(np.float64))
    corners, area = _corners_and_area(boxes.astype(np.float64))
    x1, y1, x2, y2 = corners.T[:, :, None]
    face_x1, face_y1, face_x2, face_y2 = face_corners.T[:, None, :]
    width = np.minimum(x2, face_x2) - np.maximum(x1, face_x1) + 1  # [D, F]
    height = np.minimum(y2, face_y2) - np.maximum(y1, face_y1) + 1  # [D, F]
    inter = width * height
    # Rounded inter / union is 1 from a half on.
    overlaps = (width > 0) & (height > 0) & (3 * inter >= area[:, None] + face_area)
    return np.where(overlaps.any(axis=1), overlaps.argmax(axis=1), NO_MATCH)


def _corners_and_area(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Converts `x, y, w, h` to rounded corners `[N, 4]` and inclusive areas `[N]`, int64."""
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    sides = corners[:, 2:] - corners[:, :2] + 1
    return to_int32(corners), to_int32(sides[:, 0] * sides[:, 1])


def _count_from(scores: np.ndarray) -> np.ndarray:
    """Counts the scores at or above each threshold; NaN is above none. `[1000]`."""
    ordered = np.sort(scores[~np.isnan(scores)])
    return len(ordered) - np.searchsorted(ordered, _THRESHOLDS, side="left")
