"""Ground truth by WIDER's rules: the official `.mat` files, or text annotations.

Must not import TensorFlow.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ssh_tf.data.annotations import ATTRIBUTES, AnnotatedImage
from ssh_tf.data.image_files import list_files
from ssh_tf.data.readers.wider_mat import read_cells, read_mat
from ssh_tf.data.sources import BoxesOn, open_annotations
from ssh_tf.errors import UserError
from ssh_tf.evaluation.detections import image_key
from ssh_tf.files import existing_file, existing_folder

SETTINGS = ("easy", "medium", "hard")
ALL = "all"

_INT32 = np.iinfo(np.int32)
_TOOL = "the official ground truth wider_{face,easy,medium,hard}_val.mat (WIDER FACE's eval_tools)"
# WIDER's own entry of an image without a face.
_NO_FACE = np.zeros((1, 4))


@dataclass(frozen=True)
class WiderGroundTruth:
    """Annotated faces of a set of images, and which of them count in each setting.

    Faces that do not count in a setting are ignored there: a detection that matches one is neither
    right nor wrong.

    Attributes:
        names: `event/stem` of each image.
        faces: Per image `[F, 4]` int32, `x, y, w, h` in px, degenerate boxes included.
        counted: Setting to, per image, the 0-based indices of the faces that count.
        upright: Whether boxes are drawn on images turned as their EXIF orientation asks.
    """

    names: list[str]
    faces: list[np.ndarray]
    counted: dict[str, list[np.ndarray]]
    upright: bool = False


def read_truth(
    path: Path, images: Path | None = None, *, boxes_on: BoxesOn = "upright"
) -> WiderGroundTruth:
    """Reads a ground truth in whatever form it is.

    Args:
        path: Folder with the official `wider_{face,easy,medium,hard}_val.mat`, or annotations in
            any form of `data.sources.open_annotations`, all faces of which count.
        images: Folder of the images; YOLO needs it, as its boxes are fractions of them.
        boxes_on: Whether boxes of other forms than WIDER's are drawn on images as they are stored
            or turned upright by their EXIF orientation.

    Raises:
        UserError: If it is neither, or malformed.
    """
    if is_official(path):
        return load_ground_truth(path)
    source = open_annotations(path, images, boxes_on=boxes_on)
    return replace(all_faces(source.entries), upright=source.boxes_on == "upright")


def is_official(path: Path) -> bool:
    """Tells the folder of the official `.mat` files from annotations in another form."""
    if not path.is_dir():
        return False
    has_labels = any(name.endswith((".xml", ".txt")) for name in list_files(path))
    return not has_labels or any(path.glob("wider_*_val.mat"))


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
    counted = {}
    for setting in SETTINGS:
        path = folder / f"wider_{setting}_val.mat"
        events_kept = read_cells(_bytes(path), path, "gt_list")
        # MATLAB counts from 1.
        counted[setting] = [k.ravel().astype(np.int64) - 1 for cells in events_kept for k in cells]
    return WiderGroundTruth(names, faces, counted)


def all_faces(images: Sequence[AnnotatedImage]) -> WiderGroundTruth:
    """Makes a ground truth with the one setting `all` from text annotations.

    For sets without official difficulty settings (docs/decisions/0023). Faces flagged invalid or
    without extent are ignored.

    Args:
        images: Entries of an annotation file.

    Returns:
        The images in the same order. An image without faces holds one ignored box of zeros, as in
        WIDER's own files: with it the protocol counts detections there as false positives.
    """
    counted = [_counted_faces(image) for image in images]
    faces = [to_int32(image.boxes if len(image.boxes) else _NO_FACE) for image in images]
    names = [image_key(image.name) for image in images]
    return WiderGroundTruth(names, [boxes.astype(np.int32) for boxes in faces], {ALL: counted})


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
        {
            setting: [indices[row] for row in rows]
            for setting, indices in ground_truth.counted.items()
        },
        ground_truth.upright,
    )


def to_int32(values: np.ndarray) -> np.ndarray:
    """Rounds as MATLAB's `int32` does, into int64 so that sums and products cannot overflow."""
    rounded: np.ndarray = np.trunc(values + np.copysign(0.5, values))
    return rounded.clip(_INT32.min, _INT32.max).astype(np.int64)


def _bytes(path: Path) -> bytes:
    return existing_file(path, f"a part of {_TOOL}").read_bytes()


def _counted_faces(image: AnnotatedImage) -> np.ndarray:
    width, height = image.boxes[:, 2], image.boxes[:, 3]
    valid = image.attributes[:, ATTRIBUTES.index("invalid")] == 0
    return np.flatnonzero(valid & (width > 0) & (height > 0))
