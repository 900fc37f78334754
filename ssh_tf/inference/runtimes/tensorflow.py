"""The network in TensorFlow, the reference of the other runtimes."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ssh_tf.config import DetectConfig
from ssh_tf.inference.arrays import Forward
from ssh_tf.inference.runtimes.convert import network_function
from ssh_tf.model.precision import in_precision
from ssh_tf.model.ssh import SSH


def load(network: SSH, config: DetectConfig) -> Forward:
    """Returns the function that runs a network in TensorFlow, on its first GPU if it has one.

    Args:
        network: Computes in float32.
        config: Says in which precision.

    Raises:
        UserError: For `int8`.
    """
    run = network_function(network, config.precision, prepared=True)

    def forward(images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = run(tf.constant(images))  # Asked for all before the first is waited for.
        return {name: output.numpy() for name, output in outputs.items()}

    return forward


def load_masked(
    network: SSH, precision: str
) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """Returns the function that runs a network on several images on canvases of one size.

    Args:
        network: Computes in float32.
        precision: `DetectConfig.precision`.

    Returns:
        A function of `images`, `[B, H, W, 3]` float32, what `Preprocess` gives, and `sizes`,
        `[B, 2]` int32, as `SSH` documents them, to its outputs.
    """
    masked = in_precision(network, precision).without_preprocess()
    specs = [tf.TensorSpec([None, None, None, 3], tf.float32), tf.TensorSpec([None, 2], tf.int32)]
    run = tf.function(
        lambda images, sizes: masked({"images": images, "sizes": sizes}), input_signature=specs
    )

    def forward(images: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
        outputs = run(tf.constant(images), tf.constant(sizes))
        return {name: output.numpy() for name, output in outputs.items()}

    return forward
