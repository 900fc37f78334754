"""A model small enough for many updates: layers that are pulled to their images' colors."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from ssh_tf.config import TrainConfig
from ssh_tf.training.optimizer import make_optimizer
from ssh_tf.training.state import State, freeze, make_accumulators, make_averages, precision
from ssh_tf.training.steps import make_steps
from ssh_tf.training.strategy import micro_batches
from tests.support.small import mirrored


class Spring(keras.layers.Layer):
    """Pulls its kernel to the image's mean color and its bias to twice of it."""

    def build(self, *shapes: Any) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(3,), initializer="ones")
        self.bias = self.add_weight(name="bias", shape=(3,), initializer="ones")

    def call(self, images: Any, sizes: Any, faces: Any) -> Any:
        color = ops.mean(images, axis=(1, 2))  # [B, 3]
        pull = ops.square(self.kernel - color) + ops.square(self.bias - 2.0 * color)
        loss = 0.5 * ops.sum(pull, axis=-1)  # [B]
        self.add_loss(ops.mean(ops.cast(loss, "float32")))
        return loss


def spring_state(
    config: TrainConfig, strategy: tf.distribute.Strategy, names: tuple[str, ...]
) -> State:
    """Springs named `names` in place of a network."""
    with strategy.scope():
        inputs = {
            "images": keras.Input((None, None, 3), name="images"),
            "sizes": keras.Input((2,), dtype="int32", name="sizes"),
            "faces": keras.Input((None, 4), name="faces"),
        }
        with precision(config.precision):
            outputs = {name: Spring(name=name)(**inputs) for name in names}
        model = keras.Model(inputs, outputs)
        freeze(model, config.frozen)
        optimizer = make_optimizer(config, ("m1", "m3"))
        optimizer.build(model.trainable_variables)
        variables = model.trainable_variables
        several = micro_batches(config, strategy.num_replicas_in_sync) > 1
        return State(
            model,
            model,
            optimizer,
            make_accumulators(variables) if several else [],
            make_averages(variables) if config.ema_decay is not None else [],
        )


def follow(
    config: TrainConfig,
    devices: list[str],
    colors: np.ndarray,
    names: tuple[str, ...],
    *,
    loss_scale: float | None = None,
) -> tuple[State, list[float]]:
    """Makes one update per row of `colors` `[updates, images, 3]`; also the gradients' norms."""
    strategy = mirrored(*devices)
    state = spring_state(config, strategy, names)
    if loss_scale is not None:
        state.optimizer.dynamic_scale.assign(loss_scale)
    count = colors.shape[0] * colors.shape[1]
    columns = {
        "images": colors.reshape(-1, 1, 1, 3).astype(np.float32),
        "sizes": np.ones((count, 2), np.int32),
        "faces": np.zeros((count, 1, 4), np.float32),
    }
    dataset = tf.data.Dataset.from_tensor_slices(columns).batch(config.images_per_replica)
    distributed = strategy.distribute_datasets_from_function(lambda context: dataset)
    accumulate, update = make_steps(state, strategy, config, distributed.element_spec)
    batches, norms = iter(distributed), []
    for _ in range(colors.shape[0]):
        for _ in range(micro_batches(config, len(devices)) - 1):
            accumulate(next(batches))
        _, norm = update(next(batches))
        norms.append(float(strategy.experimental_local_results(norm)[0]))
    assert update.experimental_get_tracing_count() == 1
    return state, norms
