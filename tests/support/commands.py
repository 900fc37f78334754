"""What tests of the command line share: the commands there are, a detector that needs no model."""

import numpy as np

from ssh_tf.inference.contract import FaceDetector
from ssh_tf.inference.results import Detections
from tests.support.small import small_config

COMMANDS = (
    "demo",
    "synth",
    "records",
    "inspect",
    "plot",
    "train",
    "evaluate",
    "score",
    "detect",
    "models",
    "export",
    "convert",
    "benchmark",
    "serve",
)


class Stub:
    """A detector that finds one face everywhere."""

    network = "network"
    config = small_config().detect
    map = FaceDetector.map

    def fingerprint(self) -> str:
        return "stub"

    def detect(self, image: np.ndarray) -> Detections:
        boxes = np.array([[10, 12, 30, 36]], np.float32)
        return Detections(boxes, np.array([0.9], np.float32), image.shape[:2], image)
