"""Settings of inference and exports."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field, PositiveInt

from ssh_tf.config.base import Settings

Redaction = Literal["blur", "pixelate", "fill"]
REDACTIONS: tuple[Redaction, ...] = get_args(Redaction)
DetectPrecision = Literal["float32", "bfloat16", "float16", "int8"]
PRECISIONS: tuple[DetectPrecision, ...] = get_args(DetectPrecision)


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
    precision: DetectPrecision = "float32"
    """Arithmetic of the network; scores, boxes and NMS are float32. `int8`: whole numbers, on CPUs
    (docs/decisions/0032). Official: float32."""
    calibration: str | None = None
    """Folder of photos that show which values `int8` has to hold; by default drawn pictures."""
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
