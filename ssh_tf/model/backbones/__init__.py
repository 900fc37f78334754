"""Headless trunks: images to feature maps at strides 8, 16 and 32."""

from typing import Any, Protocol

import keras

from ssh_tf.config import ModelConfig
from ssh_tf.model.backbones import mobilenet, vgg16
from ssh_tf.model.layers import Mask

Tensor = Any

# Mean blue, green and red that Keras' weights of each trunk expect to be subtracted.
KERAS_MEANS = {"vgg16": vgg16.KERAS_MEANS, "mobilenet": mobilenet.KERAS_MEANS}


class Backbone(Protocol):
    """What the network needs of a trunk.

    Attributes:
        layers: Those with weights. Their names are a contract with every checkpoint.
    """

    layers: list[keras.layers.Layer]

    def __call__(self, x: Tensor, mask: Mask) -> dict[int, Tensor]:
        """Maps `[B, H, W, 3]` to `{8: ..., 16: ..., 32: ...}`, each `[B, ceil(H / s), ...]`.

        Args:
            x: What `Preprocess` gives, masked.
            mask: Zeroes the padding of a map of a given stride. Applied before every layer that
                sees more than one cell (docs/decisions/0006).
        """


def make_backbone(config: ModelConfig) -> Backbone:
    """Makes the layers of the trunk that `config.backbone` names."""
    if config.backbone == "mobilenet":
        return mobilenet.MobileNet(config.width, config.activation)
    return vgg16.VGG16()
