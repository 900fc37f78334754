"""The whole update, on replicas and micro-batches, against Caffe's solver in NumPy."""

import numpy as np
import pytest

from ssh_tf.config import TrainConfig
from tests.support.springs import follow

UPDATES, IMAGES = 60, 4  # updates to follow, images per update
RECIPE = TrainConfig(
    steps=UPDATES,
    images_per_update=IMAGES,
    learning_rate=0.05,
    decay_steps=(25, 45),
    weight_decay=0.01,  # larger than the official one, so that a slip in it shows
)
# What train_ssh.prototxt says of each layer: lr_mult and decay_mult of kernel and bias.
OFFICIAL = {
    "block2_conv2": ((0, 0), (0, 0)),
    "block3_conv1": ((1, 1), (2, 1)),
    "fuse_conv": ((1, 1), (2, 1)),
    "m1_cls": ((1, 1), (2, 0)),
    "m3_box": ((1, 1), (2, 0)),
}


def colors() -> np.ndarray:
    """The mean color of every image: `[UPDATES, IMAGES, 3]`."""
    return np.random.default_rng(5).normal(size=(UPDATES, IMAGES, 3)).astype(np.float32)


def simulate_caffe() -> dict[str, list[np.ndarray]]:
    """SGDSolver::ApplyUpdate in float64: normalize, regularise, velocity, update."""
    weights = {name: [np.ones(3), np.ones(3)] for name in OFFICIAL}
    velocity = {name: [np.zeros(3), np.zeros(3)] for name in OFFICIAL}
    for step, batch in enumerate(colors()):
        rate = 0.05 * 0.1 ** ((step >= 25) + (step >= 45))
        for name, multipliers in OFFICIAL.items():
            for i, (lr_mult, decay_mult) in enumerate(multipliers):
                gradient = np.mean(weights[name][i] - (i + 1) * batch, axis=0)
                gradient = gradient + 0.01 * decay_mult * weights[name][i]
                velocity[name][i] = 0.9 * velocity[name][i] + rate * lr_mult * gradient
                weights[name][i] = weights[name][i] - velocity[name][i]
    return weights


@pytest.mark.parametrize(
    ("devices", "images_per_replica"),
    [
        pytest.param(["CPU:0"], 4, id="one-device"),
        pytest.param(["CPU:0"], 1, id="one-device-iter-size-4"),
        pytest.param(["CPU:0", "CPU:1"], 2, id="two-replicas"),
        pytest.param(["CPU:0", "CPU:1"], 1, id="two-replicas-iter-size-2"),
    ],
)
def test_sixty_updates_equal_the_official_solver(devices: list[str], images_per_replica: int):
    expected = simulate_caffe()
    config = RECIPE.model_copy(update={"images_per_replica": images_per_replica})
    state, _ = follow(config, devices, colors(), tuple(OFFICIAL))
    for name in OFFICIAL:
        weights = state.network.get_layer(name).get_weights()
        np.testing.assert_allclose(weights, expected[name], atol=1e-5, err_msg=name)


def test_frozen_layers_stay_and_the_others_move():
    weights = simulate_caffe()
    assert np.array_equal(weights["block2_conv2"], np.ones((2, 3)))
    assert not np.allclose(weights["m1_cls"][1], weights["fuse_conv"][1])  # decay shows
