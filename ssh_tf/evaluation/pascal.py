"""The evaluation of Pascal Faces and AFW by the rules of `face-eval`.

Plain NumPy. Must not import TensorFlow.

Detectors place their boxes differently around a face, so the published figures come after a box
refinement: one shift and one scale for all boxes of a detector, fitted to its own correct boxes on
the test set, in five rounds of matching. It is worth several points of average precision; one
round is the plain evaluation without it.

References:
    Mathias et al., Face Detection without Bells and Whistles, ECCV 2014, and its `face-eval`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ssh_tf.evaluation.curves import Curve, voc_ap
from ssh_tf.evaluation.face_eval import AnnotatedFaces, ResultTable

FALSE_POSITIVE, TRUE_POSITIVE, DROPPED = 0, 1, -1
PUBLISHED_ROUNDS = 5

_MINIMUM_DETECTION_SIDE = 21  # px; floor(sqrt(IoU threshold * 30 * 30))
_IOU = 0.5
# face-eval matches one detector's boxes from a lower overlap on.
_IOU_OF = {"picasa": 0.1}
_UNREFINED = np.array([0.0, 0.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True)
class PascalResult:
    """What `evaluate` found; `D` is the number of detections large enough to count.

    Attributes:
        curve: After the last round. One point per detection.
        labels: `[D]` int64 by falling score: `TRUE_POSITIVE`, `FALSE_POSITIVE` or `DROPPED`.
        refinements: `[rounds, 4]` float64, the shift (in widths and heights) and the scale of the
            boxes that each round's matches suggest. The last is not applied.
    """

    curve: Curve
    labels: np.ndarray
    refinements: np.ndarray


def evaluate(
    detections: ResultTable,
    annotations: Mapping[str, AnnotatedFaces],
    *,
    rounds: int = PUBLISHED_ROUNDS,
    minimum_iou: float = _IOU,
) -> PascalResult:
    """Scores detections.

    Args:
        detections: May be none. Boxes with no side above 21 px are left out.
        annotations: The annotated images. A detection on another image is a false positive.
        rounds: Rounds of matching; boxes move between them. 1 leaves them as they are.
        minimum_iou: A face is found from more than this overlap on, see `iou_of`.

    Returns:
        The result of the last round. AP is 0 without detections, and NaN where no face counts.
    """
    detections = _by_score(_large_enough(detections))
    boxes = detections.boxes
    refinements: list[np.ndarray] = []
    for index in range(rounds):
        boxes = boxes if index == 0 else refine(boxes, refinements[-1])
        labels, matched = _match(detections.images, boxes, annotations, minimum_iou)
        found = labels == TRUE_POSITIVE
        refinements.append(_fit(boxes[found], matched[found]))
    positives = sum(int(np.count_nonzero(~faces.ignored)) for faces in annotations.values())
    return PascalResult(_curve(labels, positives), labels, np.array(refinements))


def iou_of(method: str) -> float:
    """Returns the overlap from which face-eval matches a method's boxes, whatever its case."""
    return _IOU_OF.get(method.lower(), _IOU)


def inclusive_iou(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """Computes the IoU of inclusive boxes, `[N, 4]` and `[M, 4]`, as `[N, M]`.

    As face-eval does: boxes that share a single row or column of pixels do not overlap.
    """
    upper_left = np.maximum(boxes_a[:, None, :2], boxes_b[None, :, :2])
    lower_right = np.minimum(boxes_a[:, None, 2:], boxes_b[None, :, 2:])
    extent = lower_right - upper_left  # [N, M, 2]
    inter = np.where((extent > 0).all(axis=2), (extent + 1).prod(axis=2), 0.0)
    return np.asarray(inter / (_area(boxes_a)[:, None] + _area(boxes_b)[None, :] - inter))


def refine(boxes: np.ndarray, refinement: np.ndarray) -> np.ndarray:
    """Moves the centers of `[D, 4]` boxes by `tx` widths and `ty` heights, scales sides by `s`.

    Args:
        boxes: `x1, y1, x2, y2` in px; sides are plain differences.
        refinement: `[4]`, `tx, ty, sx, sy`.
    """
    center, size = _center_size(boxes)
    center = center + refinement[:2] * size
    half = size * refinement[2:] / 2
    return np.concatenate([center - half, center + half], axis=1)


def _take(detections: ResultTable, rows: np.ndarray) -> ResultTable:
    images = [detections.images[row] for row in rows]
    return ResultTable(images, detections.scores[rows], detections.boxes[rows])


def _large_enough(detections: ResultTable) -> ResultTable:
    sides = detections.boxes[:, 2:] - detections.boxes[:, :2]
    # Either side suffices.
    return _take(detections, np.flatnonzero((sides > _MINIMUM_DETECTION_SIDE).any(axis=1)))


def _by_score(detections: ResultTable) -> ResultTable:
    return _take(detections, np.argsort(-detections.scores, kind="stable"))


def _match(
    images: list[str],
    boxes: np.ndarray,
    annotations: Mapping[str, AnnotatedFaces],
    minimum_iou: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels detections that are sorted by score.

    Returns:
        labels: `[D]` int64.
        matched: `[D, 4]`, the matched face's box; zeros for false positives.
    """
    labels = np.full(len(boxes), FALSE_POSITIVE)
    matched = np.zeros((len(boxes), 4))
    rows: dict[str, list[int]] = {}
    for row, image in enumerate(images):
        rows.setdefault(image, []).append(row)
    for image in rows.keys() & annotations.keys():
        labels[rows[image]], matched[rows[image]] = _match_image(
            boxes[rows[image]], annotations[image], minimum_iou
        )
    return labels, matched


def _match_image(
    boxes: np.ndarray, faces: AnnotatedFaces, minimum_iou: float
) -> tuple[np.ndarray, np.ndarray]:
    labels = np.full(len(boxes), FALSE_POSITIVE)
    matched = np.zeros((len(boxes), 4))
    if len(faces.boxes):
        iou = inclusive_iou(boxes, faces.boxes)
        # Of equal overlaps the last face wins.
        best = iou.shape[1] - 1 - iou[:, ::-1].argmax(axis=1)
        overlaps = iou.max(axis=1) > minimum_iou
        labels[overlaps & faces.ignored[best]] = DROPPED
        candidates = np.flatnonzero(overlaps & ~faces.ignored[best])
        # Only the first detection of a face finds it; no second-best face is tried.
        _, first = np.unique(best[candidates], return_index=True)
        labels[candidates[first]] = TRUE_POSITIVE
        matched[overlaps] = faces.boxes[best[overlaps]]
    return labels, matched


def _fit(boxes: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Returns the mean shift and scale, `[4]`, that take `[D, 4]` boxes to their faces."""
    if not len(boxes):
        return _UNREFINED
    center, size = _center_size(boxes)
    face_center, face_size = _center_size(faces)
    steps = np.concatenate([(face_center - center) / size, face_size / size], axis=1)
    return np.asarray(steps.mean(axis=0))


def _center_size(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.asarray((np.abs(boxes[:, 2:] - boxes[:, :2]) + 1).prod(axis=1))


def _curve(labels: np.ndarray, positives: int) -> Curve:
    found = np.cumsum(labels == TRUE_POSITIVE)
    wrong = np.cumsum(labels == FALSE_POSITIVE)
    # 0/0 while only dropped detections have come.
    with np.errstate(invalid="ignore"):
        precision, recall = found / (found + wrong), found / np.float64(positives)
    return Curve(voc_ap(recall, precision), precision, recall)
