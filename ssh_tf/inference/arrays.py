"""Detection on NumPy arrays, around any program that runs the network.

What `ssh_tf.inference.graph` is inside a TensorFlow graph; the two are tested against each other.
This one is faster where images are single: OpenCV scales them, and only anchors whose score passes
the threshold are looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ssh_tf.config import DetectConfig, ModuleConfig
from ssh_tf.geometry.anchors import base_anchors, grid_size

# What `SSH` documents, as float32 arrays, batch 1; and from `[1, H, W, 3]` float32, what
# `Preprocess` gives (BGR less the network's means), to that.
Outputs = Mapping[str, np.ndarray]
Forward = Callable[[np.ndarray], Outputs]
Boxes = tuple[np.ndarray, np.ndarray]

# Logits are compared before scores are computed; the margin is far beyond what rounding moves.
_MARGIN = 1e-3
# Boxes that the NMS compares with all others at a time: what they need fits into the caches.
_BLOCK = 64


def find_faces(
    forward: Forward,
    image: np.ndarray,
    modules: Sequence[ModuleConfig],
    means: Sequence[float],
    config: DetectConfig,
) -> Boxes:
    """Finds the faces of one image.

    Args:
        forward: Runs the network.
        image: `[H, W, 3]` uint8 RGB.
        modules: The network's detection modules.
        means: The network's.
        config: Scale and thresholds.

    Returns:
        `[D, 4]` float32 official corners in px of the image and `[D]` scores, best face first.

    References:
        `SSH/test.py: detect`.
    """
    scaled = scale_levels(difference(image, means), modules, config)
    return find_boxes(scaled, [forward(level.pixels[np.newaxis]) for level in scaled], config)


class Level(NamedTuple):
    """An image at one of its scales.

    Attributes:
        scale: From the image to these pixels.
        modules: Those whose boxes count here.
        pixels: `[h, w, 3]` float32, what the network's `Preprocess` gives.
    """

    scale: float
    modules: Sequence[ModuleConfig]
    pixels: np.ndarray


def difference(image: np.ndarray, means: Sequence[float]) -> np.ndarray:
    """Does what the network's `Preprocess` does, before an image is scaled.

    That is the same as after it, since interpolation weights add up to 1, and it is what the
    official code does. Inside a network, this pass over all pixels costs up to a quarter of its
    time (docs/decisions/0033).

    Args:
        image: `[H, W, 3]` uint8 RGB.
        means: Mean blue, green and red, gray levels.

    Returns:
        `[H, W, 3]` float32 BGR less the means.
    """
    bgr = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    subtracted: np.ndarray = cv2.subtract(bgr, np.array([*means, 0.0]), dtype=cv2.CV_32F)
    return subtracted


def scale_levels(
    image: np.ndarray, modules: Sequence[ModuleConfig], config: DetectConfig
) -> list[Level]:
    """Returns what the network is to see of an image that `difference` gave; see `find_faces`."""
    return [
        Level(scale, counted, resize(image, scale))
        for scale, counted in levels(image.shape[:2], modules, config)
    ]


def find_boxes(scaled: Sequence[Level], outputs: Sequence[Outputs], config: DetectConfig) -> Boxes:
    """Returns what `find_faces` does, of the network's outputs for each level."""
    boxes, scores = [], []
    for level, output in zip(scaled, outputs, strict=True):
        for module in level.modules:
            found, score = module_proposals(output, level.pixels.shape[:2], module, config)
            boxes.append(found / np.float32(level.scale))
            scores.append(score)
    return joint_nms(np.concatenate(boxes), np.concatenate(scores), config)


def levels(
    size: Sequence[int], modules: Sequence[ModuleConfig], config: DetectConfig
) -> list[tuple[float, Sequence[ModuleConfig]]]:
    """Returns the scales to run an image at, and the modules whose boxes count there.

    Args:
        size: Height and width of the image, px.
        modules: The network's detection modules.
        config: Single scale, or the levels of a pyramid.

    Returns:
        `(scale, modules)` per level, as `graph.levels`.
    """
    if not config.pyramid_px:
        return [(single_scale(size, config.shorter_px, config.longer_px), modules)]
    base = single_scale(size, *config.pyramid_base_px)
    fine = [module for module in modules if module.stride < 32]
    largest = max(config.pyramid_px)
    pyramid = [
        (base * (level / config.pyramid_base_px[0]), fine if level == largest else modules)
        for level in config.pyramid_px
    ]
    return [(scale, counted) for scale, counted in pyramid if counted]


def single_scale(size: Sequence[int], shorter_px: int, longer_px: int) -> float:
    """Returns the factor that brings the shorter side to `shorter_px`, or the longer to its limit.

    As `ssh_tf.imaging.scale.single_scale`.
    """
    scale = shorter_px / min(size)
    return longer_px / max(size) if round(scale * max(size)) > longer_px else scale


def resize(image: np.ndarray, scale: float) -> np.ndarray:
    """Resizes as the official code does, which `ssh_tf.imaging.scale.resize` equals.

    Args:
        image: `[H, W, 3]` float32.
        scale: One factor for both axes.

    Returns:
        `[round(H scale), round(W scale), 3]` float32, sides at least 1.
    """
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    if not all(round(side * scale) for side in image.shape[:2]):
        return np.zeros((height, width, 3), np.float32)  # As TensorFlow's kernel; OpenCV refuses.
    return cv2.resize(image, None, fx=scale, fy=scale)


