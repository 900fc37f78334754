"""The three layers Keras lacks: pixel preprocessing, canvas masking, Caffe's upsampling."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from ssh_tf.geometry.anchors import grid_size

Tensor = Any
# Zeroes the padding of a feature map `[B, h, w, C]` of a given stride.
Mask = Callable[[Tensor, int], Tensor]


def halve(x: Tensor) -> Tensor:
    """Max-pools `[B, h, w, C]` to half of it, rounding up like Caffe.

    `same` ignores what lies beyond the border.
    """
    return keras.layers.MaxPooling2D(2, padding="same")(x)


@keras.saving.register_keras_serializable("ssh_tf")
class Preprocess(keras.layers.Layer):
    """Turns RGB pixels into the BGR differences from a mean that a trunk was trained on.

    Args:
        means: Mean blue, green and red, in gray levels.
    """

    def __init__(self, means: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.means = tuple(float(mean) for mean in means)

    def call(self, images: Tensor) -> Tensor:
        """`[B, H, W, 3]` RGB in `[0, 255]` -> the same shape, BGR minus mean."""
        return ops.flip(images, axis=-1) - ops.convert_to_tensor(self.means, dtype=images.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "means": self.means}


@keras.saving.register_keras_serializable("ssh_tf")
class MaskCanvas(keras.layers.Layer):
    """Zeroes what lies beyond each image on its canvas.

    Zeros on a padded canvas turn into biases after the first convolution and would leak into the
    image's border cells. Masked after every convolution, the padding acts like the zero padding at
    the border of an image that fills its canvas (docs/decisions/0006).

    Args:
        stride: Image px per cell of the feature map.
    """

    def __init__(self, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stride = stride

    def call(self, features: Tensor, sizes: Tensor) -> Tensor:
        """`[B, h, w, C]` features and `[B, 2]` image sizes in px -> features, zero outside."""
        shape = ops.shape(features)
        cells = grid_size(sizes, self.stride)  # [B, 2]
        rows = ops.arange(shape[1], dtype=cells.dtype) < cells[:, :1]  # [B, h]
        columns = ops.arange(shape[2], dtype=cells.dtype) < cells[:, 1:]  # [B, w]
        mask = ops.expand_dims(rows, 2) & ops.expand_dims(columns, 1)  # [B, h, w]
        return features * ops.cast(ops.expand_dims(mask, -1), features.dtype)

    def compute_output_shape(self, features_shape: Any, sizes_shape: Any) -> Any:
        """The features' shape."""
        return features_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "stride": self.stride}


@keras.saving.register_keras_serializable("ssh_tf")
class BilinearUpsample(keras.layers.Layer):
    """Doubles a feature map by Caffe's fixed bilinear 4x4 deconvolution and crops it.

    The deconvolution (stride 2, pad 1, one group per channel, 1-D kernel .25 .75 .75 .25) reads
    zeros beyond the border, where the usual bilinear resize repeats the last cell. Each output
    pixel depends on 2x2 inputs only, so the four output phases are the channels of one 2x2
    depthwise convolution.

    References:
        `SSH/models/train_ssh.prototxt: conv5_128_up, conv5_128_crop`; caffe-ssh `filler.hpp`.
    """

    def build(self, features_shape: Any, like_shape: Any) -> None:
        """Creates the 2,048 fixed weights (for 128 channels)."""
        late, early = np.array([0.75, 0.25]), np.array([0.25, 0.75])  # weights of 2 neighbors
        phases = np.stack([late, early])  # odd output pixels, then even ones: [2 phases, 2 taps]
        kernel = np.einsum("pi,qj->ijpq", phases, phases).reshape(2, 2, 1, 4)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(2, 2, features_shape[-1], 4),
            initializer=lambda shape, dtype=None: ops.cast(np.broadcast_to(kernel, shape), dtype),
            trainable=False,
        )
        self.built = True

    def call(self, features: Tensor, like: Tensor) -> Tensor:
        """`[B, h, w, C]` features, `[B, H, W, D]` with H <= 2h, W <= 2w -> `[B, H, W, C]`."""
        channels = features.shape[-1]
        batch, height, width = ops.shape(features)[:3]
        padded = ops.pad(features, [[0, 0], [1, 1], [1, 1], [0, 0]])
        phases = ops.depthwise_conv(
            padded, self.kernel, padding="valid", data_format="channels_last"
        )
        phases = ops.reshape(phases, (batch, height + 1, width + 1, channels, 2, 2))
        pixels = ops.transpose(phases, (0, 1, 4, 2, 5, 3))  # [B, h+1, 2, w+1, 2, C]
        pixels = ops.reshape(pixels, (batch, 2 * (height + 1), 2 * (width + 1), channels))
        target = ops.shape(like)
        return pixels[:, 1 : target[1] + 1, 1 : target[2] + 1]

    def compute_output_shape(self, features_shape: Any, like_shape: Any) -> Any:
        """Height and width of `like`, channels of the features."""
        return (*like_shape[:3], features_shape[-1])
