"""Tests of detection as a graph: the joint NMS and the way from pixels to boxes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ssh_tf.config import DetectConfig, ModuleConfig
from ssh_tf.imaging.scale import resize
from ssh_tf.inference.graph import ScoredBoxes, detection_function, joint_nms, module_proposals
from tests.support.small import picture, small_config, small_network

WHOLE = [0.0, 0.0, 9.0, 9.0]  # 10 x 10 px, the last one counted
UPPER_HALF = [0.0, 0.0, 9.0, 4.0]  # 10 x 5 px of it: IoU 50 / 100
CANVAS = 112  # px; larger than any image at network scale here


def oracle(
    boxes: np.ndarray, scores: np.ndarray, *, nms_iou: float, score_threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """The official greedy NMS in float64: areas count the last pixel (+1)."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] > score_threshold and all(iou(boxes[i], boxes[j]) <= nms_iou for j in kept):
            kept.append(i)
    return boxes[kept], scores[kept]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) + 1
    shared = float(np.maximum(sides, 0).prod())
    areas = [float((box[2:] - box[:2] + 1).prod()) for box in (a, b)]
    return shared / (sum(areas) - shared)


def nms(boxes: Any, scores: Any, **settings: Any) -> ScoredBoxes:
    boxes = tf.constant(boxes, tf.float32, shape=[len(scores), 4])
    found = joint_nms(boxes, tf.constant(scores, tf.float32), DetectConfig(**settings))
    return ScoredBoxes(found.boxes.numpy(), found.scores.numpy())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("nms_iou", [0.1, 0.3, 0.6])
def test_nms_keeps_what_the_greedy_rule_with_inclusive_pixels_keeps(seed: int, nms_iou: float):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (300, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0, 30, (300, 2))], axis=1)
    scores = rng.permutation(300) / 300
    expected = oracle(boxes, scores, nms_iou=nms_iou, score_threshold=0.05)
    found = nms(boxes, scores, nms_iou=nms_iou)
    assert 10 < len(found.scores) < 285
    np.testing.assert_allclose(found.boxes, expected[0], atol=1e-4)
    np.testing.assert_allclose(found.scores, expected[1], atol=1e-6)


@pytest.mark.parametrize("case", range(6))
def test_nms_is_the_official_code_s(test_data: Path, case: int):
    golden = np.load(test_data / "golden" / f"proposals_dev_{case}.npz")
    parts = list(official_proposals(golden))
    boxes, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
    found = nms(boxes, scores)
    assert len(found.scores) == len(golden["dets"])
    np.testing.assert_array_equal(found.scores, golden["dets"][:, 4])
    np.testing.assert_allclose(found.boxes, golden["dets"][:, :4], atol=1e-3)


