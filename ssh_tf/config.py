"""Settings: frozen, validated, read from YAML plus overrides `a.b=c`. No TensorFlow here.

The defaults are what the official code does (mahyarnajibi/SSH), since the published AP comes from
it. Each field names its source: an official file or a section of the paper (arXiv:1708.03979).
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from ssh_tf.errors import UserError
from ssh_tf.files import existing_file

Precision = Literal["float32", "bfloat16", "float16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
Redaction = Literal["blur", "pixelate", "fill"]
REDACTIONS: tuple[Redaction, ...] = get_args(Redaction)


# What fits into the integers of every library that a number is passed to.
_LARGEST = 2**31 - 1
# No file of settings is longer; neither is what a mistaken path leads to read in full.
_MOST_BYTES = 1_000_000


class Settings(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*")
    @classmethod
    def _fits_into_32_bits(cls, value: Any) -> Any:
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int) and number > _LARGEST:
                raise ValueError(f"must be at most {_LARGEST}")
        return value


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
    zoomed out: what lies beyond it has the mean colour (SSD, arXiv:1512.02325, 3.6)."""
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
    """Share of images without colours (SimCLR, arXiv:2002.05709: 0.2)."""
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
    """The optimisation (`solver_ssh.prototxt`, `main_train.py`)."""

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
    """Longest gradient: that of a whole update is shortened to this norm. Official: not clipped."""
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
    """Seed of initialisation and sample order (`default_config.yml` RNG_SEED)."""
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


class DetectConfig(Settings):
    """Inference (`SSH/test.py`, `SSH/layers/proposal_layer.py`, `wider.yml` TEST)."""

    shorter_px: int = Field(default=1200, gt=0)
    """The shorter side is scaled to this (`wider.yml` TEST.SCALES) ..."""
    longer_px: int = Field(default=1600, gt=0)
    """... unless the longer side would exceed this (`wider.yml` TEST.MAX_SIZE)."""
    pyramid_px: tuple[PositiveInt, ...] = ()
    """An image pyramid instead: one level per entry (`wider_pyramid.yml` SCALES: 500, 800, 1200,
    1600), whose scale is that of `pyramid_base_px` x entry / its shorter side."""
    pyramid_base_px: tuple[PositiveInt, PositiveInt] = (800, 1200)
    """Shorter and longer side of the pyramid's base (`wider_pyramid.yml` PYRAMID_BASE_SIZE)."""
    precision: Precision = "float32"
    """Arithmetic of the network; scores, boxes and NMS are float32. Official: float32."""
    top_k: int = Field(default=1000, gt=0)
    """Best boxes each module passes to the joint NMS (N_DETS_PER_MODULE)."""
    exact_decode: bool = False
    """Whether decoded corners are the inverse of the training targets. Official code: no, x2 and y2
    come out 1 px further (`bbox_transform_inv` leaves out a -1). Paper: standard regression."""
    score_threshold: float = Field(default=0.05, ge=0, lt=1)
    """Boxes need a greater score to enter the NMS (`SSH/test.py` thresh)."""
    nms_iou: float = Field(default=0.3, gt=0, le=1)
    """The joint NMS drops boxes that overlap a better one by more (TEST.NMS_THRESH)."""
    max_detections: int | None = Field(default=None, gt=0)
    """Most boxes returned for an image; by default all, like the official code. An export, whose
    outputs have a fixed number of rows: `EXPORT_ROWS`."""


# Most pixels of an image file that is read, whose header a stranger wrote: 15 bytes each in the
# detector, as bytes and as float32, are 1 GB.
MAX_PIXELS = 64_000_000


# Rows of an export's outputs where `DetectConfig.max_detections` names no number.
EXPORT_ROWS = 750


class ExportConfig(Settings):
    """What an exported SavedModel has of its own; scale and thresholds are `DetectConfig`'s."""

    upright: bool = True
    """Turn encoded images upright as their EXIF asks; boxes refer to the upright image."""
    max_bytes: int = Field(default=32 * 2**20, gt=0, lt=2**31)
    """Encoded images of more bytes are refused before anything reads them."""
    max_pixels: int = Field(default=MAX_PIXELS, gt=0, lt=2**31)
    """Images whose header says more pixels are refused before they are decoded (3 bytes each)."""
    float16: bool = False
    """Store weights as float16, half the size; all arithmetic stays float32."""
    version: int | None = Field(default=None, gt=0, lt=10**18)
    """The version's number; by default one more than the newest."""


