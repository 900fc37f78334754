"""SSH once more, in plain NumPy and float64: the network, and its rules one anchor after another.

Follows the paper and the official code directly: inclusive corners (`width = x2 - x1 + 1`), class-
major channels and loops throughout. Shares nothing with the code under test but the layers' names.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Box = Sequence[float]


class Module(NamedTuple):
    """One detection module of the official prototxt."""

    stride: int
    scales: tuple[float, ...]
    border: int


MODULES = (Module(8, (1, 2), 0), Module(16, (4, 8), 0), Module(32, (16, 32), 512))


class Targets(NamedTuple):
    """What one module is trained on, rows in (row, column, anchor) order."""

    labels: Array
    targets: Array


def anchors(height: int, width: int, module: Module) -> list[list[float]]:
    """Lists the anchors of an image in inclusive corners."""
    boxes = []
    for row in range(math.ceil(height / module.stride)):
        for column in range(math.ceil(width / module.stride)):
            x, y = 7.5 + module.stride * column, 7.5 + module.stride * row
            for scale in module.scales:
                reach = (16 * scale - 1) / 2
                boxes.append([x - reach, y - reach, x + reach, y + reach])
    return boxes


def iou(a: Box, b: Box) -> float:
    """Overlap of two boxes of inclusive corners."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    area_a = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
    area_b = (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
    return width * height / (area_a + area_b - width * height)


def encode(anchor: Box, face: Box) -> list[float]:
    """Regression target of an anchor."""
    sides = [face[i + 2] - face[i] + 1 for i in (0, 1)]
    anchor_sides = [anchor[i + 2] - anchor[i] + 1 for i in (0, 1)]
    shift = [
        (face[i] + 0.5 * sides[i] - anchor[i] - 0.5 * anchor_sides[i]) / anchor_sides[i]
        for i in (0, 1)
    ]
    return shift + [math.log(sides[i] / anchor_sides[i]) for i in (0, 1)]


def assign(
    height: int, width: int, module: Module, faces: Sequence[Box], probability: Array
) -> Targets:
    """Labels all anchors of an image, mines the hard ones, encodes their best faces.

    Args:
        height: Network px.
        width: Network px.
        module: The module.
        faces: Inclusive corners, network px.
        probability: `[N]` face probabilities.
    """
    boxes = anchors(height, width, module)
    low, border = -module.border, module.border
    inside = [
        box[0] >= low and box[1] >= low and box[2] < width + border and box[3] < height + border
        for box in boxes
    ]
    if not any(inside):
        inside = [True] * len(boxes)
    labels, targets = np.full(len(boxes), -1), np.zeros((len(boxes), 4))
    for n, box in enumerate(boxes):
        if not inside[n]:
            continue
        overlaps = [iou(box, face) for face in faces]
        best = max(overlaps, default=0.0)
        if best < 0.3:
            labels[n] = 0
        if best >= 0.5:
            labels[n] = 1
            targets[n] = encode(box, faces[overlaps.index(best)])
    mine(labels, probability)
    return Targets(labels, targets)


def mine(labels: Array, probability: Array) -> None:
    """Leaves at most 64 positives and 256 labels in all, the hardest; changes `labels`."""
    positives = sorted(np.flatnonzero(labels == 1), key=lambda n: (probability[n], n))
    labels[positives[64:]] = -1
    negatives = sorted(np.flatnonzero(labels == 0), key=lambda n: (-probability[n], n))
    labels[negatives[256 - min(len(positives), 64) :]] = -1


def class_loss(logits: Array, labels: Array) -> float:
    """Mean negative log probability of the labels."""
    total, count = 0.0, 0
    for (background, face), label in zip(logits.astype(np.float64), labels, strict=True):
        if label >= 0:
            largest = max(background, face)
            norm = math.log(math.exp(background - largest) + math.exp(face - largest)) + largest
            total += norm - (face if label == 1 else background)
            count += 1
    return total / max(count, 1)


def box_loss(deltas: Array, assigned: Targets) -> float:
    """Smooth L1 at sigma 3 over the positives, divided by all labeled anchors."""
    total = 0.0
    for row, target, label in zip(deltas, assigned.targets, assigned.labels, strict=True):
        for received, wanted in zip(row, target, strict=True):
            size = abs(float(received) - wanted)
            if label == 1:
                total += 4.5 * size * size if size < 1 / 9 else size - 1 / 18
    return total / max(int(np.sum(assigned.labels >= 0)), 1)


def propose(
    height: int, width: int, module: Module, scores: Array, deltas: Array
) -> list[list[float]]:
    """Decodes, clips and ranks a module's boxes: at most 1,000 of `x1, y1, x2, y2, score`."""
    boxes = []
    for box, score, (dx, dy, dw, dh) in zip(
        anchors(height, width, module), scores, deltas.astype(np.float64), strict=True
    ):
        side_x, side_y = box[2] - box[0] + 1, box[3] - box[1] + 1
        x, y = box[0] + 0.5 * side_x + dx * side_x, box[1] + 0.5 * side_y + dy * side_y
        half_x = 0.5 * math.exp(5 if dw > 50 else dw) * side_x
        half_y = 0.5 * math.exp(5 if dh > 50 else dh) * side_y
        corners = [x - half_x, y - half_y, x + half_x, y + half_y]
        limits = [width - 1, height - 1] * 2
        clipped = [min(max(c, 0), last) for c, last in zip(corners, limits, strict=True)]
        boxes.append([*clipped, float(score)])
    return sorted(boxes, key=lambda box: -box[4])[:1000]


def nms(boxes: Sequence[Box]) -> list[Box]:
    """Keeps boxes of score > 0.05 that no better kept one overlaps by more than 0.3."""
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda box: -box[4]):
        if box[4] > 0.05 and all(iou(box, better) <= 0.3 for better in kept):
            kept.append(box)
    return kept


