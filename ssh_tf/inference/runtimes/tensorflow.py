"""The network in TensorFlow, the reference of the other runtimes."""

import numpy as np
import tensorflow as tf

from ssh_tf.inference.arrays import Forward
from ssh_tf.inference.runtimes.convert import network_function
from ssh_tf.model.ssh import SSH


def load(network: SSH, precision: str) -> Forward:
    """Returns the function that runs a network in TensorFlow, on its first GPU if it has one.

    Args:
        network: Computes in float32.
        precision: `DetectConfig.precision`.
    """
    run = network_function(network, precision)

    def forward(images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = run(tf.constant(images))  # Asked for all before the first is waited for.
        return {name: output.numpy() for name, output in outputs.items()}

    return forward
