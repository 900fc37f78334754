"""A detector that is a SavedModel of `ssh-tf export`."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf

from ssh_tf import signature
from ssh_tf.errors import UserError
from ssh_tf.inference.graph import Detections
from ssh_tf.inference.inputs import pixels_of, within_memory
from ssh_tf.inference.model_folder import find_versions, is_saved_model


class ExportedDetector:
    """Finds faces with a SavedModel of `ssh-tf export`; the contract is that of `Detector`.

    Args:
        folder: The version's folder.

    Raises:
        UserError: If it is no SavedModel of a face detector, or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self._model = tf.saved_model.load(str(folder))
            self._detect = self._model.signatures[signature.IMAGE_TENSOR]
        except (OSError, KeyError, tf.errors.OpError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{folder} can't be used as a detector ({reason}). Export it again with "
                "`ssh-tf export`."
            ) from error

    def fingerprint(self) -> str:
        """Returns one line that another export would change."""
        digest = hashlib.sha256()
        for file in sorted(path for path in self._folder.rglob("*") if path.is_file()):
            digest.update(file.read_bytes())
        return json.dumps({"saved_model_sha256": digest.hexdigest()})

    def detect(self, image: np.ndarray | str | Path) -> Detections:
        """Finds the faces of one image; see `Detector.detect`."""
        pixels = pixels_of(image)
        with within_memory(pixels):
            found = self._detect(tf.constant(pixels[np.newaxis]))
        count = int(found[signature.NUM_DETECTIONS][0])
        height, width = pixels.shape[:2]
        y1, x1, y2, x2 = found[signature.DETECTION_BOXES][0, :count].numpy().T
        boxes = np.stack([x1 * width, y1 * height, x2 * width, y2 * height], axis=-1)
        return Detections(boxes, found[signature.DETECTION_SCORES][0, :count].numpy())

    def detect_batch(self, images: Iterable[np.ndarray | str | Path]) -> list[Detections]:
        """Finds the faces of several images of any sizes, one by one."""
        return [self.detect(image) for image in images]


def find_saved_model(path: Path) -> Path | None:
    """Returns `path` if it is a SavedModel, its newest version if it holds some, or None."""
    if is_saved_model(path):
        return path
    versions = find_versions(path) if path.is_dir() else {}
    return next((version for version in versions.values() if is_saved_model(version)), None)
