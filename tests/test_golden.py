"""What the official code gave on given inputs: anchors, targets, losses, proposals, the network.

Runs on whatever backend Keras has: on TensorFlow directly, on JAX (a part of the cases)
through the last test. What needs TensorFlow stands in `test_golden_tensorflow.py`.
"""

import functools
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
from keras import ops

from ssh_tf.config import LossConfig, ModelConfig, ModuleConfig
from ssh_tf.geometry.anchors import anchor_grid, base_anchors
from ssh_tf.geometry.boxes import include_last_pixel
from ssh_tf.geometry.proposals import face_probability, propose
from ssh_tf.geometry.targets import POSITIVE
from ssh_tf.model.caffe.convert import to_keras
from ssh_tf.model.losses import box_loss, class_loss
from ssh_tf.model.ohem import assign
from ssh_tf.model.ssh import SSH
from tests.support.golden import (
    MODULES,
    Array,
    Golden,
    cells,
    compiled,
    network_input,
    network_weights,
    proposal_inputs,
    read,
    target_inputs,
    value_and_gradients,
)

LOSS = LossConfig()
# JAX compiles each case anew, as its sizes differ. There: a crowd, more positives than are sampled;
# an image with fewer anchors than are, and no positive in two modules; one size of the network.
CASES, NETWORKS = {"jax": ((2, 4), (0,))}.get(keras.backend.backend(), (range(10), range(3)))


def numpy(tensor: object) -> Array:
    return np.asarray(ops.convert_to_numpy(tensor))


@pytest.fixture(scope="module")
def folder(test_data: Path) -> Path:
    return test_data / "golden"


# Anchors


@pytest.mark.parametrize("name", ["M1", "M2", "M3", "M1_ablation5", "M2_ablation5", "M3_ablation5"])
def test_base_anchors_are_the_official_ones(folder: Path, name: str):
    expected = json.loads((folder / "anchors.json").read_text())[name]
    anchors = include_last_pixel(ops.convert_to_tensor(expected["anchors"], dtype="float32"))
    np.testing.assert_array_equal(base_anchors(expected["scales"]), numpy(anchors))


# Targets and losses


class Trained(NamedTuple):
    """What one module learns from one image."""

    golden: Golden
    number: int
    labels: Array
    targets: Array
    losses: tuple[Array, Array]
    gradients: list[Array]

    def expected(self, key: str) -> Array:
        """Returns a golden array of this module."""
        return self.golden[f"m{self.number}_{key}"]


@pytest.fixture(
    scope="module",
    params=[(case, number) for case in CASES for number in (1, 2, 3)],
    ids=lambda param: f"case{param[0]}-m{param[1]}",
)
def trained(folder: Path, request: pytest.FixtureRequest) -> Trained:
    case, number = request.param
    golden, module = read(folder / f"targets_dev_{case}.npz"), MODULES[number - 1]
    rows, columns = cells(golden, f"m{number}_hw")

    def total(logits, deltas, probability, sizes, faces):
        anchors = anchor_grid(rows, columns, stride=module.stride, scales=module.anchor_scales)
        labels, targets = assign(probability, anchors, sizes, faces, module=module, loss=LOSS)
        sigma, normalizer = LOSS.sigma, LOSS.box_normalizer
        classes = class_loss(logits, labels)[0]
        boxes = box_loss(deltas, targets, labels, sigma=sigma, normalizer=normalizer)[0]
        return classes + boxes, (labels, targets, classes, boxes)

    probability, logits, deltas = target_inputs(golden, number)
    inputs = [logits, deltas, probability, golden["net_hw"], golden["gt"]]
    values, gradients = value_and_gradients(total, *(array[None] for array in inputs))
    labels, targets, classes, boxes = map(numpy, values)
    return Trained(golden, number, labels[0], targets[0], (classes, boxes), gradients)


def test_labels_are_the_official_ones_in_every_anchor(trained: Trained):
    np.testing.assert_array_equal(trained.labels, trained.expected("labels"))
    assert np.sum(trained.labels >= 0) == trained.expected("num_examples")


def test_regression_targets_are_the_official_ones(trained: Trained):
    rows, expected = trained.expected("target_rows"), trained.expected("bbox_targets")
    # The official code leaves 0 where an anchor crosses the border.
    considered = np.any(expected != 0, axis=-1) | (trained.labels[rows] == POSITIVE)
    # Shifts near 0 are differences of nearly equal coordinates of up to 1,600 px, which float32
    # spaces by 1.2e-4 px: hence the absolute part, in anchor sides.
    np.testing.assert_allclose(
        trained.targets[rows][considered], expected[considered], rtol=1e-5, atol=1e-6
    )


