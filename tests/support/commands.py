"""What tests of the command line share: the commands there are, a detector that needs no model."""

import numpy as np

from ssh_tf.inference.contract import Boxes, FaceDetector
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


class Stub(FaceDetector):
    """A detector that finds one face everywhere."""

    network = "network"
    config = small_config().detect

    def fingerprint(self) -> str:
        return "stub"

    def find(self, pixels: np.ndarray) -> Boxes:
        return np.array([[10, 12, 30, 36]], np.float32), np.array([0.9], np.float32)

    def __repr__(self) -> str:
        return "Stub()"