def official_proposals(golden: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Boxes in image px and scores per level and module; the largest of a pyramid has no M3."""
    scales = golden["level_scale"]
    for level, scale in enumerate(scales):
        last_of_pyramid = level == len(scales) - 1 > 0
        for module in (1, 2) if last_of_pyramid else (1, 2, 3):
            key = f"l{level}m{module}"
            yield golden[f"{key}_boxes"] / np.float32(scale), golden[f"{key}_scores"]


def test_an_overlap_equal_to_the_threshold_is_kept():
    assert len(nms([WHOLE, UPPER_HALF], [0.9, 0.8], nms_iou=0.5).scores) == 2
    assert len(nms([WHOLE, UPPER_HALF], [0.9, 0.8], nms_iou=0.499).scores) == 1


def test_areas_count_the_last_pixel():
    # Without it the overlap would be 9 * 4 / 81 = 0.44.
    assert len(nms([WHOLE, UPPER_HALF], [0.9, 0.8], nms_iou=0.47).scores) == 1


def test_a_box_of_one_pixel_suppresses_its_copy():
    point = [3.0, 3.0, 3.0, 3.0]
    assert nms([point, point], [0.9, 0.8]).boxes.tolist() == [point]


def test_a_score_equal_to_the_threshold_is_dropped():
    apart = [WHOLE, [20.0, 20.0, 29.0, 29.0]]
    assert nms(apart, [0.5, 0.5001], score_threshold=0.5).boxes.tolist() == [apart[1]]


def test_the_better_box_stays_wherever_it_stands():
    assert nms([UPPER_HALF, WHOLE], [0.6, 0.7]).boxes.tolist() == [WHOLE]


def test_only_the_best_are_kept_up_to_the_cap():
    boxes = [[20.0 * i, 0.0, 20.0 * i + 9, 9.0] for i in range(5)]
    found = nms(boxes, [0.5, 0.9, 0.6, 0.8, 0.7], max_detections=3)
    assert [float(box[0]) for box in found.boxes] == [20, 60, 80]
    np.testing.assert_allclose(found.scores, [0.9, 0.8, 0.7])


def test_all_are_kept_without_a_cap():
    boxes = [[20.0 * i, 0.0, 20.0 * i + 9, 9.0] for i in range(4000)]
    assert len(nms(boxes, np.full(4000, 0.5)).scores) == 4000


def test_nothing_found_gives_empty_tables():
    found = nms([WHOLE, UPPER_HALF], [0.01, 0.05])
    assert (found.boxes.shape, found.scores.shape) == ((0, 4), (0,))


def test_each_module_gives_its_best_boxes_by_its_own_anchors():
    model = small_config().model
    outputs = {}
    for module, cells in zip(model.modules, (8 * 12, 4 * 6, 2 * 3), strict=True):
        logits = np.zeros((1, 2 * cells, 2), np.float32)
        logits[0, 3, 1] = 5  # cell (0, 1), larger anchor
        outputs[f"{module.name}_logits"] = tf.constant(logits)
        outputs[f"{module.name}_deltas"] = tf.zeros([1, 2 * cells, 4])
    boxes, scores = module_proposals(outputs, tf.constant([64, 96]), model.modules, top_k=1)
    # Anchors of 32, 128 and 512 px centered on 8 + stride, clipped to the last pixel (95, 63).
    np.testing.assert_allclose(boxes, [[0, 0, 32, 24], [0, 0, 88, 63], [0, 0, 95, 63]])
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-5)), rtol=1e-6)


def test_each_module_gives_at_most_top_k_boxes():
    network = small_network()
    outputs = network.exact()(picture()[np.newaxis].astype(np.float32))
    size, modules = tf.constant([64, 96]), network.config.modules
    few, _ = module_proposals(outputs, size, modules, top_k=5)
    assert few.shape == (15, 4)
    # Cells x 2 anchors: 192 + 48 + 12.
    every, _ = module_proposals(outputs, size, modules, top_k=1000)
    assert every.shape == (252, 4)


def level_boxes(
    image: np.ndarray, scale: float, modules: Sequence[ModuleConfig]
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes in image px and scores by the masked network, the image on a larger canvas."""
    pixels = resize(image, tf.constant(scale, tf.float64))
    height, width = pixels.shape[:2]
    canvas = np.zeros((1, CANVAS, CANVAS, 3), np.float32)
    canvas[0, :height, :width] = pixels
    outputs = small_network()({"images": canvas, "sizes": np.array([[height, width]])})
    cells = {key: image_cells(key, value, pixels.shape[:2]) for key, value in outputs.items()}
    boxes, scores = module_proposals(cells, (height, width), modules, top_k=1000)
    return boxes.numpy() / scale, scores.numpy()


def image_cells(key: str, table: Any, size: Sequence[int]) -> Any:
    """Cuts one output of the canvas to the cells of the image on it."""
    stride = {"m1": 8, "m2": 16, "m3": 32}[key[:2]]
    rows, columns = (-(-side // stride) for side in size)
    cells = -(-CANVAS // stride)
    cut = tf.reshape(table, [1, cells, cells, 2, -1])[:, :rows, :columns]
    return tf.reshape(cut, [1, rows * columns * 2, -1])


def assert_detected(image: np.ndarray, config: DetectConfig, parts: Sequence[Any]) -> None:
    boxes, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
    expected = oracle(boxes, scores, nms_iou=0.3, score_threshold=0.05)
    found = detection_function(small_network(), config)(tf.constant(image))
    assert len(found.scores) == len(expected[1]) > 5
    np.testing.assert_allclose(found.scores, expected[1], atol=1e-4)
    np.testing.assert_allclose(found.boxes, expected[0], atol=1e-2)


@pytest.mark.parametrize("size", [(32, 48), (50, 37), (128, 100)])
def test_detecting_equals_the_masked_network_and_the_oracle(size: tuple[int, int]):
    image, scale = picture(*size), min(64 / min(size), 96 / max(size))
    parts = [level_boxes(image, scale, small_network().config.modules)]
    assert_detected(image, small_config().detect, parts)


def test_a_pyramid_joins_its_levels_without_the_coarsest_module_on_the_largest():
    config = small_config(detect={"pyramid_px": [32, 64, 80], "pyramid_base_px": [64, 96]}).detect
    image, modules = picture(50, 60), small_network().config.modules
    base = 64 / 50
    parts = [
        level_boxes(image, base * 32 / 64, modules),
        level_boxes(image, base, modules),
        level_boxes(image, base * 80 / 64, modules[:2]),
    ]
    assert_detected(image, config, parts)
