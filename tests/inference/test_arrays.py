"""Tests of detection on arrays: the same as in a TensorFlow graph, and as the official code's."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ssh_tf.config import DetectConfig, ModelConfig
from ssh_tf.geometry.anchors import grid_size
from ssh_tf.imaging import scale as reference
from ssh_tf.inference import arrays, graph
from ssh_tf.inference.graph import ScoredBoxes
from ssh_tf.model.layers import Preprocess
from tests.support.golden import proposal_inputs, read
from tests.support.small import picture

MODULES = ModelConfig().modules
Outputs = Mapping[str, np.ndarray]


def random_outputs(size: tuple[int, int], *, seed: int, bias: float = 0.0) -> dict[str, np.ndarray]:
    """Outputs for an input of `size`; a higher bias makes more faces."""
    rng = np.random.default_rng(seed)
    outputs = {}
    for module in MODULES:
        rows, columns = (grid_size(side, module.stride) for side in size)
        count = rows * columns * len(module.anchor_scales)
        logits = rng.normal(0, 3, (1, count, 2)).astype(np.float32)
        logits[..., 1] += bias
        outputs[f"{module.name}_logits"] = logits
        outputs[f"{module.name}_deltas"] = rng.normal(0, 0.3, (1, count, 4)).astype(np.float32)
    return outputs


def on_arrays(outputs: Outputs, size: tuple[int, int], config: DetectConfig) -> ScoredBoxes:
    parts = [arrays.module_proposals(outputs, size, module, config) for module in MODULES]
    boxes, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
    return ScoredBoxes(*arrays.joint_nms(boxes, scores, config))


def in_graph(outputs: Outputs, size: tuple[int, int], config: DetectConfig) -> ScoredBoxes:
    tensors = {name: tf.constant(value) for name, value in outputs.items()}
    options = {"top_k": config.top_k, "exact_decode": config.exact_decode}
    boxes, scores = graph.module_proposals(tensors, tf.constant(size), MODULES, **options)
    found = graph.joint_nms(boxes, scores, config)
    return ScoredBoxes(found.boxes.numpy(), found.scores.numpy())


def assert_equal(found: ScoredBoxes, expected: ScoredBoxes) -> None:
    assert found.boxes.shape == expected.boxes.shape
    assert found.boxes.dtype == found.scores.dtype == np.float32
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"score_threshold": 0.0},
        {"score_threshold": 0.9},
        {"score_threshold": 1 - 1e-9},
        {"top_k": 7},
        {"top_k": 100_000},
        {"max_detections": 3},
        {"nms_iou": 1.0},
        {"exact_decode": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(64, 96), (133, 57), (1, 1)])
@pytest.mark.parametrize("bias", [-9.0, 0.0])
def test_boxes_are_those_of_the_graph(size: tuple[int, int], bias: float, settings: dict[str, Any]):
    config = DetectConfig(**settings)
    outputs = random_outputs(size, seed=3, bias=bias)
    assert_equal(on_arrays(outputs, size, config), in_graph(outputs, size, config))


def test_of_equal_scores_the_same_boxes_are_the_best():
    size, config = (96, 160), DetectConfig(top_k=20)
    outputs = random_outputs(size, seed=1)
    for module in MODULES:  # Every score is one of a few.
        outputs[f"{module.name}_logits"] = np.round(outputs[f"{module.name}_logits"] / 6) * 2
        tensors = {name: tf.constant(value) for name, value in outputs.items()}
        expected = graph.module_proposals(tensors, tf.constant(size), [module], top_k=20)
        found = arrays.module_proposals(outputs, size, module, config)
        assert_equal(ScoredBoxes(*found), ScoredBoxes(*(part.numpy() for part in expected)))


def test_of_equal_scores_the_first_suppresses():
    boxes = np.array([[0, 0, 9, 9], [1, 0, 10, 9]], np.float32)
    found, _ = arrays.joint_nms(boxes, np.array([0.5, 0.5], np.float32), DetectConfig())
    assert found.tolist() == boxes[:1].tolist()


@pytest.mark.parametrize("most", [None, 3, 64, 100])
def test_many_boxes_survive_as_in_the_graph(most: int | None):
    """More than two blocks of the NMS, most of them dropped."""
    rng = np.random.default_rng(6)
    low = rng.uniform(0, 400, (700, 2)).astype(np.float32)
    boxes = np.concatenate([low, low + rng.uniform(5, 60, (700, 2)).astype(np.float32)], axis=-1)
    scores = rng.permutation(700).astype(np.float32) / 1000
    config = DetectConfig(max_detections=most, score_threshold=0.1)
    expected = graph.joint_nms(tf.constant(boxes), tf.constant(scores), config)
    found = ScoredBoxes(*arrays.joint_nms(boxes, scores, config))
    assert_equal(found, ScoredBoxes(expected.boxes.numpy(), expected.scores.numpy()))
    assert len(found.scores) == most or (most is None and 128 < len(found.scores) < 500)


def test_values_of_extreme_weights_are_those_of_the_graph():
    size, config = (64, 96), DetectConfig()
    outputs = random_outputs(size, seed=2)
    outputs["m1_logits"][0, :4] = [[np.nan, 0], [0, np.nan], [-1e38, 1e38], [1e38, -1e38]]
    outputs["m1_deltas"][0, 2] = [0, 0, 51, 49]
    outputs["m2_logits"][:] = np.nan
    assert_equal(on_arrays(outputs, size, config), in_graph(outputs, size, config))


def test_an_overlap_equal_to_the_threshold_is_kept():
    # 10 x 10 px with the last one counted, and half of it: IoU 50 / 100.
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 4]], np.float32)
    scores = np.array([0.8, 0.9], np.float32)
    for nms_iou, count in ((0.5, 2), (0.499, 1)):
        found, _ = arrays.joint_nms(boxes, scores, DetectConfig(nms_iou=nms_iou))
        assert len(found) == count
        assert found[0].tolist() == [0, 0, 9, 4]


@pytest.mark.parametrize("settings", [{}, {"shorter_px": 400, "longer_px": 800}], ids=str)
def test_scales_are_those_of_the_graph(settings: dict[str, int]):
    pyramid = {"pyramid_px": (500, 800, 1200, 1600)}
    for size in [(1024, 683), (50, 37), (3000, 1), (1, 3000), (600, 901), (1333, 1000)]:
        for config in (DetectConfig(**settings), DetectConfig(**settings, **pyramid)):
            expected = graph.levels(tf.constant(size), MODULES, config)
            found = arrays.levels(size, MODULES, config)
            assert [counted for _, counted in found] == [counted for _, counted in expected]
            assert [scale for scale, _ in found] == [float(scale) for scale, _ in expected]


@pytest.mark.parametrize(
    ("size", "scale"),
    [
        ((40, 60), 1.5625),
        ((61, 37), 2.7),
        ((61, 37), 0.5),
        ((90, 70), 0.31),
        ((5, 5), 0.3),
        ((1, 200), 0.4),
        ((2, 300), 0.2),
        ((300, 2), 0.13),
        ((1, 1), 30.0),
    ],
)
def test_pixels_are_those_of_the_graph(size: tuple[int, int], scale: float):
    image = picture(*size)
    expected = reference.resize(image, tf.constant(scale, tf.float64))
    found = arrays.resize(image.astype(np.float32), scale)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-2)


def test_the_difference_is_what_the_network_computes():
    image, means = picture(31, 47)[:, ::-1], (103.939, 116.779, 123.68)
    expected = Preprocess(means)(image[np.newaxis].astype(np.float32))[0]
    found = arrays.difference(image, means)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("index", range(3))
def test_network_inputs_are_the_official_ones(test_data: Path, index: int):
    golden = read(test_data / "golden" / "preprocess_dev.npz")
    bgr = np.ascontiguousarray(golden[f"image_{index}"])
    means = golden["pixel_means_bgr"].ravel().tolist()
    image = arrays.difference(bgr[..., ::-1], means)
    received = arrays.resize(image, float(golden[f"scale_{index}"]))
    # Gray levels. TensorFlow's kernel: 1e-2.
    np.testing.assert_allclose(received, golden[f"blob_{index}"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("index", range(6))
def test_detections_are_the_official_ones(test_data: Path, index: int):
    golden = read(test_data / "golden" / f"proposals_dev_{index}.npz")
    scales, most = golden["scales_cfg"].tolist(), int(golden["max_size_cfg"])
    if len(scales) == 1:
        config = DetectConfig(shorter_px=scales[0], longer_px=most)
    else:
        config = DetectConfig(pyramid_px=tuple(scales))
    levels = itertools.count()

    def forward(images: np.ndarray) -> dict[str, np.ndarray]:
        """Looks up the golden outputs of this level."""
        level = next(levels)
        assert images.shape == (1, *golden["level_net_hw"][level], 3)
        outputs = {}
        for module in MODULES:
            key = f"l{level}{module.name}"
            if f"{key}_hw" in golden:
                score, deltas = proposal_inputs(golden, key)
                with np.errstate(divide="ignore"):
                    odds = np.log(score / (1 - score.astype(np.float64)))
                logits = np.stack([np.zeros_like(odds), odds], axis=-1)
                outputs[f"{module.name}_logits"] = logits[np.newaxis]
                outputs[f"{module.name}_deltas"] = deltas[np.newaxis]
        return outputs

    image = np.zeros((*golden["image_hw"], 3), np.uint8)
    boxes, scores = arrays.find_faces(forward, image, MODULES, (0, 0, 0), config)
    np.testing.assert_allclose(scores, golden["dets"][:, 4], rtol=0, atol=1e-6)
    np.testing.assert_allclose(boxes, golden["dets"][:, :4], rtol=0, atol=1e-3)
