"""The official WIDER FACE evaluation, to the last bit of its single-precision scores.

Plain NumPy. Must not import TensorFlow.

What the official MATLAB code does and re-implementations often miss:

- boxes of the ground truth are int32, so the IoU is rounded to 0 or 1: a detection matches the
  *first* face in the file with IoU >= 0.5, not the best one;
- scores are normalised by the smallest and the largest of the whole set, in single precision;
- detections are sorted per image, equal scores keeping the file's order;
- a missing or empty result file means no detections, and its faces are missed;
- 0/0 precision is no precision: it takes no part in the average.

References:
    WIDER FACE's `eval_tools` (`wider_eval.m`, `evaluation.m`, `norm_score.m`, `boxoverlap.m`),
    in the official SSH repository as `lib/wider_eval_tools`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssh_tf.data.annotations import ATTRIBUTES, AnnotatedImage
from ssh_tf.data.readers.wider_mat import read_cells, read_mat
from ssh_tf.errors import UserError
from ssh_tf.evaluation.curves import Curve, voc_ap
from ssh_tf.evaluation.detections import image_key
from ssh_tf.files import existing_file, existing_folder

SETTINGS = ("easy", "medium", "hard")
NO_MATCH = -1

# 1 - 0.001, ..., 1 - 1, computed as the official code does.
_THRESHOLDS = 1.0 - np.arange(1, 1001) / 1000
_INT32 = np.iinfo(np.int32)
_TOOL = "the official ground truth wider_{face,easy,medium,hard}_val.mat (WIDER FACE's eval_tools)"


@dataclass(frozen=True)
class WiderGroundTruth:
    """Annotated faces of a set of images, and which of them count in each setting.

    Faces that do not count in a setting are ignored there: a detection that matches one is neither
    right nor wrong.

    Attributes:
        names: `event/stem` of each image.
        faces: Per image `[F, 4]` int32, `x, y, w, h` in px, degenerate boxes included.
        kept: Setting to, per image, the 0-based indices of the faces that count.
    """

    names: list[str]
    faces: list[np.ndarray]
    kept: dict[str, list[np.ndarray]]


def load_ground_truth(folder: Path) -> WiderGroundTruth:
    """Reads the official ground truth of WIDER FACE val.

    Args:
        folder: Holds `wider_face_val.mat` and `wider_{easy,medium,hard}_val.mat`.

    Returns:
        3,226 images; 7,211 faces count in easy, 13,319 in medium, 31,958 in hard.

    Raises:
        UserError: If a file is missing or is not of this form.
    """
    existing_folder(folder, _TOOL)
    path = folder / "wider_face_val.mat"
    everything = _bytes(path)
    stems = read_cells(everything, path, "file_list")
    events = read_mat(everything, path, "event_list").ravel()
    names = [
        f"{event.item()}/{stem.item()}"
        for event, cells in zip(events, stems, strict=True)
        for stem in cells
    ]
    faces = [
        b.astype(np.int32) for cells in read_cells(everything, path, "face_bbx_list") for b in cells
    ]
    kept = {}
    for setting in SETTINGS:
        path = folder / f"wider_{setting}_val.mat"
        events_kept = read_cells(_bytes(path), path, "gt_list")
        # MATLAB counts from 1.
        kept[setting] = [k.ravel().astype(np.int64) - 1 for cells in events_kept for k in cells]
    return WiderGroundTruth(names, faces, kept)


def all_faces(images: Sequence[AnnotatedImage], *, minimum_height: float = 0) -> WiderGroundTruth:
    """Makes a ground truth with the one setting `all` from text annotations.

    For splits without official difficulty settings. Faces flagged invalid, without extent or lower
    than `minimum_height` are ignored.

    Args:
        images: Entries of an annotation file.
        minimum_height: Lowest face that counts, px.

    Returns:
        The images in the same order. An image without faces holds one ignored box of zeros, as in
        WIDER's own files: with it the protocol counts detections there as false positives.
    """
    kept = [_counted_faces(image, minimum_height) for image in images]
    faces = [
        _int32(image.boxes if len(image.boxes) else np.zeros((1, 4))).astype(np.int32)
        for image in images
    ]
    return WiderGroundTruth([image_key(image.name) for image in images], faces, {"all": kept})


def subset(ground_truth: WiderGroundTruth, names: Iterable[str]) -> WiderGroundTruth:
    """Restricts a ground truth to some of its images.

    Args:
        ground_truth: The whole.
        names: `event/stem`, or with an image suffix, in any order.

    Returns:
        The named images in the order of `ground_truth`.

    Raises:
        UserError: If a name is not in `ground_truth`.
    """
    wanted = {image_key(name) for name in names}
    unknown = sorted(wanted.difference(ground_truth.names))
    if unknown:
        raise UserError(
            f"The ground truth has no image {unknown[0]} ({len(unknown)} of {len(wanted)} names "
            "unknown). Use the ground truth of the same split."
        )
    rows = [row for row, name in enumerate(ground_truth.names) if name in wanted]
    return WiderGroundTruth(
        [ground_truth.names[row] for row in rows],
        [ground_truth.faces[row] for row in rows],
        {setting: [kept[row] for row in rows] for setting, kept in ground_truth.kept.items()},
    )


def evaluate(
    detections: Mapping[str, np.ndarray], ground_truth: WiderGroundTruth
) -> dict[str, Curve]:
    """Scores detections by the official protocol.

    Args:
        detections: `event/stem` to `[D, 5]`, `x, y, w, h` in px and a finite score. An image may be
            missing or have none: its faces are missed. Other images are passed over.
        ground_truth: The annotated images.

    Returns:
        Per setting the curve at 1,000 thresholds. AP is 0 without any detection, and NaN where no
        face counts. If all scores are equal, normalising them is 0/0, no detection passes any
        threshold (NaN >= t is false in MATLAB too) and AP is 0.

    Raises:
        UserError: If there are detections, but for none of the ground truth's images.
    """
    _require_common_image(detections, ground_truth.names)
    empty = np.zeros((0, 5))
    tables = [_by_score(detections.get(name, empty)) for name in ground_truth.names]
    scores = _normalise(np.concatenate([empty[:, 4], *(table[:, 4] for table in tables)]))
    # The official code skips images without any box in the ground truth; `_match` of such an image
    # matches nothing, so their detections are taken out here.
    counted = np.repeat([len(faces) > 0 for faces in ground_truth.faces], list(map(len, tables)))
    offsets = np.cumsum([0, *map(len, ground_truth.faces)])
    matches = _match_all(ground_truth.faces, tables, offsets)
    return {
        setting: _curve(scores[counted], matches[counted], _kept_mask(kept, offsets))
        for setting, kept in ground_truth.kept.items()
    }


def _bytes(path: Path) -> bytes:
    return existing_file(path, f"a part of {_TOOL}").read_bytes()


def _counted_faces(image: AnnotatedImage, minimum_height: float) -> np.ndarray:
    width, height = image.boxes[:, 2], image.boxes[:, 3]
    valid = image.attributes[:, ATTRIBUTES.index("invalid")] == 0
    return np.flatnonzero(valid & (width > 0) & (height > 0) & (height >= minimum_height))


def _require_common_image(detections: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
    if detections and detections.keys().isdisjoint(names):
        raise UserError(
            f"None of the {len(detections)} images with detections (first: "
            f"{next(iter(detections))}) is in the ground truth (first: {next(iter(names), 'none')})"
            ". Give the ground truth of the same split."
        )


def _by_score(table: np.ndarray) -> np.ndarray:
    return table[np.argsort(-table[:, 4], kind="stable")]


def _normalise(scores: np.ndarray) -> np.ndarray:
    """Maps all scores to `[0, 1]`, `[D]` float64 holding single-precision values."""
    single = scores.astype(np.float32)
    # Where the official code's running extremes start: it shows if all scores are negative.
    highest = np.max(single, initial=np.finfo(np.float32).tiny)
    lowest = np.min(single, initial=np.finfo(np.float32).max)
    with np.errstate(invalid="ignore"):
        return ((single - lowest) / (highest - lowest)).astype(np.float64)


def _match_all(
    faces: Sequence[np.ndarray], tables: Sequence[np.ndarray], offsets: np.ndarray
) -> np.ndarray:
    """Returns, for all detections, the matched face's index among all faces, or `NO_MATCH`."""
    matches = [np.zeros(0, np.int64)]
    for image_faces, table, offset in zip(faces, tables, offsets[:-1], strict=True):
        match = first_match(image_faces, table[:, :4])
        matches.append(np.where(match == NO_MATCH, NO_MATCH, match + offset))
    return np.concatenate(matches)


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
    return _int32(corners), _int32(sides[:, 0] * sides[:, 1])