def module_proposals(
    outputs: Outputs,
    size: Sequence[int],
    module: ModuleConfig,
    config: DetectConfig,
) -> Boxes:
    """Returns one module's best boxes whose score passes the threshold.

    Args:
        outputs: The network's, batch 1.
        size: Height and width of the network's input, px; boxes are clipped to it.
        module: The module.
        config: `score_threshold`, `top_k` and `exact_decode`.

    Returns:
        `[K, 4]` float32 official corners in network px and `[K]` float32, best first. Boxes under
        the threshold would only be dropped later, by `joint_nms`.

    References:
        `SSH/layers/proposal_layer.py`.
    """
    logits = outputs[f"{module.name}_logits"][0]  # [N, 2]
    index, scores = _best(logits, config.score_threshold, config.top_k)
    anchors = _anchors(index, grid_size(size[1], module.stride), module)
    boxes = _decode(outputs[f"{module.name}_deltas"][0][index], anchors)
    if config.exact_decode:
        boxes[:, 2:] -= 1.0
    last = np.array([size[1], size[0], size[1], size[0]], np.float32) - 1.0
    return np.maximum(np.minimum(boxes, last), 0.0), scores


def joint_nms(boxes: np.ndarray, scores: np.ndarray, config: DetectConfig) -> Boxes:
    """Drops weak boxes and those that overlap a better one, whatever module they come from.

    Args:
        boxes: `[K, 4]` float32 official corners, px of the original image.
        scores: `[K]` float32.
        config: `score_threshold`, `nms_iou` and `max_detections`.

    Returns:
        At most `max_detections` faces. Of equal scores, the earlier row counts as the better.

    References:
        `SSH/test.py: detect`, `lib/nms/gpu_nms`: areas count the last pixel, a box goes if its IoU
        is greater than the threshold.
    """
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > config.score_threshold]
    boxes, scores = boxes[order], scores[order]
    chosen = _survivors(boxes, config)
    return boxes[chosen], scores[chosen]


def found_again(boxes: np.ndarray, expected: np.ndarray, least_iou: float = 0.8) -> np.ndarray:
    """Says which expected boxes a box covers: how reduced precision is compared with float32.

    Args:
        boxes: `[D, 4]` official corners.
        expected: `[E, 4]` official corners.
        least_iou: Of a box with the expected one.

    Returns:
        `[E]` bool.
    """
    iou = _iou(_half_open(expected), _half_open(boxes))
    return np.asarray((iou >= least_iou).any(axis=1))


def _survivors(boxes: np.ndarray, config: DetectConfig) -> np.ndarray:
    """Returns the rows of boxes `[K, 4]`, best first, that overlap no better survivor.

    In blocks: NumPy compares many boxes with all others in little more time than one.
    """
    corners = _half_open(boxes)
    most = len(boxes) if config.max_detections is None else config.max_detections
    left, chosen = np.arange(len(boxes)), np.arange(0)
    while left.size and len(chosen) < most:
        block, left = left[:_BLOCK], left[_BLOCK:]
        drops = _iou(corners[:, block], corners[:, block]) > config.nms_iou  # [B, B]
        kept = np.ones(len(block), bool)
        for row in range(len(block)):
            if kept[row]:
                kept[row + 1 :] &= ~drops[row, row + 1 :]
        block = block[kept]
        chosen = np.concatenate([chosen, block])
        left = left[~(_iou(corners[:, block], corners[:, left]) > config.nms_iou).any(axis=0)]
    return chosen[:most]


def _half_open(boxes: np.ndarray) -> np.ndarray:
    """Returns official corners `[K, 4]` as columns `[4, K]` that end behind the last pixel."""
    corners = np.array(boxes.T, order="C")
    corners[2:] += 1.0
    return corners


def _iou(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the IoU `[B, K]` of half-open boxes, `[4, B]` and `[4, K]`."""
    x1, y1, x2, y2 = ones[:, :, np.newaxis]
    width = np.minimum(x2, others[2]) - np.maximum(x1, others[0])  # [B, K]
    height = np.minimum(y2, others[3]) - np.maximum(y1, others[1])
    intersection = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    areas = (others[2] - others[0]) * (others[3] - others[1])
    iou: np.ndarray = intersection / ((x2 - x1) * (y2 - y1) + areas - intersection)
    return iou


def _best(logits: np.ndarray, threshold: float, top_k: int) -> Boxes:
    """Returns the rows `[K]` of the best face probabilities above a threshold, and these `[K]`."""
    with np.errstate(divide="ignore", invalid="ignore"):  # log(0): all pass; NaN: passes nothing.
        least = np.log(threshold / (1.0 - threshold)) - _MARGIN
        index = np.flatnonzero(logits[:, 1] - logits[:, 0] > least)
    power = np.exp(logits[index] - logits[index].max(axis=1, keepdims=True))
    scores = power[:, 1] / power.sum(axis=1)
    order = np.argsort(-scores, kind="stable")[:top_k]
    order = order[scores[order] > threshold]
    return index[order], scores[order]


def _anchors(index: np.ndarray, columns: int, module: ModuleConfig) -> np.ndarray:
    """Returns those rows `[K, 4]` of `anchor_grid`."""
    cell, anchor = np.divmod(index, len(module.anchor_scales))
    row, column = np.divmod(cell, columns)
    shift = np.stack([column, row, column, row], axis=-1).astype(np.float32) * module.stride
    return base_anchors(module.anchor_scales)[anchor] + shift


def _decode(deltas: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Moves and scales anchors, `[K, 4]` each, as `ssh_tf.geometry.boxes.decode`."""
    sides = anchors[:, 2:] - anchors[:, :2]
    centers = anchors[:, :2] + 0.5 * sides + deltas[:, :2] * sides
    half = 0.5 * np.exp(np.where(deltas[:, 2:] > 50.0, 5.0, deltas[:, 2:])) * sides
    return np.concatenate([centers - half, centers + half], axis=-1)
