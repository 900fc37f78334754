"""What the official code gave on given inputs, for the parts that need TensorFlow.

Scales, network inputs and the joint NMS. The rest stands in `test_golden.py`.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ssh_tf.config import DetectConfig, ModelConfig
from ssh_tf.geometry.anchors import anchor_grid
from ssh_tf.geometry.proposals import propose
from ssh_tf.imaging.scale import pyramid_scales, resize, scaled_size, single_scale
from ssh_tf.inference.graph import ScoredBoxes, joint_nms, levels
from ssh_tf.model.caffe.convert import CAFFE_MEANS
from ssh_tf.model.layers import Preprocess
from ssh_tf.model.weights import load_network
from tests.support.caffe_writer import write_caffemodel
from tests.support.golden import (
    Golden,
    cells,
    network_input,
    network_weights,
    proposal_inputs,
    read,
)

PYRAMID = (500, 800, 1200, 1600)


@pytest.fixture(scope="module")
def folder(test_data: Path) -> Path:
    return test_data / "golden"


@pytest.fixture(scope="module")
def sizes(folder: Path) -> list[dict]:
    return json.loads((folder / "sizes_dev.json").read_text())["images"]


# Scales and network inputs


@pytest.mark.parametrize("limits", [(1200, 1600), (400, 800)])
def test_single_scale_is_exactly_the_official_one(sizes: list[dict], limits: tuple[int, int]):
    for image in sizes:
        official = image["single_{}_{}".format(*limits)]
        scale = single_scale(image["image_hw"], shorter_px=limits[0], longer_px=limits[1])
        assert float(scale) == official["scale"]
        assert scaled_size(image["image_hw"], scale).numpy().tolist() == official["net_hw"]


def test_pyramid_is_exactly_the_official_one(sizes: list[dict]):
    for image in sizes:
        scales = pyramid_scales(image["image_hw"], levels_px=PYRAMID, base_px=(800, 1200))
        for scale, official in zip(scales, image["pyramid"]["levels"], strict=True):
            assert float(scale) == official["scale"]
            assert scaled_size(image["image_hw"], scale).numpy().tolist() == official["net_hw"]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_network_input_is_the_official_one(folder: Path, index: int):
    golden = read(folder / "preprocess_dev.npz")
    rgb = golden[f"image_{index}"][..., ::-1]
    subtract = Preprocess(golden["pixel_means_bgr"])
    received = subtract(resize(rgb, golden[f"scale_{index}"])[tf.newaxis])[0]
    # Gray levels. OpenCV weighs pixels in float64 here, our kernel in float32.
    np.testing.assert_allclose(received, golden[f"blob_{index}"], rtol=0, atol=1e-2)


def test_means_are_the_official_ones(folder: Path):
    assert read(folder / "preprocess_dev.npz")["pixel_means_bgr"].tolist() == list(CAFFE_MEANS)


# Detection


@pytest.fixture(scope="module", params=range(6))
def proposals(folder: Path, request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    return read(folder / f"proposals_dev_{request.param}.npz")


def detection_config(golden: Golden) -> DetectConfig:
    """Settings of the run behind the golden data."""
    scales, most = golden["scales_cfg"].tolist(), int(golden["max_size_cfg"])
    if len(scales) > 1:
        return DetectConfig(pyramid_px=tuple(scales))
    return DetectConfig(shorter_px=scales[0], longer_px=most)


def detect(golden: Golden) -> ScoredBoxes:
    """Repeats the official detection on the golden data's scores and deltas."""
    config, modules = detection_config(golden), ModelConfig().modules
    boxes, scores = [], []
    for level, (scale, counted) in enumerate(levels(golden["image_hw"], modules, config)):
        assert float(scale) == golden["level_scale"][level]
        size = scaled_size(golden["image_hw"], scale)
        assert size.numpy().tolist() == golden["level_net_hw"][level].tolist()
        for module in counted:
            key = f"l{level}{module.name}"
            rows, columns = cells(golden, f"{key}_hw")
            grid = anchor_grid(rows, columns, stride=module.stride, scales=module.anchor_scales)
            score, deltas = map(tf.constant, proposal_inputs(golden, key))
            best, score = propose(score, deltas, grid, size=size, top_k=config.top_k)
            boxes.append(best / tf.cast(scale, tf.float32))
            scores.append(score)
    above = tf.reduce_sum(tf.cast(tf.concat(scores, 0) > config.score_threshold, tf.int32))
    assert int(above) == golden["n_above_thresh"]
    return joint_nms(tf.concat(boxes, 0), tf.concat(scores, 0), config)


def test_detections_are_the_official_ones(proposals: Golden):
    found, official = detect(proposals), proposals["dets"]
    # Scores are all different: equal scores in equal order mean the same boxes survived.
    np.testing.assert_array_equal(found.scores, official[:, 4])
    np.testing.assert_allclose(found.boxes, official[:, :4], rtol=0, atol=1e-3)


# Caffe's own file


@pytest.mark.parametrize("legacy", [False, True], ids=["layer", "layers"])
def test_caffemodel_gives_the_official_outputs(folder: Path, tmp_path: Path, legacy: bool):
    golden = read(folder / "forward_dev_0.npz")
    path = tmp_path / "SSH.caffemodel"
    write_caffemodel(path, network_weights(golden).items(), legacy=legacy)
    network = load_network(path)
    path.unlink()
    # The golden input is BGR and lacks the mean, the network takes RGB and subtracts it.
    images = (network_input(golden) + np.float32(CAFFE_MEANS))[None, ..., ::-1]
    outputs = network({"images": images, "sizes": golden["input_hw"][None]})
    for name in ("m1", "m2", "m3"):
        class_major = golden[f"{name}_cls_score"].reshape(-1, 2, 2)
        expected = class_major.transpose(0, 2, 1).reshape(-1, 2)
        np.testing.assert_allclose(outputs[f"{name}_logits"][0], expected, rtol=0, atol=1e-4)
        expected = golden[f"{name}_bbox_pred"].reshape(-1, 4)
        np.testing.assert_allclose(outputs[f"{name}_deltas"][0], expected, rtol=0, atol=1e-4)