def _int32(values: np.ndarray) -> np.ndarray:
    """Rounds as MATLAB's `int32` does, into int64 so that sums and products cannot overflow."""
    rounded: np.ndarray = np.trunc(values + np.copysign(0.5, values))
    return rounded.clip(_INT32.min, _INT32.max).astype(np.int64)


def _kept_mask(kept: Sequence[np.ndarray], offsets: np.ndarray) -> np.ndarray:
    """Returns `[F]` bool over all images' faces."""
    mask = np.zeros(offsets[-1], bool)
    for indices, offset in zip(kept, offsets[:-1], strict=True):
        mask[indices + offset] = True
    return mask


def _curve(scores: np.ndarray, matches: np.ndarray, kept: np.ndarray) -> Curve:
    """Counts found faces and detections above each threshold.

    Args:
        scores: `[D]` normalised, falling within each image.
        matches: `[D]` index of the matched face or `NO_MATCH`.
        kept: `[F]` bool, the faces that count.
    """
    matched = matches != NO_MATCH
    matched_kept = matched.copy()
    matched_kept[matched] = kept[matches[matched]]
    # The first detection of a face finds it; further ones stay as false positives.
    _, first = np.unique(matches[matched_kept], return_index=True)
    found = _count_from(scores[matched_kept][first])
    proposed = _count_from(scores[~matched | matched_kept])
    with np.errstate(invalid="ignore"):
        precision, recall = found / proposed, found / kept.sum()
    return Curve(voc_ap(recall, precision), precision, recall)


def _count_from(scores: np.ndarray) -> np.ndarray:
    """Counts the scores at or above each threshold; NaN is above none. `[1000]`."""
    ordered = np.sort(scores[~np.isnan(scores)])
    return len(ordered) - np.searchsorted(ordered, _THRESHOLDS, side="left")
