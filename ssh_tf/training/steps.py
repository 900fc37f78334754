"""The compiled training step: the same for one device, many, and many machines."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from ssh_tf.config import TrainConfig
from ssh_tf.training.state import State
from ssh_tf.training.strategy import micro_batches

Tensor = Any
Batch = Mapping[str, Tensor]
Terms = Mapping[str, Tensor]
# `(gradients, terms)` of one batch on one replica.
Backward = Callable[[Batch], tuple[list[Tensor], Terms]]

_INPUTS = ("images", "sizes", "faces")


def make_steps(
    state: State, strategy: tf.distribute.Strategy, config: TrainConfig, spec: Any
) -> tuple[Callable[[Batch], Terms], Callable[[Batch], tuple[Terms, Tensor]]]:
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
    backward = _backward(state, config, strategy.num_replicas_in_sync)

    def accumulate(batch: Batch) -> Terms:
        gradients, terms = backward(batch)  # each of its variable's shape; {term: [B]}
        for total, gradient in zip(state.accumulators, gradients, strict=True):
            total.assign_add(gradient)
        return terms

    def update(batch: Batch) -> tuple[Terms, Tensor]:
        gradients, terms = backward(batch)
        if state.accumulators:
            pairs = zip(state.accumulators, gradients, strict=True)
            gradients = [total + gradient for total, gradient in pairs]
        norm = _apply(state, config, gradients)  # []
        for total in state.accumulators:
            total.assign(tf.zeros_like(total))
        return terms, norm

    @tf.function(input_signature=[spec])
    def accumulate_step(batch: Batch) -> Any:
        return strategy.run(accumulate, args=(batch,))

    @tf.function(input_signature=[spec])
    def update_step(batch: Batch) -> Any:
        result = strategy.run(update, args=(batch,))
        _update_averages(state, strategy, config)
        return result

    return accumulate_step, update_step


def _backward(state: State, config: TrainConfig, replicas: int) -> Backward:
    """Returns the forward and backward pass of a replica's batch, as a share of the update's."""
    variables = state.training.trainable_variables
    share = 1.0 / (replicas * micro_batches(config, replicas))

    def gradients(batch: Batch) -> tuple[list[Tensor], Terms]:
        with tf.GradientTape() as tape:
            terms = state.training(batch)  # <module>_<term> -> [B]
            # Each module's loss is the mean over B images: this is their share of the update's.
            loss = state.optimizer.scale_loss(tf.add_n(state.training.losses) * share)
        return list(tape.gradient(loss, variables)), terms

    compute = tf.function(gradients, jit_compile=True) if config.jit_compile else gradients
    return lambda batch: compute({key: batch[key] for key in _INPUTS})


def _apply(state: State, config: TrainConfig, gradients: list[Tensor]) -> Tensor:
    """Adds the replicas' gradients up, clips the sum and applies it; returns its norm before."""
    context = tf.distribute.get_replica_context()
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)  # shapes as before
    # float16 scales the loss, and with it the gradients: the norm is logged without it.
    norm = tf.linalg.global_norm(total) / state.optimizer.scale_loss(tf.constant(1.0))  # []
    # The optimizer adds up what it gets from the replicas, which is the same sum from each.
    factor = tf.constant(1.0 / context.num_replicas_in_sync)
    if config.clip_norm is not None:
        factor *= config.clip_norm / tf.maximum(norm, config.clip_norm)
    if context.num_replicas_in_sync > 1 or config.clip_norm is not None:
        total = [gradient * factor for gradient in total]
    state.optimizer.apply(total, state.training.trainable_variables)
    return norm


def _update_averages(state: State, strategy: tf.distribute.Strategy, config: TrainConfig) -> None:
    """Updates the moving averages, where there are any, on each device by itself."""
    if config.ema_decay is None:
        return
    done = tf.cast(state.optimizer.iterations, tf.float32)  # []
    # A slower average would remember the first weights for too long.
    decay = tf.minimum(config.ema_decay, (1.0 + done) / (10.0 + done))

    def blend(average: tf.Variable, variable: Tensor) -> None:
        average.assign(decay * average + (1.0 - decay) * variable)

    pairs = zip(state.averages, state.training.trainable_variables, strict=True)
    for average, variable in pairs:
        strategy.extended.update(average, blend, args=(variable.value,), group=False)
