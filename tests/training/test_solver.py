"""The whole update, on replicas and micro-batches, against Caffe's solver in NumPy."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from ssh_tf.config import TrainConfig
from ssh_tf.training.optimizer import make_optimizer
from ssh_tf.training.state import State, freeze, make_accumulators
from ssh_tf.training.steps import make_steps
from ssh_tf.training.strategy import micro_batches
from tests.small import mirrored

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


class Spring(keras.layers.Layer):
    """Pulls its kernel to the image's mean colour and its bias to twice of it."""

    def build(self, *shapes: Any) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(3,), initializer="ones")
        self.bias = self.add_weight(name="bias", shape=(3,), initializer="ones")

    def call(self, images: Any, sizes: Any, faces: Any) -> Any:
        colour = ops.mean(images, axis=(1, 2))  # [B, 3]
        pull = ops.square(self.kernel - colour) + ops.square(self.bias - 2.0 * colour)
        self.add_loss(ops.mean(0.5 * ops.sum(pull, axis=-1)))
        return colour


def colours() -> np.ndarray:
    """The mean colour of every image: `[UPDATES, IMAGES, 3]`."""
    return np.random.default_rng(5).normal(size=(UPDATES, IMAGES, 3)).astype(np.float32)


def simulate_caffe() -> dict[str, list[np.ndarray]]:
    """SGDSolver::ApplyUpdate in float64: normalise, regularise, velocity, update."""
    weights = {name: [np.ones(3), np.ones(3)] for name in OFFICIAL}
    velocity = {name: [np.zeros(3), np.zeros(3)] for name in OFFICIAL}
    for step, batch in enumerate(colours()):
        rate = 0.05 * 0.1 ** ((step >= 25) + (step >= 45))
        for name, multipliers in OFFICIAL.items():
            for i, (lr_mult, decay_mult) in enumerate(multipliers):
                gradient = np.mean(weights[name][i] - (i + 1) * batch, axis=0)
                gradient = gradient + 0.01 * decay_mult * weights[name][i]
                velocity[name][i] = 0.9 * velocity[name][i] + rate * lr_mult * gradient
                weights[name][i] = weights[name][i] - velocity[name][i]
    return weights


def follow(devices: list[str], images_per_replica: int) -> dict[str, list[np.ndarray]]:
    """The same by our training step."""
    config = RECIPE.model_copy(update={"images_per_replica": images_per_replica})
    count = micro_batches(config, len(devices))
    strategy = mirrored(*devices)
    with strategy.scope():
        inputs = {
            "images": keras.Input((None, None, 3), name="images"),
            "sizes": keras.Input((2,), dtype="int32", name="sizes"),
            "faces": keras.Input((None, 4), name="faces"),
        }
        outputs = {name: Spring(name=name)(**inputs) for name in OFFICIAL}
        model = keras.Model(inputs, outputs)
        freeze(model, config.frozen)
        optimizer = make_optimizer(config, ("m1", "m3"))
        optimizer.build(model.trainable_variables)
        kept = make_accumulators(model.trainable_variables) if count > 1 else []
    columns = {
        "images": colours().reshape(-1, 1, 1, 3),
        "sizes": np.ones((UPDATES * IMAGES, 2), np.int32),
        "faces": np.zeros((UPDATES * IMAGES, 1, 4), np.float32),
    }
    dataset = tf.data.Dataset.from_tensor_slices(columns).batch(images_per_replica)
    distributed = strategy.distribute_datasets_from_function(lambda context: dataset)
    state = State(model, model, optimizer, kept, [])
    accumulate, update = make_steps(state, strategy, config, distributed.element_spec)
    batches = iter(distributed)
    for _ in range(UPDATES):
        for _ in range(count - 1):
            accumulate(next(batches))
        update(next(batches))
    return {name: model.get_layer(name).get_weights() for name in OFFICIAL}


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
    for name, weights in follow(devices, images_per_replica).items():
        np.testing.assert_allclose(weights, expected[name], atol=1e-5, err_msg=name)


def test_frozen_layers_stay_and_the_others_move():
    weights = simulate_caffe()
    assert np.array_equal(weights["block2_conv2"], np.ones((2, 3)))
    assert not np.allclose(weights["m1_cls"][1], weights["fuse_conv"][1])  # decay shows
