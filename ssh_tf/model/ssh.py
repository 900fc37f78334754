"""The SSH network as a functional Keras model.

References:
    Najibi et al., SSH, ICCV 2017 (arXiv:1708.03979), sections 3.1-3.3; the layers' wiring and
    widths are those of `SSH/models/test_ssh.prototxt`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from ssh_tf.config import ModelConfig, ModuleConfig
from ssh_tf.model.layers import KERAS_MEANS, BilinearUpsample, MaskCanvas, Preprocess

Tensor = Any
Layers = Mapping[str, keras.layers.Layer]
Mask = Callable[[Tensor, int], Tensor]

# Convolutions of each VGG-16 block. There is no fc head and no pooling after block 5.
VGG_BLOCKS = (2, 2, 3, 3, 3)
# Width of the 1x1 reductions and of the fused map (`conv4_128`, `conv5_128`, `conv4_fuse_final`).
FUSE_CHANNELS = 128


@keras.saving.register_keras_serializable("ssh_tf")
class SSH(keras.Model):
    """Single Stage Headless face detector.

    Inputs are a dict: `images` `[B, H, W, 3]` float32 RGB in `[0, 255]`, each image in the upper
    left corner of a canvas of any size, and `sizes` `[B, 2]` int32, height and width of each image.
    Outputs are a dict with two entries per module: `<module>_logits` `[B, N, 2]` (background, face)
    and `<module>_deltas` `[B, N, 4]`, N = rows x columns x anchors in that order. Cells in the
    padding have outputs too; they mean nothing.

    Args:
        config: The architecture; a dict of its fields is accepted (as loading from a file gives).
        means: Mean blue, green and red that the first layer subtracts: part of the model, since
            they belong to the weights.

    Attributes:
        config: The architecture as `ModelConfig`.
        means: As given.
    """

    def __init__(
        self,
        config: ModelConfig | dict[str, Any],
        means: Sequence[float] = KERAS_MEANS,
        name: str = "ssh",
        **kwargs: Any,
    ) -> None:
        if isinstance(config, dict):
            config = ModelConfig.model_validate(config)
        layers = _make_layers(config, means)
        images = keras.Input((None, None, 3), name="images")
        sizes = keras.Input((2,), dtype="int32", name="sizes")
        outputs = _connect(layers, config, images, _canvas_mask(sizes))
        super().__init__({"images": images, "sizes": sizes}, outputs, name=name, **kwargs)
        self.config = config
        self.means = tuple(float(mean) for mean in means)

    def exact(self) -> keras.Model:
        """Returns the same layers as a model of images that fill their canvas.

        Without the masks it is as fast as the bare network. Input: `images` alone.
        """
        layers = {layer.name: layer for layer in self.layers}
        images = keras.Input((None, None, 3), name="images")
        outputs = _connect(layers, self.config, images, lambda x, stride: x)
        return keras.Model(images, outputs, name=f"{self.name}_exact")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = self.config.model_dump(mode="json")
        return {"config": config, "means": self.means, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "SSH":
        """Builds the model that `get_config` described."""
        return cls(**config)


def _conv(name: str, filters: int, size: int, *, relu: bool) -> keras.layers.Conv2D:
    """A new layer with the official filler: gaussian of deviation 0.01, bias 0."""
    return keras.layers.Conv2D(
        filters,
        size,
        padding="same",
        activation="relu" if relu else None,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        name=name,
    )


def _make_layers(config: ModelConfig, means: Sequence[float]) -> Layers:
    """Makes every layer with weights, by its name: the names are the checkpoints' contract."""
    trunk = keras.applications.VGG16(include_top=False, weights=None, input_shape=(None, None, 3))
    layers = [layer for layer in trunk.layers if isinstance(layer, keras.layers.Conv2D)]
    # In mixed precision, too, so that means and resized pixels are not rounded before they differ.
    layers.append(Preprocess(means, name="preprocess", dtype="float32"))
    if any(module.stride == 8 for module in config.modules):
        layers.append(_conv("fuse_conv4_reduce", FUSE_CHANNELS, 1, relu=True))
        layers.append(_conv("fuse_conv", FUSE_CHANNELS, 3, relu=True))
        if config.fusion:
            layers.append(_conv("fuse_conv5_reduce", FUSE_CHANNELS, 1, relu=True))
            layers.append(BilinearUpsample(name="fuse_conv5_upsample", trainable=False))
    for module in config.modules:
        layers.extend(_module_layers(module, context=config.context))
    return {layer.name: layer for layer in layers}