def test_losses_and_gradients_are_the_official_ones(trained: Trained):
    official = (trained.expected("cls_loss"), trained.expected("reg_loss"))
    np.testing.assert_allclose(trained.losses, official, rtol=1e-5)
    for gradient, rows, values in zip(
        trained.gradients,
        ("labelled_rows", "positive_rows"),
        ("grad_logits", "grad_deltas"),
        strict=True,
    ):
        expected = np.zeros_like(gradient[0])
        expected[trained.expected(rows)] = trained.expected(values)
        # The absolute part covers a gradient that passes through 0; typical ones are 1 / 256.
        np.testing.assert_allclose(gradient[0], expected, rtol=1e-4, atol=1e-8)


# Proposals


def best_boxes(
    golden: Golden, key: str, module: ModuleConfig, scores: object, deltas: object, size: object
) -> tuple[object, object]:
    rows, columns = cells(golden, f"{key}_hw")
    grid = anchor_grid(rows, columns, stride=module.stride, scales=module.anchor_scales)
    scores, deltas = ops.convert_to_tensor(scores), ops.convert_to_tensor(deltas)
    return propose(scores, deltas, grid, size=size, top_k=1000)


@pytest.mark.parametrize("index", range(6))
def test_kept_proposals_are_the_official_ones(folder: Path, index: int):
    golden = read(folder / f"proposals_dev_{index}.npz")
    for level, size in enumerate(golden["level_net_hw"]):
        for number, module in enumerate(MODULES, start=1):
            key = f"l{level}m{number}"
            best = compiled(functools.partial(best_boxes, golden, key, module))
            boxes, kept = best(*proposal_inputs(golden, key), size)
            # Scores are all different: equal scores in equal order mean the same anchors.
            np.testing.assert_array_equal(numpy(kept), golden[f"{key}_scores"])
            np.testing.assert_allclose(numpy(boxes), golden[f"{key}_boxes"], rtol=0, atol=1e-3)


# Network


@pytest.fixture(scope="module")
def network(folder: Path) -> SSH:
    """The network with the weights of the golden data and no means: their input lacks them."""
    network = SSH(ModelConfig(), means=(0.0, 0.0, 0.0))
    layers = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    shapes = {layer.name: (layer.kernel.shape, layer.bias.shape) for layer in layers}
    caffe = network_weights(read(folder / "forward_dev_0.npz"))
    weights = to_keras(caffe, shapes, Path("golden")).weights
    for layer in layers:
        layer.set_weights(weights[layer.name])
    return network


def assert_official(outputs: dict[str, object], golden: Golden):
    """Compares logits, boxes and probabilities of all modules."""
    for name in ("m1", "m2", "m3"):
        rows, columns = golden[f"{name}_cls_score"].shape[:2]
        logits = numpy(outputs[f"{name}_logits"])
        deltas = numpy(outputs[f"{name}_deltas"])
        score = golden[f"{name}_cls_score"].reshape(rows, columns, 2, 2)  # class, anchor
        expected = score.transpose(0, 1, 3, 2).reshape(1, -1, 2)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
        expected = golden[f"{name}_bbox_pred"].reshape(1, -1, 4)
        np.testing.assert_allclose(deltas, expected, rtol=0, atol=1e-4)
        probability = numpy(face_probability(ops.convert_to_tensor(logits)))
        expected = golden[f"{name}_fg_prob"].reshape(1, -1)
        np.testing.assert_allclose(probability, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("wiring", ["masked", "exact"])
@pytest.mark.parametrize("index", NETWORKS)
def test_network_outputs_are_the_official_ones(folder: Path, network: SSH, index: int, wiring: str):
    golden = read(folder / f"forward_dev_{index}.npz")
    images = network_input(golden)[np.newaxis, ..., ::-1].copy()  # the network takes RGB
    if wiring == "masked":
        inputs = {"images": images, "sizes": golden["input_hw"][np.newaxis]}
        outputs = compiled(network)(inputs)
    else:
        outputs = compiled(network.exact())(images)
    assert_official(outputs, golden)


# The same on another backend

WITHOUT_TENSORFLOW = """
import sys
sys.modules["tensorflow"] = None  # importing it fails
import pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", "not jax", sys.argv[1]]))
"""


@pytest.mark.skipif(find_spec("jax") is None, reason="needs JAX: pip install jax")
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="runs on JAX already")
def test_the_same_goldens_pass_on_jax_without_tensorflow(test_data: Path):
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # Compiling takes longer than running.
        "SSH_TF_TEST_DATA": str(test_data),
    }
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, __file__]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "skipped" not in result.stdout