# The scales that published results were made at: `wider.yml`, `wider_pyramid.yml`; FDDB and Pascal
# Faces as the paper has them. AFW, which it leaves out, as Pascal Faces. `demo`: configs/demo.yaml.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "wider": {"shorter_px": 1200, "longer_px": 1600, "pyramid_px": ()},
    "wider_pyramid": {"pyramid_px": (500, 800, 1200, 1600), "pyramid_base_px": (800, 1200)},
    "fddb": {"shorter_px": 400, "longer_px": 800, "pyramid_px": ()},
    "pascal": {"shorter_px": 400, "longer_px": 800, "pyramid_px": ()},
    "afw": {"shorter_px": 400, "longer_px": 800, "pyramid_px": ()},
    "demo": {"shorter_px": 128, "longer_px": 160, "pyramid_px": ()},
}


class Config(Settings):
    """One experiment."""

    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    validation: ValidationConfig = ValidationConfig()
    detect: DetectConfig = DetectConfig()


class _Loader(yaml.SafeLoader):
    """SafeLoader with the rules of YAML 1.2, and without what few bytes make large.

    `1e-4` is a number (in PyYAML's YAML 1.1 it is a text), a key that stands twice in a group is an
    error (PyYAML drops the first), and aliases are refused.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Makes the next node."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                None, None, f"aliases like *{event.anchor} are not supported", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Makes a dict of a mapping's node."""
        known = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else key
            if name in known:
                raise yaml.MarkedYAMLError(None, None, f"{name} is there twice", key.start_mark)
            known.add(name)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def shipped(path: str | Path) -> Path:
    """Returns the package's own file for `configs/NAME.yaml` where there is no such file.

    A checkout has `configs/` beside the package, an installed package has it inside.
    """
    path, package = Path(path), Path(__file__).parent
    if path.parts[:1] == ("configs",) and not path.exists():
        found = [root / path for root in (package, package.parent) if (root / path).is_file()]
        return found[0] if found else path
    return path


def load(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Reads a YAML file of settings and applies overrides.

    Args:
        path: The file, or `configs/NAME.yaml` for the package's own. Keys that it does not name
            have the defaults above.
        overrides: `a.b=c` each; `c` is read as YAML, so `[1, 2]`, `true` and `1e-4` work.

    Returns:
        The validated settings.

    Raises:
        UserError: For a missing or malformed file, an unknown key or a value of the wrong type.
    """
    file = existing_file(shipped(path), "a YAML file of settings, like those in configs/")
    if file.stat().st_size > _MOST_BYTES:
        raise UserError(f"{file} is no file of settings: it has more than {_MOST_BYTES} bytes.")
    try:
        data = _parse(file.read_text(encoding="utf-8"))
    except ValueError as error:  # UnicodeDecodeError is one.
        raise UserError(f"{file} is not valid YAML: {error}") from error
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise UserError(f"{file} must hold `key: value` lines. Received: {type(data).__name__}.")
    for override in overrides:
        _apply_override(data, override)
    return validate(data, origin=str(file))


def validate(data: Mapping[str, Any], *, origin: str) -> Config:
    """Turns plain data into settings.

    Args:
        data: Nested mappings of plain YAML values.
        origin: Where the data came from, for the error message.

    Returns:
        The validated settings.

    Raises:
        UserError: Naming the first offending key, with the known keys or the expected type.
    """
    try:
        text = json.dumps(data, default=str)
    except (TypeError, ValueError) as error:
        raise UserError(f"{origin}: expected names as keys and plain values ({error}).") from error
    try:
        # Strict JSON validation: lists become tuples, but "yes" never becomes 1, nor 1.5 an int.
        return Config.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise UserError(f"{origin}: {_explain(error)}") from error


def to_yaml(config: Config) -> str:
    """Returns all settings as YAML that `load` reads back to an equal `Config`."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _parse(text: str) -> Any:
    """Reads YAML.

    Raises:
        ValueError: If it is none, in one line. Integers of thousands of digits and dates that are
            none raise it within PyYAML.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"Override {override!r} must have the form a.b=c, like train.steps=100.")
    *parents, leaf = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise UserError(f"Override {override!r}: `{parent}` is a value and no group.")
    try:
        data[leaf] = _parse(text)
    except ValueError as error:
        raise UserError(f"Override {override!r}: {text!r} is not a YAML value.") from error


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    location = first["loc"]
    key = ".".join(str(part) for part in location)
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(_known_keys(location[:-1])))
        return f"unknown key `{key}`. Known keys here: {known}."
    message = first["msg"].removeprefix("Value error, ")
    # Our own checks of a whole group name what they received.
    whole = first["type"] == "value_error" and isinstance(first["input"], dict)
    return f"`{key}`: {message}." + ("" if whole else f" Received: {first['input']!r}.")


def _known_keys(location: tuple[int | str, ...]) -> Iterable[str]:
    group: type[Settings] = Config
    for part in location:
        if isinstance(part, str):
            annotation = group.model_fields[part].annotation
            group = ModuleConfig if part == "modules" else annotation  # type: ignore[assignment]
    return group.model_fields