def forward(pixels: Array, weights: Mapping[str, Sequence[Array]]) -> dict[str, Array]:
    """Runs the whole network on one image.

    Args:
        pixels: `[H, W, 3]` BGR minus the mean.
        weights: Layer name -> kernel `[k, k, I, O]` and bias `[O]`.

    Returns:
        `m1_cls` `[h, w, 4]` and `m1_box` `[h, w, 8]`, and so on for m2 and m3.
    """

    def convolve(x: Array, name: str) -> Array:
        kernel, bias = weights[name]
        size = len(kernel)
        padded = np.pad(x, [[size // 2] * 2, [size // 2] * 2, [0, 0]])
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(0, 1))
        return np.tensordot(windows, kernel, ([3, 4, 2], [0, 1, 2])) + bias

    def detect(x: Array, name: str) -> None:
        reduced = _relu(convolve(x, f"{name}_context_reduce"))
        seven = _relu(convolve(reduced, f"{name}_context_7x7_1"))
        branches = [
            convolve(x, f"{name}_conv3x3"),
            convolve(reduced, f"{name}_context_5x5"),
            convolve(seven, f"{name}_context_7x7_2"),
        ]
        joined = _relu(np.concatenate(branches, axis=-1))
        for kind in ("cls", "box"):
            outputs[f"{name}_{kind}"] = convolve(joined, f"{name}_{kind}")

    outputs: dict[str, Array] = {}
    x = pixels.astype(np.float64)
    for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
        x = x if block == 1 else max_pool(x)
        for i in range(1, convolutions + 1):
            x = _relu(convolve(x, f"block{block}_conv{i}"))
        if block == 4:
            conv4_3 = x
    fine = _relu(convolve(conv4_3, "fuse_conv4_reduce"))
    coarse = deconvolve(_relu(convolve(x, "fuse_conv5_reduce")))
    fused = fine + coarse[: fine.shape[0], : fine.shape[1]]
    detect(_relu(convolve(fused, "fuse_conv")), "m1")
    detect(x, "m2")
    detect(max_pool(x), "m3")
    return outputs


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


def max_pool(x: Array) -> Array:
    """Caffe's 2x2 pooling, stride 2: sizes round up, windows are cut at the border."""
    height, width, _ = x.shape
    return np.stack(
        [
            np.stack([x[i : i + 2, j : j + 2].max(axis=(0, 1)) for j in range(0, width, 2)])
            for i in range(0, height, 2)
        ]
    )


def deconvolve(x: Array) -> Array:
    """Caffe's bilinear Deconvolution, kernel 4, stride 2, pad 1: each input adds its kernel.

    Args:
        x: `[h, w, C]`.

    Returns:
        `[2 h, 2 w, C]`.
    """
    kernel = np.outer([0.25, 0.75, 0.75, 0.25], [0.25, 0.75, 0.75, 0.25])[..., np.newaxis]
    height, width, channels = x.shape
    padded = np.zeros((2 * height + 2, 2 * width + 2, channels))  # 1 px more on every side
    for i in range(height):
        for j in range(width):
            padded[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += kernel * x[i, j]
    return padded[1:-1, 1:-1]
