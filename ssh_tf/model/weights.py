"""Where a network's weights come from: ImageNet, chance, or a file."""

from pathlib import Path

import keras
import numpy as np
from absl import logging

from ssh_tf.config import ModelConfig
from ssh_tf.model.layers import CAFFE_MEANS, KERAS_MEANS
from ssh_tf.model.ssh import SSH

# Typical deviation of pixels from the mean, in grey levels: what the first convolution is scaled by
# when it starts from chance, so that activations are of order 1 in every layer.
PIXEL_DEVIATION = 64.0


def build_network(config: ModelConfig, *, seed: int) -> SSH:
    """Builds the network with the weights that `config.weights` names.

    Args:
        config: The architecture and the origin of the weights.
        seed: Of everything random.

    Returns:
        The network. Its first layer subtracts the means that belong to the weights.

    Raises:
        UserError: If a weights file is not usable.
    """
    keras.utils.set_random_seed(seed)
    means = CAFFE_MEANS if config.weights.endswith(".caffemodel") else KERAS_MEANS
    network = SSH(config, means)
    if config.weights == "imagenet":
        _load_imagenet(network, seed)
    elif config.weights == "random":
        initialise(network, seed)
    else:
        load_weights(network, Path(config.weights))
    return network


def _load_imagenet(network: SSH, seed: int) -> None:
    try:
        source = keras.applications.VGG16(include_top=False, weights="imagenet")
    except Exception as error:  # keras.utils.get_file raises bare Exception for any network failure
        logging.warning(
            "ImageNet weights could not be downloaded (%s). Training starts from random (He) "
            "weights, which reaches far lower AP. To use a file, set model.weights to its path.",
            error,
        )
        initialise(network, seed)
        return
    for layer in source.layers:
        if layer.weights:
            network.get_layer(layer.name).set_weights(layer.get_weights())


def initialise(network: SSH, seed: int) -> None:
    """Draws every weight anew: He normal kernels, zero biases, gaussian 0.01 for the outputs.

    Args:
        network: Changed in place.
        seed: Of the draw; each layer has its own stream.
    """
    for index, layer in enumerate(network.layers):
        if not isinstance(layer, keras.layers.Conv2D):
            continue
        shape = layer.kernel.shape
        deviation = np.sqrt(2.0 / np.prod(shape[:-1]))
        if layer.name == "block1_conv1":
            deviation /= PIXEL_DEVIATION
        elif layer.name.endswith(("_cls", "_box")):
            deviation = 0.01
        draw = np.random.default_rng([seed, index]).standard_normal(shape, dtype=np.float32)
        layer.kernel.assign(draw * np.float32(deviation))
        layer.bias.assign(np.zeros(layer.bias.shape, np.float32))
