"""A detector that is a SavedModel of `ssh-tf export`."""

import hashlib
import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from ssh_tf import signature
from ssh_tf.errors import UserError
from ssh_tf.inference.contract import FaceDetector
from ssh_tf.inference.memory import within_memory
from ssh_tf.inference.model_folder import find_versions, is_saved_model
from ssh_tf.inference.results import REFUSALS, boxes_in_px


class ExportedDetector(FaceDetector):
    """Finds faces with a SavedModel of `ssh-tf export`.

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
        # A damaged file raises what its bytes lead to: DecodeError, ValueError, IndexError, ...
        except Exception as error:
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

    def find(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Finds the faces of one image; see `FaceDetector.find`."""
        with within_memory(pixels):
            found = self._detect(tf.constant(pixels[np.newaxis]))
        status = int(found[signature.STATUS][0])
        height, width = pixels.shape[:2]
        if status != signature.STATUS_OK:
            reason = REFUSALS.get(status, f"status {status}")
            size = f"{width} x {height} px"
            raise UserError(f"{self._folder} refuses an image of {size}: {reason}.")
        count = int(found[signature.NUM_DETECTIONS][0])
        fractions = found[signature.DETECTION_BOXES][0, :count].numpy()  # [D, 4]
        scores = found[signature.DETECTION_SCORES][0, :count].numpy()  # [D]
        return boxes_in_px(fractions, (height, width)), scores

    def __repr__(self) -> str:
        return f"ExportedDetector({str(self._folder)!r})"


def find_saved_model(path: Path) -> Path | None:
    """Returns `path` if it is a SavedModel, its newest version if it holds some, or None."""
    if is_saved_model(path):
        return path
    versions = find_versions(path) if path.is_dir() else {}
    return next((version for version in versions.values() if is_saved_model(version)), None)
