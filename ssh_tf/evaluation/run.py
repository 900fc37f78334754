"""Detects all images of a WIDER split into result files and scores them."""

import logging
import time
from pathlib import Path

from ssh_tf.data.wider import WiderImage, find_split, read_annotations
from ssh_tf.errors import UserError
from ssh_tf.evaluation.curves import Curve
from ssh_tf.evaluation.detections import image_key, write_wider
from ssh_tf.evaluation.score import score_wider, wider_truth
from ssh_tf.evaluation.wider import all_faces, subset
from ssh_tf.files import output_folder, write_text
from ssh_tf.inference.detector import Detector, read_image
from ssh_tf.progress import Progress, silent

_LOG = logging.getLogger(__name__)


def detect_split(
    detector: Detector,
    wider_root: str | Path,
    split: str,
    out: str | Path,
    *,
    progress: Progress = silent,
) -> None:
    """Writes one result file per image of a split; images that have one already are passed over.

    An image that can't be read is reported and has no result: its faces count as missed.

    Args:
        detector: What to evaluate.
        wider_root: Folder in WIDER's layout.
        split: `val`, ...
        out: Folder of result files, one folder per event.
        progress: See `ssh_tf.progress`.

    Raises:
        UserError: If the split is not there, or `out` is not writable.
    """
    source = find_split(Path(wider_root), split)
    folder = output_folder(out)
    _claim(folder, detector)
    images = read_annotations(source.annotations)
    _refuse_equal_keys(images)
    tick = progress("evaluate", len(images))
    for image in images:
        if not (folder / f"{image_key(image.name)}.txt").exists():
            try:
                found = detector.detect(read_image(source.images_dir / image.name))
                write_wider(folder, image.name, found.boxes, found.scores)
            except UserError as error:
                _LOG.warning("%s It counts as an image in which nothing was found.", error)
        tick()


def _refuse_equal_keys(images: list[WiderImage]) -> None:
    """Refuses two images that would share a result file, such as a.jpg and a.png."""
    names: dict[str, str] = {}
    for image in images:
        other = names.setdefault(image_key(image.name), image.name)
        if other != image.name:
            raise UserError(f"{other} and {image.name} would share a result file. Rename one.")


def _claim(folder: Path, detector: Detector) -> None:
    """Notes whose results a folder holds, or checks that they are this detector's."""
    path, origin = folder / "detector.json", detector.fingerprint() + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != origin:
        raise UserError(
            f"{folder} holds results of another model or of other settings. Name another --out."
        )
    write_text(path, origin)


def evaluate_wider(
    detector: Detector,
    wider_root: str | Path,
    split: str,
    out: str | Path,
    *,
    ground_truth: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Curve]:
    """Detects a split, scores it and writes `out/detections` and the report.

    Args:
        detector: What to evaluate.
        wider_root: Folder in WIDER's layout.
        split: `val`, ...
        out: Folder to write into.
        ground_truth: Folder of the official `.mat` files; by default all annotated faces count.
        progress: See `ssh_tf.progress`.

    Returns:
        Setting (`easy`, `medium`, `hard`, or `all`) to curve.

    Raises:
        UserError: If the split or the ground truth can't be used or `out` is not writable.
    """
    started = time.monotonic()
    detections = output_folder(out) / "detections"
    images = read_annotations(find_split(Path(wider_root), split).annotations)
    if ground_truth is None:
        truth = all_faces(images)
    else:
        truth = subset(wider_truth(ground_truth), [image.name for image in images])
    detect_split(detector, wider_root, split, detections, progress=progress)
    return score_wider(detections, truth, out, started=started)
