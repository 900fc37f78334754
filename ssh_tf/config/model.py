"""Settings of the network and of its losses."""

from typing import Literal

from pydantic import Field, PositiveFloat, field_validator, model_validator

from ssh_tf.config.base import Settings


class ModuleConfig(Settings):
    """One detection module (paper 3.2; `SSH/models/train_ssh.prototxt`)."""

    name: str = Field(pattern=r"^[a-z][a-z0-9]*$", max_length=32)
    """Prefix of the module's layers, outputs and metrics."""
    stride: Literal[8, 16, 32]
    """Pixels per cell: 8 takes the fused conv4/conv5 map, 16 conv5_3, 32 its max-pooling."""
    channels: int = Field(gt=0, le=1024, multiple_of=2)
    """X of the paper: width of the plain 3x3 branch. The context branch adds X/2 + X/2."""
    anchor_scales: tuple[PositiveFloat, ...] = Field(min_length=1, max_length=16)
    """Anchor side = 16 px x scale (`generate_anchors.py`: base_size 16 in every module)."""
    allowed_border: int = Field(ge=0)
    """Anchors that cross the image border by more px are not trained (`param_str` of the layer)."""


M1 = ModuleConfig(name="m1", stride=8, channels=128, anchor_scales=(1, 2), allowed_border=0)
M2 = ModuleConfig(name="m2", stride=16, channels=256, anchor_scales=(4, 8), allowed_border=0)
M3 = ModuleConfig(name="m3", stride=32, channels=256, anchor_scales=(16, 32), allowed_border=512)


class ModelConfig(Settings):
    """The network (paper 3.1-3.3; `SSH/models/test_ssh.prototxt`)."""

    modules: tuple[ModuleConfig, ...] = Field(default=(M1, M2, M3), min_length=1, max_length=8)
    """Detection modules, finest first."""
    backbone: Literal["vgg16", "mobilenet"] = "vgg16"
    """Trunk: VGG-16 (official), or MobileNet v1 for machines without a GPU (ours)."""
    width: float = Field(default=0.25, gt=0, le=1)
    """Multiplier of MobileNet's filters (arXiv:1704.04861, 3.3); VGG-16 has none."""
    activation: Literal["relu6", "leaky_relu"] = "relu6"
    """MobileNet's: `relu6` as in Keras' weights; `leaky_relu` (slope 0.1) as in the weights that
    RetinaFace's MobileNet-0.25 starts from. They belong to the weights: exchanged, nothing of
    ImageNet is left. The detection modules have ReLU in either case."""
    fuse_channels: int = Field(default=128, gt=0, le=1024)
    """Width of the 1x1 reductions and of the fused map (`conv4_128`, `conv5_128`)."""
    fusion: bool = True
    """Whether the stride-8 module also sees upsampled conv5_3 (paper 3.1; ablation in 4.5)."""
    context: bool = True
    """Whether modules have the context branch (paper 3.3; ablation in 4.5)."""
    weights: str = "imagenet"
    """What training starts from: `imagenet` (keras.applications), `random`, a name of `ssh-tf
    models`, or a file: a detector's weights, or Keras' or PyTorch's of a trunk."""

    @field_validator("modules")
    @classmethod
    def _names_differ(cls, modules: tuple[ModuleConfig, ...]) -> tuple[ModuleConfig, ...]:
        names = [module.name for module in modules]
        if len(set(names)) < len(names):
            raise ValueError(f"names must differ, not {', '.join(names)}")
        return modules


class LossConfig(Settings):
    """Targets, OHEM and losses (`SSH/layers/anchor_target_layer.py`, `default_config.yml`)."""

    positive_iou: float = Field(default=0.5, gt=0, le=1)
    """An anchor is positive from this IoU on (`anchor_target_layer.py`)."""
    positive_inclusive: bool = True
    """IoU equal to `positive_iou` is positive. Official code: yes; paper 3.5: strictly greater."""
    negative_iou: float = Field(default=0.3, ge=0, le=1)
    """An anchor is negative below this IoU (`anchor_target_layer.py`)."""
    mining: Literal["hard", "random"] = "hard"
    """Which anchors are sampled: the hardest (`default_config.yml`, paper 3.5), or any: the paper's
    ablation without OHEM (4.5)."""
    samples: int = Field(default=256, gt=0)
    """Anchors mined per module and image (`default_config.yml` ANCHOR_BATCHSIZE)."""
    positive_fraction: float = Field(default=0.25, ge=0, le=1)
    """At most this share of `samples` is positive (`default_config.yml` ANCHOR_FG_FRACTION)."""
    sigma: float = Field(default=3.0, gt=0)
    """Smooth L1 is quadratic for errors under 1/sigma^2 (`train_ssh.prototxt`)."""
    box_normalizer: Literal["samples", "positives"] = "samples"
    """Divisor of the box loss. Official code: mined anchors; paper 3.5: positive anchors."""

    @model_validator(mode="after")
    def _check_thresholds(self) -> "LossConfig":
        if self.negative_iou > self.positive_iou:
            raise ValueError(
                f"negative_iou ({self.negative_iou}) must not exceed positive_iou "
                f"({self.positive_iou}): no anchor is both"
            )
        return self
