"""What a recipe's options do, on one device, on two replicas and with micro-batches."""

from typing import Any

import numpy as np
import pytest

from ssh_tf.config import TrainConfig
from ssh_tf.training.state import State, build_state, evaluated_network
from tests.support.small import mirrored
from tests.support.springs import follow
from tests.training.test_trainer import ONE_MODULE, settings, updated, velocities_of

IMAGES = 4
NAMES = ("fuse_conv", "m1_cls")
WAYS = [
    pytest.param(["CPU:0"], 4, id="one-device"),
    pytest.param(["CPU:0", "CPU:1"], 2, id="two-replicas"),
    pytest.param(["CPU:0", "CPU:1"], 1, id="two-replicas-two-micro-batches"),
]


def recipe(**options: Any) -> TrainConfig:
    """Plain gradient descent with momentum, unless options say otherwise."""
    plain = {"learning_rate": 0.1, "weight_decay": 0.0, "bias_lr_multiplier": 1.0, "frozen": ()}
    return TrainConfig(images_per_update=IMAGES, **{**plain, **options})


def colors(updates: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(updates, IMAGES, 3)).astype(np.float32)


def weights_of(state: State) -> np.ndarray:
    return np.stack([variable.numpy() for variable in state.training.trainable_variables])


def simulate(updates: int, *, clip_norm: float = np.inf, momentum: float = 0.9) -> dict[str, Any]:
    """The recipe in NumPy: weights after each update, and the gradients' norms."""
    weights, velocity = np.ones((4, 3)), np.zeros((4, 3))
    found: dict[str, Any] = {"weights": [weights], "norms": []}
    for batch in colors(updates):
        # Kernels are pulled to the mean color, biases to twice of it.
        mean = batch.mean(axis=0)
        gradient = weights - np.stack([mean, 2 * mean] * len(NAMES))
        norm = np.sqrt(np.square(gradient).sum())
        velocity = momentum * velocity + 0.1 * gradient * min(1.0, clip_norm / norm)
        weights = weights - velocity
        found["weights"].append(weights)
        found["norms"].append(norm)
    return found


@pytest.mark.parametrize(("devices", "images_per_replica"), WAYS)
def test_the_gradient_of_a_whole_update_is_clipped(devices: list[str], images_per_replica: int):
    config = recipe(images_per_replica=images_per_replica, clip_norm=1.5)
    expected = simulate(8, clip_norm=1.5)
    assert min(expected["norms"]) < 1.5 < max(expected["norms"])  # both cases occur
    state, norms = follow(config, devices, colors(8), NAMES)
    np.testing.assert_allclose(norms, expected["norms"], rtol=1e-5)
    np.testing.assert_allclose(weights_of(state), expected["weights"][-1], atol=1e-5)


@pytest.mark.parametrize(("devices", "images_per_replica"), WAYS)
def test_moving_averages_follow_the_weights(devices: list[str], images_per_replica: int):
    config = recipe(images_per_replica=images_per_replica, ema_decay=0.3)
    weights = simulate(6)["weights"]
    average = weights[0]
    for n in range(1, 7):
        decay = min(0.3, (1 + n) / (10 + n))  # below 0.3 in the first two updates
        average = decay * average + (1 - decay) * weights[n]
    state, _ = follow(config, devices, colors(6), NAMES)
    np.testing.assert_allclose([a.numpy() for a in state.averages], average, atol=1e-5)
    np.testing.assert_allclose(weights_of(state), weights[-1], atol=1e-5)  # itself untouched


@pytest.mark.parametrize(("devices", "images_per_replica"), WAYS)
def test_xla_computes_the_same(devices: list[str], images_per_replica: int):
    config = recipe(images_per_replica=images_per_replica, jit_compile=True)
    state, norms = follow(config, devices, colors(4), NAMES)
    np.testing.assert_allclose(norms, simulate(4)["norms"], rtol=1e-5)
    np.testing.assert_allclose(weights_of(state), simulate(4)["weights"][-1], atol=1e-5)


@pytest.mark.parametrize(("devices", "images_per_replica"), WAYS)
def test_float16_scales_its_gradients_back(devices: list[str], images_per_replica: int):
    config = recipe(images_per_replica=images_per_replica, precision="float16", clip_norm=1.5)
    state, norms = follow(config, devices, colors(8), NAMES, loss_scale=1024.0)
    expected = simulate(8, clip_norm=1.5)
    np.testing.assert_allclose(norms, expected["norms"], rtol=5e-3)
    np.testing.assert_allclose(weights_of(state), expected["weights"][-1], atol=5e-3)
    assert state.optimizer.dynamic_scale.numpy() == 1024


@pytest.mark.parametrize(("devices", "images_per_replica"), WAYS)
def test_float16_leaves_out_an_update_that_overflows(devices: list[str], images_per_replica: int):
    config = recipe(images_per_replica=images_per_replica, precision="float16", clip_norm=1.5)
    state, _ = follow(config, devices, colors(1), NAMES, loss_scale=2.0**30)
    assert state.optimizer.dynamic_scale.numpy() == 2.0**29
    assert state.optimizer.iterations.numpy() == 0
    np.testing.assert_array_equal(weights_of(state), np.ones((4, 3)))


def test_the_learning_rate_is_scaled_by_images():
    config = recipe(images_per_replica=4, learning_rate=0.2, learning_rate_images=8)
    state, _ = follow(config, ["CPU:0"], colors(4), NAMES)
    np.testing.assert_allclose(weights_of(state), simulate(4)["weights"][-1], atol=1e-5)


def test_xla_compiles_the_network_with_its_losses():
    options = {"images_per_update": 2, "images_per_replica": 2}
    terms, state = updated(settings(ONE_MODULE, **options), ["CPU:0"])
    compiled_terms, compiled = updated(settings(ONE_MODULE, **options, jit_compile=True), ["CPU:0"])
    assert compiled_terms == pytest.approx(terms, rel=1e-3)
    for ours, theirs in zip(velocities_of(state), velocities_of(compiled), strict=True):
        # As a whole: where rounding moves a value over a ReLU's corner, single weights differ.
        assert np.linalg.norm(theirs - ours) <= 0.01 * np.linalg.norm(ours)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_mixed_precision_computes_in_it_and_keeps_float32_elsewhere(name: str):
    state = build_state(settings(images_per_update=1, precision=name), mirrored("CPU:0"))
    layer = state.network.get_layer("conv_pw_5")
    assert (layer.compute_dtype, layer.kernel.dtype) == (name, "float32")
    assert {output.dtype for output in state.network.outputs} == {"float32"}
    assert state.training.get_layer("m1_ohem").compute_dtype == "float32"
    assert evaluated_network(state).get_layer("conv_pw_5").compute_dtype == "float32"


def test_what_is_evaluated_are_the_averages_and_the_frozen_weights():
    state = build_state(settings(images_per_update=1, ema_decay=0.9), mirrored("CPU:0"))
    for average in state.averages:
        average.assign(average + 1.0)
    kept, own = evaluated_network(state), state.network
    for name, change in (("m1_cls", 1.0), ("conv_pw_13", 1.0), ("conv1", 0.0)):
        expected = own.get_layer(name).kernel.numpy() + change
        np.testing.assert_array_equal(kept.get_layer(name).kernel.numpy(), expected)
