"""Detects all images of a data set into result files and scores them.

All that a user names is read before the first image, published curves included: a mistake must not
show after hours. One process at a time works on a folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ssh_tf.data.annotations import AnnotatedImage
from ssh_tf.data.readers.wider import find_split, read_annotations, split_layout
from ssh_tf.data.sources import BoxesOn, open_annotations
from ssh_tf.errors import UserError
from ssh_tf.evaluation import face_eval, fddb
from ssh_tf.evaluation.curves import Curve, RocCurve
from ssh_tf.evaluation.detections import image_key, refuse_equal_keys
from ssh_tf.evaluation.result_folder import detect_images, detection_seconds
from ssh_tf.evaluation.score import (
    DEFAULTS,
    Options,
    fddb_others,
    pascal_others,
    score_fddb,
    score_pascal,
    score_wider,
    wider_others,
)
from ssh_tf.evaluation.truth import WiderGroundTruth, all_faces, is_official, read_truth, subset
from ssh_tf.files import existing_folder, folder_lock, output_folder
from ssh_tf.imaging.folders import find_images
from ssh_tf.inference.contract import FaceDetector
from ssh_tf.progress import Progress, silent

_WORK = "evaluation"


@dataclass(frozen=True, slots=True)
class Annotated:
    """Images and their faces.

    Attributes:
        images: Name to file.
        truth: The annotated faces.
    """

    images: dict[str, Path]
    truth: WiderGroundTruth


def evaluate_wider(
    detector: FaceDetector,
    data: Annotated,
    out: str | Path,
    *,
    options: Options = DEFAULTS,
    progress: Progress = silent,
) -> dict[str, Curve]:
    """Detects images, scores them by WIDER's protocol, writes `out/detections` and the report.

    Args:
        detector: What to evaluate.
        data: See `open_annotated`.
        out: Folder to write into.
        options: See `score_wider`.
        progress: See `ssh_tf.progress`.

    Returns:
        Setting (`easy`, `medium`, `hard`, or `all`) to curve.

    Raises:
        UserError: If `out` is not writable, in use or of another detector, or published curves
            can't be read.
    """
    folder = output_folder(out)
    wider_others(options, data.truth)
    with folder_lock(folder, _WORK):
        options = _detect(
            detector,
            data.images,
            folder,
            options,
            progress,
            whole_pixels=True,
            upright=data.truth.upright,
        )
        by_key = {image_key(name): path for name, path in data.images.items()}
        return score_wider(
            folder / "detections", data.truth, folder, images=by_key, options=options
        )


def open_annotated(
    root: str | Path,
    split: str = "val",
    ground_truth: Path | None = None,
    *,
    boxes_on: BoxesOn = "upright",
) -> Annotated:
    """Opens images with annotated faces.

    Args:
        root: Folder in WIDER's layout; with annotations of one's own also any folder of images.
        split: `val`, ...; of WIDER's layout.
        ground_truth: Folder of the official `.mat` files, or annotations in any form of
            `data.sources.open_annotations`; None: those of WIDER's layout.
        boxes_on: See `truth.read_truth`.

    Raises:
        UserError: If the split or the ground truth can't be used.
    """
    folder = Path(root)
    custom = None if ground_truth is None or is_official(ground_truth) else ground_truth
    if custom is not None and not split_layout(folder, split).images_dir.is_dir():
        existing_folder(folder, "the images")
        source = open_annotations(custom, folder, boxes_on=boxes_on)
        truth = replace(all_faces(source.entries), upright=source.boxes_on == "upright")
        return Annotated(_files(source.entries, folder), truth)
    layout = find_split(folder, split)
    entries = read_annotations(layout.annotations)
    images = _files(entries, layout.images_dir)
    if ground_truth is None:
        return Annotated(images, all_faces(entries))
    return Annotated(
        images, subset(read_truth(ground_truth, layout.images_dir, boxes_on=boxes_on), images)
    )


def evaluate_fddb(
    detector: FaceDetector,
    images: str | Path,
    folds: str | Path,
    out: str | Path,
    *,
    options: Options = DEFAULTS,
    progress: Progress = silent,
) -> dict[str, RocCurve]:
    """Detects FDDB's ten folds, scores them and writes `out/detections` and the report.

    Args:
        detector: What to evaluate.
        images: FDDB's `originalPics`, with `2002/07/19/big/img_18.jpg`, ...
        folds: Folder of `FDDB-fold-NN-ellipseList.txt`.
        out: Folder to write into.
        options: See `score_fddb`.
        progress: See `ssh_tf.progress`.

    Returns:
        The `discrete` and the `continuous` curve.

    Raises:
        UserError: If the folds can't be read, and as `evaluate_wider`.
    """
    folder = output_folder(out)
    root = existing_folder(images, "FDDB's images, 2002/07/19/big/img_18.jpg, ...")
    files = {name: root / f"{name}.jpg" for name in fddb.read_ellipses(Path(folds))}
    fddb_others(options)
    with folder_lock(folder, _WORK):
        options = _detect(detector, files, folder, options, progress)
        return score_fddb(folder / "detections", folds, images, folder, options=options)


def evaluate_pascal(
    dataset: str,
    detector: FaceDetector,
    images: str | Path,
    annotations: str | Path,
    out: str | Path,
    *,
    options: Options = DEFAULTS,
    progress: Progress = silent,
) -> dict[str, Curve]:
    """Detects Pascal Faces or AFW, scores them and writes `out/detections` and the report.

    Args:
        dataset: `pascal` or `afw`.
        detector: What to evaluate.
        images: Folder of the images, in depth.
        annotations: face-eval's `.mat`, or the same as `.csv`. Its images are those detected.
        out: Folder to write into.
        options: See `score_pascal`.
        progress: See `ssh_tf.progress`.

    Returns:
        The curve, under the data set's name.

    Raises:
        UserError: If the annotations can't be read, two images could be meant by one of them, and
            as `evaluate_wider`.
    """
    folder = output_folder(out)
    faces = face_eval.load_annotations(Path(annotations))
    files = _pascal_files(existing_folder(images, "the data set's images"), faces)
    pascal_others(options, dataset, faces)
    with folder_lock(folder, _WORK):
        options = _detect(detector, files, folder, options, progress)
        return score_pascal(dataset, folder / "detections", annotations, folder, options=options)


def _pascal_files(root: Path, faces: Mapping[str, face_eval.AnnotatedFaces]) -> dict[str, Path]:
    """Finds each annotated image: key to file, which may be absent."""
    there = {name.as_posix(): path for path, name in find_images([root]).images}
    annotated = [name for name in there if face_eval.image_key(name) in faces]
    try:
        refuse_equal_keys(annotated, face_eval.image_key)
    except UserError as error:
        raise UserError(f"{root}: {error} Or name the folder of the photos alone.") from error
    found = {face_eval.image_key(name): there[name] for name in annotated}
    return {key: found.get(key, root / f"{key}.jpg") for key in faces}


def _files(entries: list[AnnotatedImage], folder: Path) -> dict[str, Path]:
    refuse_equal_keys(entry.name for entry in entries)
    return {entry.name: folder / entry.name for entry in entries}


def _detect(
    detector: FaceDetector,
    images: Mapping[str, Path],
    folder: Path,
    options: Options,
    progress: Progress,
    *,
    whole_pixels: bool = False,
    upright: bool = False,
) -> Options:
    """Detects images and returns the options with what the report has to say about that."""
    results = folder / "detections"
    unreadable = detect_images(
        detector, images, results, whole_pixels=whole_pixels, upright=upright, progress=progress
    )
    return replace(options, unreadable=unreadable, seconds=detection_seconds(results))
