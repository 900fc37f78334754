"""Evaluation during training, by WIDER's protocol."""

import tempfile
from pathlib import Path

from ssh_tf.config import Config
from ssh_tf.data.annotations import training_corners
from ssh_tf.data.readers.wider import find_split, read_annotations
from ssh_tf.evaluation.detections import read_wider
from ssh_tf.evaluation.result_folder import detect_images
from ssh_tf.evaluation.truth import all_faces, read_truth, subset
from ssh_tf.evaluation.wider import evaluate
from ssh_tf.imaging.draw import draw_boxes
from ssh_tf.imaging.files import read_image
from ssh_tf.inference.detector import Detector
from ssh_tf.model.ssh import SSH
from ssh_tf.training.validation import Validate, Validated

# Least score of a box in the pictures.
_SHOWN_FROM = 0.3


def validator(config: Config) -> Validate | None:
    """Returns what evaluates a network on `config.validation`, by WIDER's protocol.

    Args:
        config: `validation` says on what, `detect` at which scale.

    Returns:
        A function of a network, or None if there is nothing to validate on.

    Raises:
        UserError: If the split or its ground truth can't be used.
    """
    chosen = config.validation
    if chosen.wider_root is None:
        return None
    source = find_split(Path(chosen.wider_root), chosen.split)
    entries = read_annotations(source.annotations)[: chosen.images]
    truth = all_faces(entries)
    if chosen.ground_truth is not None:
        names = [entry.name for entry in entries]
        truth = subset(read_truth(Path(chosen.ground_truth)), names)
    images = {entry.name: source.images_dir / entry.name for entry in entries}

    def validate(network: SSH) -> Validated:
        detector = Detector(network, config.detect)
        with tempfile.TemporaryDirectory() as folder:
            detect_images(detector, images, folder, whole_pixels=True)
            curves = evaluate(read_wider(Path(folder)), truth)
        pictures = []
        for entry in entries[: chosen.pictures]:
            image = read_image(images[entry.name], upright=False)
            found = detector.detect(image)
            shown = found.scores >= _SHOWN_FROM
            faces, _ = training_corners(entry.boxes, *image.shape[:2])
            pictures.append(draw_boxes(image, found.boxes[shown], found.scores[shown], truth=faces))
        return Validated({setting: curve.ap for setting, curve in curves.items()}, pictures)

    return validate
