"""What one average precision hides: face heights, one threshold, calibration, the worst images.

Every number here comes from the matches that the average precision comes from. Plain NumPy. Must
not import TensorFlow.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from ssh_tf.evaluation.truth import WiderGroundTruth
from ssh_tf.evaluation.wider import FALSE, FOUND, IGNORED, Matches, counted_faces, curve, judge

# Score from which a detection is taken for a face, unless another is asked for.
OPERATING_SCORE = 0.5
WORST_IMAGES = 24

_HEIGHTS = (0, 16, 32, 64, 128, math.inf)  # px
_SCORE_BINS = 10


@dataclass(frozen=True, slots=True)
class Point:
    """What all detections from one score on find.

    Attributes:
        score: The least score that counts; NaN if there is no detection.
        found: Faces found.
        false: Detections of no face, or of one that is found already.
        missed: Faces not found.
    """

    score: float
    found: int
    false: int
    missed: int

    @property
    def precision(self) -> float:
        """Share of the detections that are right; NaN without any."""
        return _ratio(self.found, self.found + self.false)

    @property
    def recall(self) -> float:
        """Share of the faces that are found; NaN without any."""
        return _ratio(self.found, self.found + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN without faces and detections."""
        return _ratio(2 * self.found, 2 * self.found + self.false + self.missed)


@dataclass(frozen=True, slots=True)
class HeightRange:
    """Faces of one range of heights; those of other heights are ignored.

    Attributes:
        name: As in `16-32`, px: at least the first, below the second.
        faces: Number of them.
        ap: Average precision; NaN without faces. A false detection counts by its own height.
        recall: Share found at the operating point.
    """

    name: str
    faces: int
    ap: float
    recall: float


@dataclass(frozen=True, slots=True)
class ScoreRange:
    """Detections of one range of scores.

    Attributes:
        start: Lowest score.
        end: Highest score, exclusive but for 1.
        detections: Number of them, ignored ones left out.
        mean_score: Of these; NaN without any.
        right: Share that found a face; NaN without any.
    """

    start: float
    end: float
    detections: int
    mean_score: float
    right: float