def _module_layers(module: ModuleConfig, *, context: bool) -> list[keras.layers.Layer]:
    name, half, anchors = module.name, module.channels // 2, len(module.anchor_scales)
    layers = [_conv(f"{name}_conv3x3", module.channels, 3, relu=True)]
    if context:
        # Two 3x3 see 5x5, three see 7x7; the first is shared (paper figure 4).
        layers.append(_conv(f"{name}_context_reduce", half, 3, relu=True))
        layers.append(_conv(f"{name}_context_5x5", half, 3, relu=True))
        layers.append(_conv(f"{name}_context_7x7_1", half, 3, relu=True))
        layers.append(_conv(f"{name}_context_7x7_2", half, 3, relu=True))
    # Channels: class-major, background first (bg a0, bg a1, face a0, face a1).
    layers.append(_conv(f"{name}_cls", 2 * anchors, 1, relu=False))
    # Channels: anchor-major (dx, dy, dw, dh of a0, then of a1).
    layers.append(_conv(f"{name}_box", 4 * anchors, 1, relu=False))
    return layers


def _canvas_mask(sizes: Tensor) -> Mask:
    """Returns the function that masks a feature map of a given stride."""

    def mask(features: Tensor, stride: int) -> Tensor:
        return MaskCanvas(stride)(features, sizes)

    return mask


def _connect(layers: Layers, config: ModelConfig, images: Tensor, mask: Mask) -> dict[str, Tensor]:
    """Wires the layers: images `[B, H, W, 3]` to the outputs that `SSH` documents."""
    x = mask(layers["preprocess"](images), 1)
    taps = {}
    for block, convolutions in enumerate(VGG_BLOCKS, start=1):
        stride = 2 ** (block - 1)
        if block > 1:
            x = _pool(x)
        for i in range(1, convolutions + 1):
            x = mask(layers[f"block{block}_conv{i}"](x), stride)
        taps[stride] = x
    conv4_3, conv5_3 = taps[8], taps[16]  # [B, H/8, W/8, 512], [B, H/16, W/16, 512]

    outputs = {}
    for module in config.modules:
        if module.stride == 8:
            features = mask(_fuse(layers, config, conv4_3, conv5_3, mask), 8)
        else:
            features = conv5_3 if module.stride == 16 else _pool(conv5_3)
        logits, deltas = _detect(layers, module, features, context=config.context, mask=mask)
        outputs[f"{module.name}_logits"] = logits
        outputs[f"{module.name}_deltas"] = deltas
    return outputs


def _pool(x: Tensor) -> Tensor:
    """Halves a map, rounding up like Caffe; `same` ignores what lies beyond the border."""
    return keras.layers.MaxPooling2D(2, padding="same")(x)


def _fuse(
    layers: Layers, config: ModelConfig, conv4_3: Tensor, conv5_3: Tensor, mask: Mask
) -> Tensor:
    """Joins conv4_3 with upsampled conv5_3: the stride-8 module's input `[B, H/8, W/8, 128]`."""
    x = layers["fuse_conv4_reduce"](conv4_3)
    if config.fusion:
        coarse = mask(layers["fuse_conv5_reduce"](conv5_3), 16)
        x = keras.layers.Add()([x, layers["fuse_conv5_upsample"](coarse, x)])
    return layers["fuse_conv"](mask(x, 8))


def _detect(
    layers: Layers, module: ModuleConfig, features: Tensor, *, context: bool, mask: Mask
) -> tuple[Tensor, Tensor]:
    """Runs one detection module: logits `[B, N, 2]` and deltas `[B, N, 4]`, both float32."""
    name, anchors = module.name, len(module.anchor_scales)
    x = layers[f"{name}_conv3x3"](features)  # [B, h, w, X]
    if context:
        reduced = mask(layers[f"{name}_context_reduce"](features), module.stride)
        five = layers[f"{name}_context_5x5"](reduced)
        seven = mask(layers[f"{name}_context_7x7_1"](reduced), module.stride)
        seven = layers[f"{name}_context_7x7_2"](seven)
        x = keras.layers.Concatenate()([x, five, seven])  # [B, h, w, 2X]
    logits = layers[f"{name}_cls"](x)  # [B, h, w, 2A], class-major
    logits = _reshape(-1, 2, anchors)(logits)  # [B, hw, 2, A]
    logits = _reshape(-1, 2)(keras.layers.Permute((1, 3, 2))(logits))  # [B, hwA, 2]
    return logits, _reshape(-1, 4)(layers[f"{name}_box"](x))


def _reshape(*shape: int) -> keras.layers.Reshape:
    """A reshape that leaves mixed precision: losses and boxes are computed in float32."""
    return keras.layers.Reshape(shape, dtype="float32")
