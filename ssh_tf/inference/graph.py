"""Detection as one TensorFlow graph: the Python detector runs it, the SavedModel holds it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from ssh_tf.config import DetectConfig, ModuleConfig
from ssh_tf.environment import require_tensorflow
from ssh_tf.geometry.anchors import anchor_grid, grid_size
from ssh_tf.geometry.boxes import exclude_last_pixel, include_last_pixel
from ssh_tf.geometry.proposals import face_probability, propose
from ssh_tf.imaging.scale import pyramid_scales, resize, single_scale
from ssh_tf.model.precision import in_precision
from ssh_tf.model.ssh import SSH

Tensor = Any


class ScoredBoxes(NamedTuple):
    """Faces of one image inside a graph, best first; people get `results.Detections`.

    Attributes:
        boxes: `[D, 4]` float32 official corners `x1, y1, x2, y2` in px of the original image.
        scores: `[D]` float32 in `(0, 1]`.
    """

    boxes: Tensor
    scores: Tensor


def detection_function(
    network: SSH,
    config: DetectConfig,
    *,
    forward: Callable[[Tensor], dict[str, Tensor]] | None = None,
) -> Callable[[Tensor], ScoredBoxes]:
    """Returns the function that finds the faces of one image.

    Args:
        network: The detector.
        config: Scale and thresholds.
        forward: What computes the network's outputs from `[1, H, W, 3]` float32; by default the
            network, in the precision of `config`.

    Returns:
        A function of `[H, W, 3]` uint8 RGB, traceable by `tf.function` for any H and W.

    Raises:
        UserError: If Keras runs on another backend than TensorFlow.

    References:
        `SSH/test.py: detect`.
    """
    require_tensorflow()
    forward = forward or in_precision(network, config.precision).exact()

    def detect(image: Tensor) -> ScoredBoxes:
        boxes, scores = [], []
        for scale, modules in levels(tf.shape(image)[:2], network.config.modules, config):
            pixels = resize(image, scale)  # [h, w, 3]
            found, score = module_proposals(
                forward(pixels[tf.newaxis]),
                tf.shape(pixels)[:2],
                modules,
                top_k=config.top_k,
                exact_decode=config.exact_decode,
            )
            boxes.append(found / tf.cast(scale, tf.float32))
            scores.append(score)
        return joint_nms(tf.concat(boxes, axis=0), tf.concat(scores, axis=0), config)

    return detect


def levels(
    size: Tensor, modules: Sequence[ModuleConfig], config: DetectConfig
) -> list[tuple[Tensor, Sequence[ModuleConfig]]]:
    """Returns the scales to run an image at, and the modules whose boxes count there.

    Args:
        size: `[2]` int, height and width of the image, px.
        modules: The network's detection modules.
        config: Single scale, or the levels of a pyramid.

    Returns:
        `(scale, modules)` per level. The largest level of a pyramid goes without the module of
        stride 32, whose faces the smaller levels find.

    References:
        `SSH/test.py: detect`.
    """
    if not config.pyramid_px:
        scale = single_scale(size, shorter_px=config.shorter_px, longer_px=config.longer_px)
        return [(scale, modules)]
    scales = pyramid_scales(size, levels_px=config.pyramid_px, base_px=config.pyramid_base_px)
    small = [module for module in modules if module.stride < 32]
    largest = max(config.pyramid_px)
    per_level = [small if level == largest else modules for level in config.pyramid_px]
    return [(scale, used) for scale, used in zip(scales, per_level, strict=True) if used]


def joint_nms(boxes: Tensor, scores: Tensor, config: DetectConfig) -> ScoredBoxes:
    """Drops weak boxes and those that overlap a better one, whatever module they come from.

    Args:
        boxes: `[K, 4]` float32 official corners, px of the original image.
        scores: `[K]` float32.
        config: `score_threshold`, `nms_iou` and `max_detections`.

    Returns:
        At most `max_detections` faces.

    References:
        `SSH/test.py: detect`, `lib/nms/gpu_nms`: areas count the last pixel, a box goes if its IoU
        is greater than the threshold. TensorFlow's kernel has no such pixel, so it gets half-open
        boxes.
    """
    # TensorFlow's kernel takes y before x.
    corners = tf.reverse(tf.reshape(include_last_pixel(boxes), [-1, 2, 2]), axis=[-1])  # [K, 2, 2]
    limit = tf.shape(scores)[0] if config.max_detections is None else config.max_detections
    result = tf.image.combined_non_max_suppression(
        tf.reshape(corners, [1, -1, 1, 4]),  # [batch, K, classes, 4]
        scores[tf.newaxis, :, tf.newaxis],  # [batch, K, classes]
        max_output_size_per_class=limit,
        max_total_size=limit,
        iou_threshold=config.nms_iou,
        score_threshold=config.score_threshold,
        clip_boxes=False,
    )
    count = result.valid_detections[0]
    corners = tf.reverse(tf.reshape(result.nmsed_boxes[0, :count], [-1, 2, 2]), axis=[-1])
    remaining = tf.reshape(corners, [-1, 4])  # [D, 4] x1, y1, x2, y2
    return ScoredBoxes(exclude_last_pixel(remaining), result.nmsed_scores[0, :count])


def module_proposals(
    outputs: dict[str, Tensor],
    size: Tensor,
    modules: Sequence[ModuleConfig],
    *,
    top_k: int,
    exact_decode: bool = False,
) -> tuple[Tensor, Tensor]:
    """Joins the best boxes of every module.

    Args:
        outputs: The network's, for one image.
        size: `[2]` int, height and width of the network's input, px.
        modules: The modules whose boxes count.
        top_k: Most boxes per module.
        exact_decode: See `DetectConfig.exact_decode`.

    Returns:
        `[K, 4]` float32 official corners in px of the network's input, and `[K]` float32 scores.
    """
    boxes, scores = [], []
    for module in modules:
        anchors = anchor_grid(
            grid_size(size[0], module.stride),
            grid_size(size[1], module.stride),
            stride=module.stride,
            scales=module.anchor_scales,
        )
        best, score = propose(  # [k, 4], [k]
            face_probability(outputs[f"{module.name}_logits"][0]),  # [A]
            outputs[f"{module.name}_deltas"][0],  # [A, 4]
            anchors,  # [A, 4]
            size=size,
            top_k=top_k,
            exact_decode=exact_decode,
        )
        boxes.append(best)
        scores.append(score)
    return tf.concat(boxes, axis=0), tf.concat(scores, axis=0)
