"""VGG-16's 13 convolutions (Simonyan and Zisserman, arXiv:1409.1556), as SSH uses them."""

from typing import Any

import keras

from ssh_tf.model.layers import Mask, halve

Tensor = Any

# Convolutions of each block. There is no fc head and no pooling after block 5.
BLOCKS = (2, 2, 3, 3, 3)
# Mean blue, green and red: keras.applications.vgg16.preprocess_input, for weights from there.
KERAS_MEANS = (103.939, 116.779, 123.68)


class VGG16:
    """The trunk's layers and its forward pass.

    Attributes:
        layers: `block1_conv1` to `block5_conv3`, named as in `keras.applications`.

    References:
        `SSH/models/test_ssh.prototxt`.
    """

    def __init__(self) -> None:
        trunk = keras.applications.VGG16(
            include_top=False, weights=None, input_shape=(None, None, 3)
        )
        self.layers = [each for each in trunk.layers if isinstance(each, keras.layers.Conv2D)]

    def __call__(self, x: Tensor, mask: Mask) -> dict[int, Tensor]:
        """Taps conv4_3 (stride 8), conv5_3 (stride 16) and conv5_3 pooled (stride 32)."""
        layers = iter(self.layers)
        taps = {}
        for block, convolutions in enumerate(BLOCKS):
            stride = 2**block
            if block:
                x = halve(x)
            for _ in range(convolutions):
                x = mask(next(layers)(x), stride)
            taps[stride] = x
        conv4_3, conv5_3 = taps[8], taps[16]  # [B, H/8, W/8, 512], [B, H/16, W/16, 512]
        return {8: conv4_3, 16: conv5_3, 32: halve(conv5_3)}
