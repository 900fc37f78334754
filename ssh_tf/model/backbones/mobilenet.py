"""MobileNet v1 (Howard et al., arXiv:1704.04861), batch norms folded into the convolutions.

Folded, every layer is a convolution, a bias and an activation, as in VGG-16: a result depends
neither on the batch nor on the canvas, two replicas equal one, and nothing changes between training
and inference (docs/decisions/0030).
"""

import functools
from typing import Any

import keras

from ssh_tf.model.layers import Mask

Tensor = Any

# Filters (at width 1) and stride of each depthwise separable block, table 1 of the paper.
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)
# Filters of the first convolution at width 1.
STEM = 32
# Both leave a masked cell zero, which docs/decisions/0006 asks for.
ACTIVATIONS = {
    "relu6": keras.activations.relu6,
    "leaky_relu": functools.partial(keras.activations.leaky_relu, negative_slope=0.1),
}
# Mean blue, green and red, and the range: keras.applications.mobilenet.preprocess_input.
KERAS_MEANS = (127.5, 127.5, 127.5)
KERAS_DEVIATIONS = (127.5, 127.5, 127.5)


class MobileNet:
    """The trunk's layers and its forward pass.

    A strided 3x3 convolution reads one cell beyond each border, so that a map has `ceil(H / s)`
    rows on every canvas. (Keras pads below and on the right only, which is the same network seen
    one cell further: see docs/decisions/0030.)

    Args:
        width: Multiplier of all filters.
        activation: A key of `ACTIVATIONS`.

    Attributes:
        layers: `conv1`, then `conv_dw_<i>` and `conv_pw_<i>`, named as in `keras.applications`.
    """

    def __init__(self, width: float, activation: str) -> None:
        make = {"activation": ACTIVATIONS[activation]}
        stem = keras.layers.Conv2D(int(STEM * width), 3, strides=2, name="conv1", **make)
        self.layers: list[keras.layers.Layer] = [stem]
        for i, (filters, stride) in enumerate(BLOCKS, start=1):
            padding, name = "same" if stride == 1 else "valid", f"conv_dw_{i}"
            self.layers += [
                keras.layers.DepthwiseConv2D(3, stride, padding, name=name, **make),
                keras.layers.Conv2D(int(filters * width), 1, name=f"conv_pw_{i}", **make),
            ]

    def __call__(self, x: Tensor, mask: Mask) -> dict[int, Tensor]:
        """Taps blocks 5 (stride 8), 11 (stride 16) and 13 (stride 32)."""
        layers = iter(self.layers)
        x = mask(next(layers)(_surround(x)), 2)  # [B, H/2, W/2, 32 width]
        stride, taps = 2, {}
        for _, step in BLOCKS:
            stride *= step
            depthwise, pointwise = next(layers), next(layers)
            x = depthwise(x if step == 1 else _surround(x))
            x = mask(pointwise(x), stride)  # 1x1: no mask is needed between the two
            taps[stride] = x
        return {8: taps[8], 16: taps[16], 32: taps[32]}


def _surround(x: Tensor) -> Tensor:
    """Adds a border of one zero."""
    return keras.layers.ZeroPadding2D(1)(x)
