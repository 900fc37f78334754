"""The compiled training step: the same for one device, many, and many machines."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from ssh_tf.config import TrainConfig
from ssh_tf.training.state import State
from ssh_tf.training.strategy import micro_batches

Tensor = Any
Batch = Mapping[str, Tensor]
# `(terms, norm)`: the terms of every image, and the norm of the whole update's gradient.
Result = tuple[Mapping[str, Tensor], Tensor]

_INPUTS = ("images", "sizes", "faces")


def make_steps(
    state: State, strategy: tf.distribute.Strategy, config: TrainConfig, spec: Any
) -> tuple[Callable[[Batch], Mapping[str, Tensor]], Callable[[Batch], Result]]:
    """Compiles the two steps.

    Args:
        state: What they change.
        strategy: Where they run.
        config: The recipe.
        spec: The batches' `element_spec`: as sizes are unknown in it, each step has one trace.

    Returns:
        `(accumulate, update)`, each a function of one batch per replica: `accumulate` adds its
        gradients to those kept, `update` adds its own, applies the sum and clears it. The loss is
        the mean over all images of an update, on however many replicas they lie
        (docs/decisions/0004). Both return `<module>_<term>` -> `[B]` of each replica, `update` also
        the gradient's norm before clipping.
    """
    variables = state.training.trainable_variables
    replicas = strategy.num_replicas_in_sync
    share = 1.0 / (replicas * micro_batches(config, replicas))

    def gradients(batch: Batch) -> tuple[list[Tensor], Mapping[str, Tensor]]:
        with tf.GradientTape() as tape:
            terms = state.training(batch)
            loss = state.optimizer.scale_loss(tf.add_n(state.training.losses) * share)
        return list(tape.gradient(loss, variables)), terms

    if config.jit_compile:
        gradients = tf.function(gradients, jit_compile=True)

    def accumulate(batch: Batch) -> Mapping[str, Tensor]:
        found, terms = gradients({key: batch[key] for key in _INPUTS})
        for kept, gradient in zip(state.accumulators, found, strict=True):
            kept.assign_add(gradient)
        return terms

    def update(batch: Batch) -> Result:
        total, terms = gradients({key: batch[key] for key in _INPUTS})
        if state.accumulators:
            total = [kept + new for kept, new in zip(state.accumulators, total, strict=True)]
        total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, total)
        norm = tf.linalg.global_norm(total) / state.optimizer.scale_loss(tf.constant(1.0))
        # The optimiser adds up what it gets from the replicas, which is the same sum from each.
        factor = tf.constant(1.0 / replicas)
        if config.clip_norm is not None:
            factor *= config.clip_norm / tf.maximum(norm, config.clip_norm)
        if replicas > 1 or config.clip_norm is not None:
            total = [gradient * factor for gradient in total]
        state.optimizer.apply(total, variables)
        for kept in state.accumulators:
            kept.assign(tf.zeros_like(kept))
        return terms, norm

    def follow() -> None:
        """Moves the averages, on each device by itself."""
        done = tf.cast(state.optimizer.iterations, tf.float32)
        # A slower average would remember the first weights for too long.
        decay = tf.minimum(config.ema_decay, (1.0 + done) / (10.0 + done))
        for average, variable in zip(state.averages, variables, strict=True):
            strategy.extended.update(average, _blend, args=(variable.value, decay), group=False)

    @tf.function(input_signature=[spec])
    def accumulate_step(batch: Batch) -> Mapping[str, Tensor]:
        return strategy.run(accumulate, args=(batch,))

    @tf.function(input_signature=[spec])
    def update_step(batch: Batch) -> Result:
        result = strategy.run(update, args=(batch,))
        if state.averages:
            follow()
        return result

    return accumulate_step, update_step


def _blend(average: tf.Variable, variable: Tensor, decay: Tensor) -> None:
    average.assign(decay * average + (1.0 - decay) * variable)
