"""Detects all images of a data set into result files and scores them.

All that a user names is read before the first image, published curves included: a mistake must not
show after hours.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ssh_tf.data.readers.wider import find_split, read_annotations
from ssh_tf.errors import UserError
from ssh_tf.evaluation import fddb, pascal
from ssh_tf.evaluation.curves import Curve, RocCurve, published_curves, published_rocs
from ssh_tf.evaluation.detections import image_key, refuse_equal_keys, write_boxes, write_wider
from ssh_tf.evaluation.score import (
    DEFAULTS,
    Options,
    score_fddb,
    score_others,
    score_pascal,
    score_wider,
)
from ssh_tf.evaluation.truth import all_faces, read_truth, subset
from ssh_tf.files import existing_folder, output_folder, write_text
from ssh_tf.imaging.files import read_image
from ssh_tf.imaging.folders import find_images
from ssh_tf.inference.contract import FaceDetector
from ssh_tf.progress import Progress, silent

_LOG = logging.getLogger(__name__)


def detect_images(
    detector: FaceDetector,
    images: Mapping[str, Path],
    out: str | Path,
    *,
    whole_pixels: bool,
    progress: Progress = silent,
) -> list[str]:
    """Writes one result file per image; images that have one already are passed over.

    An image that can't be read is reported and has no result: its faces count as missed.

    Args:
        detector: What to evaluate.
        images: Name to file. The names decide those of the result files, see `image_key`.
        out: Folder of result files.
        whole_pixels: Whether corners are truncated, as the official code does for WIDER.
        progress: See `ssh_tf.progress`.

    Returns:
        Names of the images that can't be read.

    Raises:
        UserError: If `out` is not writable or holds another detector's results, or two images would
            share a result file.
    """
    folder = output_folder(out)
    _claim(folder, detector)
    refuse_equal_keys(images)
    write = write_wider if whole_pixels else write_boxes
    tick = progress("evaluate", len(images))
    unreadable = []
    for name, path in images.items():
        if not (folder / f"{image_key(name)}.txt").exists():
            try:
                image = read_image(path, upright=False)  # As the official sets are annotated.
            except UserError as error:
                _LOG.warning("%s It counts as an image in which nothing was found.", error)
                unreadable.append(name)
            else:
                found = detector.detect(image)
                write(folder, name, found.boxes, found.scores)
        tick()
    return unreadable


def _claim(folder: Path, detector: FaceDetector) -> None:
    """Notes whose results a folder holds, or checks that they are this detector's."""
    path, origin = folder / "detector.json", detector.fingerprint() + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != origin:
        raise UserError(
            f"{folder} holds results of another model or of other settings. Name another --out."
        )
    write_text(path, origin)


def evaluate_wider(
    detector: FaceDetector,
    wider_root: str | Path,
    split: str,
    out: str | Path,
    *,
    ground_truth: Path | None = None,
    options: Options = DEFAULTS,
    progress: Progress = silent,
) -> dict[str, Curve]:
    """Detects a split, scores it and writes `out/detections` and the report.

    Args:
        detector: What to evaluate.
        wider_root: Folder in WIDER's layout.
        split: `val`, ...
        out: Folder to write into.
        ground_truth: Folder of the official `.mat` files; by default all annotated faces count.
        options: See `score_wider`.
        progress: See `ssh_tf.progress`.

    Returns:
        Setting (`easy`, `medium`, `hard`, or `all`) to curve.

    Raises:
        UserError: If the split or the ground truth can't be used or `out` is not writable.
    """
    started = time.monotonic()
    detections = output_folder(out) / "detections"
    source = find_split(Path(wider_root), split)
    entries = read_annotations(source.annotations)
    if ground_truth is None:
        truth = all_faces(entries)
    else:
        truth = subset(read_truth(ground_truth), [entry.name for entry in entries])
    if options.published is not None:
        published_curves(options.published, truth.kept)
    refuse_equal_keys(entry.name for entry in entries)
    images = {entry.name: source.images_dir / entry.name for entry in entries}
    unreadable = detect_images(detector, images, detections, whole_pixels=True, progress=progress)
    options = replace(options, unreadable=unreadable, started=started)
    by_key = {image_key(name): path for name, path in images.items()}
    return score_wider(detections, truth, out, images=by_key, options=options)


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
        UserError: If the folds can't be read, or `out` is not writable.
    """
    started = time.monotonic()
    detections = output_folder(out) / "detections"
    root = existing_folder(images, "FDDB's images, 2002/07/19/big/img_18.jpg, ...")
    files = {name: root / f"{name}.jpg" for name in fddb.read_ellipses(Path(folds))}
    if options.published is not None:
        published_rocs(options.published)
    unreadable = detect_images(detector, files, detections, whole_pixels=False, progress=progress)
    options = replace(options, unreadable=unreadable, started=started)
    return score_fddb(detections, folds, images, out, options=options)


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
        UserError: If the annotations can't be read, or `out` is not writable.
    """
    started = time.monotonic()
    detections = output_folder(out) / "detections"
    root = existing_folder(images, "the data set's images")
    there = {pascal.image_key(path.name): path for path, _ in find_images([root]).images}
    faces = pascal.load_annotations(Path(annotations))
    if options.published is not None:
        score_others(options.published, faces)
    files = {key: there.get(key, root / f"{key}.jpg") for key in faces}
    unreadable = detect_images(detector, files, detections, whole_pixels=False, progress=progress)
    options = replace(options, unreadable=unreadable, started=started)
    return score_pascal(dataset, detections, annotations, out, options=options)
