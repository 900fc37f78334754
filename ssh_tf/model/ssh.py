"""The SSH network as a functional Keras model.

References:
    Najibi et al., SSH, ICCV 2017 (arXiv:1708.03979), sections 3.1-3.3; the layers' wiring and
    widths are those of `SSH/models/test_ssh.prototxt`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from ssh_tf.config import ModelConfig, ModuleConfig
from ssh_tf.model.backbones import KERAS_MEANS, make_backbone
from ssh_tf.model.layers import BilinearUpsample, Mask, MaskCanvas, Preprocess

Tensor = Any
# What `BilinearUpsample.call` does.
Upsample = Callable[[Tensor, Tensor], Tensor]


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
            they belong to the weights. By default those of Keras' weights.

    Attributes:
        config: The architecture as `ModelConfig`.
        means: Three numbers.
        parts: What the network is made of: the same layers in both of its wirings.
    """

    def __init__(
        self,
        config: ModelConfig | dict[str, Any],
        means: Sequence[float] | None = None,
        name: str = "ssh",
        **kwargs: Any,
    ) -> None:
        config = ModelConfig.model_validate(config)
        means = KERAS_MEANS[config.backbone] if means is None else means
        parts = Parts(config, means)
        super().__init__(*_on_canvases(parts), name=name, **kwargs)
        self.config, self.parts = config, parts
        self.means = tuple(float(mean) for mean in means)

    def exact(self, *, prepared: bool = False, upsample: Upsample | None = None) -> keras.Model:
        """Returns the same layers as a model of images that fill their canvas.

        Without the masks it is as fast as the bare network. Input: `images` alone.

        Args:
            prepared: Whether `images` are already what the first layer, `Preprocess`, gives.
            upsample: A layer that takes the place of `BilinearUpsample`.
        """
        images = keras.Input((None, None, 3), name="images")
        outputs = self.parts(
            images, lambda features, stride: features, prepared=prepared, upsample=upsample
        )
        return keras.Model(images, outputs, name=f"{self.name}_exact")

    def without_preprocess(self) -> keras.Model:
        """Returns the same layers, masks included, as a model of what `Preprocess` gives."""
        return keras.Model(*_on_canvases(self.parts, prepared=True))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = self.config.model_dump(mode="json")
        return {"config": config, "means": self.means, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "SSH":
        """Builds the model that `get_config` described."""
        return cls(**config)


class Parts:
    """Every layer of the network, and its forward pass.

    Args:
        config: The architecture.
        means: See `SSH`.
    """

    def __init__(self, config: ModelConfig, means: Sequence[float]) -> None:
        # In mixed precision, too, so that means and pixels are not rounded before they differ.
        self.preprocess = Preprocess(means, name="preprocess", dtype="float32")
        self.backbone = make_backbone(config)
        self.fusion = Fusion(config.fuse_channels, upsample=config.fusion)
        self.modules = [DetectionModule(each, context=config.context) for each in config.modules]

    def __call__(
        self,
        images: Tensor,
        mask: Mask,
        *,
        prepared: bool = False,
        upsample: Upsample | None = None,
    ) -> dict[str, Tensor]:
        """Images `[B, H, W, 3]`, or what `preprocess` gives, to the outputs of `SSH`."""
        taps = self.backbone(mask(images if prepared else self.preprocess(images), 1), mask)
        outputs = {}
        for module in self.modules:
            name, stride = module.config.name, module.config.stride
            # The finest module sees what the next coarser map knows (paper 3.1).
            features = taps[stride]
            if stride == 8:
                features = self.fusion(taps[8], taps[16], mask, upsample)
            outputs[f"{name}_logits"], outputs[f"{name}_deltas"] = module(features, mask)
        return outputs


def _on_canvases(
    parts: Parts, *, prepared: bool = False
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns inputs and outputs for images on canvases, as `SSH` documents them."""
    images = keras.Input((None, None, 3), name="images")
    sizes = keras.Input((2,), dtype="int32", name="sizes")

    def mask(features: Tensor, stride: int) -> Tensor:
        return MaskCanvas(stride)(features, sizes)

    return {"images": images, "sizes": sizes}, parts(images, mask, prepared=prepared)


class Fusion:
    """Joins the map of stride 8 with the upsampled one of stride 16 (paper 3.1).

    Args:
        channels: Width of both reductions and of the result.
        upsample: Whether the coarser map takes part.
    """

    def __init__(self, channels: int, *, upsample: bool) -> None:
        self.reduce_fine = _conv("fuse_conv4_reduce", channels, 1, relu=True)
        self.conv = _conv("fuse_conv", channels, 3, relu=True)
        self.upsample = None
        if upsample:
            self.reduce_coarse = _conv("fuse_conv5_reduce", channels, 1, relu=True)
            self.upsample = BilinearUpsample(name="fuse_conv5_upsample", trainable=False)

    def __call__(
        self, fine: Tensor, coarse: Tensor, mask: Mask, upsample: Upsample | None = None
    ) -> Tensor:
        """`[B, H/8, W/8, C]` and `[B, H/16, W/16, D]` to `[B, H/8, W/8, channels]`."""
        x = self.reduce_fine(fine)
        if self.upsample is not None:
            coarse = mask(self.reduce_coarse(coarse), 16)  # [B, H/16, W/16, channels]
            x = keras.layers.Add()([x, (upsample or self.upsample)(coarse, x)])
        return mask(self.conv(mask(x, 8)), 8)


class DetectionModule:
    """Finds the faces of one stride (paper 3.2, figure 3; context 3.3, figure 4).

    Args:
        config: Its stride, width and anchors.
        context: Whether it has the context branch.
    """

    def __init__(self, config: ModuleConfig, *, context: bool) -> None:
        name, half, anchors = config.name, config.channels // 2, len(config.anchor_scales)
        self.config, self.context = config, context
        self.conv3x3 = _conv(f"{name}_conv3x3", config.channels, 3, relu=True)
        if context:
            # Two 3x3 see 5x5, three see 7x7; the first is shared.
            self.reduce = _conv(f"{name}_context_reduce", half, 3, relu=True)
            self.conv5x5 = _conv(f"{name}_context_5x5", half, 3, relu=True)
            self.conv7x7_1 = _conv(f"{name}_context_7x7_1", half, 3, relu=True)
            self.conv7x7_2 = _conv(f"{name}_context_7x7_2", half, 3, relu=True)
        # Channels: class-major, background first (bg a0, bg a1, face a0, face a1).
        self.cls = _conv(f"{name}_cls", 2 * anchors, 1, relu=False)
        # Channels: anchor-major (dx, dy, dw, dh of a0, then of a1).
        self.box = _conv(f"{name}_box", 4 * anchors, 1, relu=False)

    def __call__(self, features: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
        """`[B, h, w, C]` to logits `[B, N, 2]` and deltas `[B, N, 4]`, both float32."""
        x = self.conv3x3(features)  # [B, h, w, X]
        if self.context:
            stride = self.config.stride
            reduced = mask(self.reduce(features), stride)  # [B, h, w, X/2]
            five = self.conv5x5(reduced)  # [B, h, w, X/2]
            seven = self.conv7x7_2(mask(self.conv7x7_1(reduced), stride))  # [B, h, w, X/2]
            x = keras.layers.Concatenate()([x, five, seven])  # [B, h, w, 2X]
        logits = self.cls(x)  # [B, h, w, 2A], class-major
        logits = _reshape(-1, 2, len(self.config.anchor_scales))(logits)  # [B, hw, 2, A]
        logits = _reshape(-1, 2)(keras.layers.Permute((1, 3, 2))(logits))  # [B, hwA, 2]
        return logits, _reshape(-1, 4)(self.box(x))


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


def _reshape(*shape: int) -> keras.layers.Reshape:
    """A reshape that leaves mixed precision: losses and boxes are computed in float32."""
    return keras.layers.Reshape(shape, dtype="float32")
