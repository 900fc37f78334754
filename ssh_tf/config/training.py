"""Settings of the input pipeline, the optimization and the validation."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    AliasChoices,
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from ssh_tf.config.base import Precision, Settings


class DataConfig(Settings):
    """What the pipeline reads and makes of it (`lib/roi_data_layer/minibatch.py`)."""

    records: dict[str, PositiveFloat] = Field(default={"tfrecords/wider_train": 1.0}, min_length=1)
    """Folder of TFRecords built by `ssh-tf records`; or several, `{folder: weight}`: images are
    taken from them at random in proportion to the weights. The official data set is one."""
    shorter_px: int = Field(default=1200, gt=0)
    """The shorter side is scaled to this (`wider.yml` SCALES) ..."""
    longer_px: int = Field(default=1600, gt=0)
    """... unless the longer side would exceed this (`wider.yml` MAX_SIZE)."""
    flip: bool = True
    """Mirror half of the images (the official code doubles the list with mirrored copies)."""
    drop_empty: bool = True
    """Leave out images without an annotated face (`lib/datasets/wider.py`: they have no roidb
    entry). Those whose boxes all have no area stay, as negatives (`SSH/train.py: is_valid`)."""
    shorter_choices_px: tuple[PositiveInt, ...] = ()
    """Instead of `shorter_px`: one of these is drawn for each image (`minibatch.py`, for several
    SCALES). Official: one scale."""
    crop_px: int | None = Field(default=None, gt=0)
    """Random squares instead of images, scaled to this side (mxnet-SSH: 640)."""
    crop_factors: tuple[float, ...] = (0.3, 0.45, 0.6, 0.8, 1.0)
    """Sides of the squares, as shares of an image's shorter side (mxnet-SSH). Above 1 an image is
    zoomed out: what lies beyond it has the mean color (SSD, arXiv:1512.02325, 3.6)."""
    crop_smallest_px: float = Field(default=6.0, ge=0)
    """Faces in a square whose longer side is less at network scale are left out (mxnet-SSH)."""
    mosaic_probability: float = Field(default=0.0, ge=0, lt=1)
    """Share of images that consist of four squares of half the side, of different images (YOLOv4,
    arXiv:2004.10934). Needs `crop_px`. Official: none, as for all that follow."""
    distort_colors: bool = Field(
        default=False, validation_alias=AliasChoices("distort_colors", "distort_colours")
    )
    """Change brightness, contrast, saturation and hue at random (SSD's ranges)."""
    erase_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of faces of which a patch is covered (after random erasing, arXiv:1708.04896)."""
    gray_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of images without colors (SimCLR, arXiv:2002.05709: 0.2)."""
    blur_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of images blurred by a Gaussian of 0.3 to 2 px (SimCLR, arXiv:2002.05709)."""
    jpeg_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of images compressed again, as JPEG of quality 15 to 75. Ours."""
    canvas_steps: int = Field(default=16, gt=0)
    """Canvases' sides are multiples of `longer_px` / this (or a limit): few sizes, little padding.
    Results do not depend on it (docs/decisions/0006)."""
    shuffle_images: int = Field(default=16_384, gt=0)
    """Size of the shuffle buffer in (encoded) images; WIDER train has 12,880."""

    @field_validator("records", mode="before")
    @classmethod
    def _one_folder_is_a_mapping(cls, records: Any) -> Any:
        if not isinstance(records, str | Mapping):
            raise ValueError("expected a folder, or {folder: weight} for several")
        return {records: 1.0} if isinstance(records, str) else records

    @field_validator("crop_factors")
    @classmethod
    def _check_factors(cls, factors: tuple[float, ...]) -> tuple[float, ...]:
        if not factors or not all(0 < factor <= 4 for factor in factors):
            raise ValueError("each must be above 0 and at most 4, and there must be one")
        return factors

    @model_validator(mode="after")
    def _check_crops(self) -> "DataConfig":
        if self.crop_px is not None and self.shorter_choices_px:
            raise ValueError(
                "crop_px and shorter_choices_px exclude each other: leave one of them out"
            )
        if self.mosaic_probability and (self.crop_px is None or self.crop_px % 2):
            raise ValueError(f"mosaic_probability needs an even crop_px, not {self.crop_px}")
        return self


class TrainConfig(Settings):
    """The optimization (`solver_ssh.prototxt`, `main_train.py`)."""

    steps: int = Field(default=21_000, gt=0)
    """Weight updates (`main_train.py` --iters)."""
    images_per_update: int = Field(default=8, gt=0)
    """Images a weight update averages over: 4 GPUs x 1 x iter_size 2. Paper 4.1: 4."""
    images_per_replica: int = Field(default=1, gt=0)
    """Images a device holds at once (`default_config.yml` IMS_PER_BATCH)."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """`sgd` is Caffe's: L2 decay inside momentum, per-layer multipliers. `adam` is for short runs
    from random weights."""
    learning_rate: float = Field(default=0.004, gt=0)
    """base_lr (`solver_ssh.prototxt`)."""
    learning_rate_images: int | None = Field(default=None, gt=0)
    """Images per update that `learning_rate` is meant for: it is scaled in proportion to
    `images_per_update` (Goyal et al., arXiv:1706.02677, 2.1). Official: not scaled."""
    schedule: Literal["step", "cosine"] = "step"
    """`step` multiplies by `decay_factor` at each of `decay_steps`; `cosine` falls to zero."""
    decay_steps: tuple[int, ...] = (18_000,)
    """Steps of the `step` schedule (`solver_ssh.prototxt` stepsize)."""
    decay_factor: float = Field(default=0.1, gt=0, le=1)
    """Factor of the `step` schedule (`solver_ssh.prototxt` gamma)."""
    warmup_steps: int = Field(default=0, ge=0)
    """The learning rate rises linearly over these first steps. Official: none."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """`solver_ssh.prototxt`."""
    weight_decay: float = Field(default=0.0005, ge=0)
    """L2 factor, added to the gradient before momentum (`solver_ssh.prototxt`)."""
    bias_lr_multiplier: float = Field(default=2.0, ge=0)
    """lr_mult of every bias (`train_ssh.prototxt`)."""
    decay_module_biases: bool = False
    """Whether biases of the detection modules are decayed (`train_ssh.prototxt`: decay_mult 0;
    paper 4.1 excepts nothing). Biases of VGG and fusion layers are decayed in either case."""
    frozen: tuple[str, ...] = ("block1_", "block2_")
    """Layers whose name starts with one of these stay as they are (`train_ssh.prototxt`: lr_mult 0
    up to conv2_2). Paper 4.1: up to conv3-1."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Clips the global gradient norm of an update. Official: not clipped."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Moving average of the weights, which is then what is evaluated and saved: its decay per
    update; (1 + n) / (10 + n) in the first n updates, where that is less. Official: none."""
    precision: Precision = "float32"
    """Arithmetic of the convolutions; weights, losses and boxes stay float32. `float16` scales the
    loss dynamically. Official: float32."""
    jit_compile: bool = False
    """Compile the network's forward and backward pass with XLA, once per canvas. Official: no."""
    deterministic: bool = False
    """Make GPU operations give the same bits each time, more slowly. CPUs do in either case."""
    seed: int = Field(default=3, ge=0)
    """Seed of initialization and sample order (`default_config.yml` RNG_SEED)."""
    checkpoint_every: int = Field(default=1000, gt=0)
    """Steps between checkpoints (`wider.yml` SNAPSHOT_ITERS)."""
    log_every: int = Field(default=20, gt=0)
    """Steps between log entries (`solver_ssh.prototxt` display)."""


class ValidationConfig(Settings):
    """Evaluation while training, by WIDER's protocol; none by default, like the official code."""

    wider_root: str | None = None
    """Folder in WIDER's layout; None: no validation."""
    split: str = "val"
    """Its split."""
    ground_truth: str | None = None
    """Folder of the official .mat files; None: all annotated faces count."""
    every: int = Field(default=1000, gt=0)
    """Updates between evaluations; the last update is always evaluated."""
    images: int | None = Field(default=None, gt=0)
    """Only the first so many images of the split; None: all."""
    pictures: int = Field(default=4, ge=0)
    """Images shown in TensorBoard with annotations and detections."""