@dataclass(frozen=True, slots=True)
class ImageResult:
    """One image at the operating point.

    Attributes:
        name: `event/stem`.
        score: The operating point.
        found: `[T, 4]` float64, `x, y, w, h` px, right detections.
        false: `[D, 4]`, wrong ones.
        missed: `[F, 4]`, annotated boxes that nothing found.
    """

    name: str
    score: float
    found: np.ndarray
    false: np.ndarray
    missed: np.ndarray

    @property
    def point(self) -> Point:
        """Counts what is found and missed in it."""
        return Point(self.score, len(self.found), len(self.false), len(self.missed))


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The parts of one evaluation.

    Attributes:
        setting: Whose faces count: `all`, or the official setting with the most faces.
        operating_point: At the score that was asked for.
        best_threshold: Where F1 is highest; the highest such score.
        heights: From the smallest faces to the largest.
        reliability: From the lowest scores to the highest; empty if a score is outside `[0, 1]`.
        worst: Images with the most missed faces and false detections, the worst first.
        upright: Whether their boxes are drawn on images turned as their EXIF orientation asks.
    """

    setting: str
    operating_point: Point
    best_threshold: Point
    heights: list[HeightRange]
    reliability: list[ScoreRange]
    worst: list[ImageResult]
    upright: bool = False


def break_down(matches: Matches, truth: WiderGroundTruth, score: float) -> Breakdown:
    """Looks into an evaluation.

    Args:
        matches: Of all detections, see `wider.match`.
        truth: The ground truth they were matched to.
        score: The operating point: detections below it are not shown to a user.

    Raises:
        ValueError: If `score` is not finite.
    """
    if not math.isfinite(score):
        raise ValueError(f"`score` must be finite. Received: {score}")
    counts = {setting: int(counted_faces(truth, setting).sum()) for setting in truth.counted}
    setting = max(counts, key=lambda name: counts[name])
    counted = counted_faces(truth, setting)
    verdicts = judge(matches, counted)
    return Breakdown(
        setting,
        point_at(matches.scores, verdicts, counts[setting], score),
        best_point(matches.scores, verdicts, counts[setting]),
        by_height(matches, verdicts, truth, counted, score),
        reliability(matches.scores, verdicts),
        worst_images(matches, verdicts, truth, counted, score),
        truth.upright,
    )


def point_at(scores: np.ndarray, verdicts: np.ndarray, faces: int, score: float) -> Point:
    """Counts what the detections from `score` on find.

    Args:
        scores: `[D]`.
        verdicts: `[D]`, see `wider.judge`.
        faces: Number of faces that count.
        score: The least score that counts.
    """
    taken = verdicts[scores >= score]
    found = int(np.count_nonzero(taken == FOUND))
    return Point(score, found, int(np.count_nonzero(taken == FALSE)), faces - found)


def best_point(scores: np.ndarray, verdicts: np.ndarray, faces: int) -> Point:
    """Finds the score from which on F1 is highest; arguments are those of `point_at`."""
    judged = verdicts != IGNORED
    if not judged.any():
        return Point(math.nan, 0, 0, faces)
    order = np.argsort(-scores[judged], kind="stable")
    ordered, found = scores[judged][order], np.cumsum(verdicts[judged][order] == FOUND)
    # F1 = 2 found / (detections + faces), where all detections of a score enter at once.
    last = np.flatnonzero(np.diff(ordered, append=-np.inf))
    best = last[np.argmax(found[last] / (last + 1 + faces))]
    return point_at(scores, verdicts, faces, float(ordered[best]))


def by_height(
    matches: Matches,
    verdicts: np.ndarray,
    truth: WiderGroundTruth,
    counted: np.ndarray,
    score: float,
) -> list[HeightRange]:
    """Computes the average precision of faces of each range of heights.

    Args:
        matches: All detections.
        verdicts: `[D]`, see `wider.judge`.
        truth: The annotated faces.
        counted: `[F]` bool, those that count.
        score: Least score for the recall.
    """
    face_heights = _joined(truth.faces)[:, 3]  # [F]
    # A right detection belongs to its face's range, a wrong one to that of its own height.
    heights = matches.boxes[:, 3].copy()  # [D]
    right = verdicts == FOUND
    heights[right] = face_heights[matches.faces[right]]
    ranges = []
    for low, high in itertools.pairwise(_HEIGHTS):
        inside = (heights >= low) & (heights < high)
        faces = int(np.count_nonzero(counted & (face_heights >= low) & (face_heights < high)))
        judged = np.where(inside, verdicts, IGNORED)
        ranges.append(
            HeightRange(
                f"{low}-{high}" if high < math.inf else f"{low}-",
                faces,
                curve(matches.normalized, judged, faces).ap,
                point_at(matches.scores, judged, faces, score).recall,
            )
        )
    return ranges


def reliability(scores: np.ndarray, verdicts: np.ndarray) -> list[ScoreRange]:
    """Compares scores with the share of right detections, in ten ranges of equal width.

    Args:
        scores: `[D]`.
        verdicts: `[D]`, see `wider.judge`.

    Returns:
        The ranges; none if scores are no probabilities.
    """
    judged = verdicts != IGNORED
    scores, right = scores[judged], verdicts[judged] == FOUND
    if len(scores) and not 0 <= scores.min() <= scores.max() <= 1:
        return []
    rows = np.minimum((scores * _SCORE_BINS).astype(np.int64), _SCORE_BINS - 1)  # [D]
    counts = np.bincount(rows, minlength=_SCORE_BINS)  # [10]
    sums = np.bincount(rows, weights=scores, minlength=_SCORE_BINS)
    hits = np.bincount(rows, weights=right, minlength=_SCORE_BINS)
    return [
        ScoreRange(
            row / _SCORE_BINS,
            (row + 1) / _SCORE_BINS,
            int(count),
            _ratio(sums[row], count),
            _ratio(hits[row], count),
        )
        for row, count in enumerate(counts)
    ]


def worst_images(
    matches: Matches,
    verdicts: np.ndarray,
    truth: WiderGroundTruth,
    counted: np.ndarray,
    score: float,
) -> list[ImageResult]:
    """Finds the images with the most mistakes; arguments are those of `by_height`.

    Returns:
        At most `WORST_IMAGES`, none without a mistake; of equals the first in the ground truth.
    """
    taken = matches.scores >= score
    found, false = taken & (verdicts == FOUND), taken & (verdicts == FALSE)
    missed = counted.copy()  # [F]
    missed[matches.faces[found]] = False
    images = len(truth.names)
    owner = np.repeat(np.arange(images), np.array([*map(len, truth.faces)], np.int64))  # [F]
    mistakes = np.bincount(owner[missed], minlength=images)
    mistakes += np.bincount(matches.images[false], minlength=images)
    rows = np.argsort(-mistakes, kind="stable")[:WORST_IMAGES]
    return [
        ImageResult(
            truth.names[row],
            score,
            matches.boxes[found & (matches.images == row)],
            matches.boxes[false & (matches.images == row)],
            _joined(truth.faces)[missed & (owner == row)],
        )
        for row in rows[mistakes[rows] > 0]
    ]


def _joined(faces: list[np.ndarray]) -> np.ndarray:
    """Joins all images' faces: `[F, 4]` float64."""
    return np.concatenate([np.zeros((0, 4)), *faces])


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan
