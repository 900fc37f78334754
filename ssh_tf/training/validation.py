"""What training asks of an evaluation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ssh_tf.model.ssh import SSH


@dataclass(frozen=True)
class Validated:
    """What an evaluation during training finds.

    Attributes:
        ap: Setting to average precision; the last one decides which network is the best.
        pictures: `[H, W, 3]` uint8 each, with annotations and detections.
    """

    ap: Mapping[str, float]
    pictures: Sequence[np.ndarray]


Validate = Callable[[SSH], Validated]
