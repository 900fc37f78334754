"""What training changes: the network, the optimizer, and what they remember."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ssh_tf.config import Config, ModelConfig
from ssh_tf.model.ohem import training_model
from ssh_tf.model.precision import precision
from ssh_tf.model.ssh import SSH
from ssh_tf.model.weights import build_network
from ssh_tf.training.optimizer import make_optimizer
from ssh_tf.training.strategy import micro_batches
from ssh_tf.zoo.models import find_model


@dataclasses.dataclass(frozen=True)
class State:
    """All that training changes.

    Attributes:
        network: The detector.
        training: The network with its losses; shares the weights.
        optimizer: Built for `training`'s trainable variables.
        accumulators: Gradients of an update's earlier micro-batches, on each replica; none where an
            update is one batch.
        averages: Moving averages of the trainable variables; none where `ema_decay` is off.
    """

    network: SSH
    training: keras.Model
    optimizer: keras.optimizers.Optimizer
    accumulators: list[tf.Variable]
    averages: list[tf.Variable]


def build_state(
    config: Config, strategy: tf.distribute.Strategy, means: Sequence[float] | None = None
) -> State:
    """Builds the network, its losses and its optimizer on all replicas.

    Args:
        config: The experiment.
        strategy: Where the variables live.
        means: Pixel means of a network whose weights a checkpoint holds. By default the weights
            that `config.model.weights` names are read, with their means.
    """
    with strategy.scope():
        with precision(config.train.precision):
            network = (
                build_network(_start(config.model), seed=config.train.seed)
                if means is None
                else SSH(config.model, means)
            )
        freeze(network, config.train.frozen)
        training = training_model(network, config.loss)
        names = tuple(module.name for module in config.model.modules)
        optimizer = make_optimizer(config.train, names)
        optimizer.build(training.trainable_variables)
        count = micro_batches(config.train, strategy.num_replicas_in_sync)
        accumulators = make_accumulators(training.trainable_variables) if count > 1 else []
        averages = (
            make_averages(training.trainable_variables)
            if config.train.ema_decay is not None
            else []
        )
    return State(network, training, optimizer, accumulators, averages)


def _start(config: ModelConfig) -> ModelConfig:
    """Replaces a model's name by the file of its weights."""
    named = find_model(config.weights)
    return config if named is None else config.model_copy(update={"weights": str(named.file())})


def make_accumulators(variables: list[Any]) -> list[tf.Variable]:
    """Makes what keeps the gradients of an update's earlier micro-batches, on each replica."""
    return [
        tf.Variable(
            tf.zeros(variable.shape),
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.SUM,
        )
        for variable in variables
    ]


def make_averages(variables: list[Any]) -> list[tf.Variable]:
    """Makes the moving averages of variables, which begin at their values."""
    return [tf.Variable(variable.numpy(), trainable=False) for variable in variables]


def freeze(network: SSH, prefixes: tuple[str, ...]) -> None:
    """Makes the layers whose names start with one of `prefixes` keep their weights."""
    for layer in network.layers:
        if layer.name.startswith(prefixes):
            layer.trainable = False


def evaluated_network(state: State) -> SSH:
    """Returns the network as it is evaluated and saved.

    A copy in float32 whose trained weights are the moving averages, where those are kept.
    """
    network = SSH(state.network.config, state.network.means)
    network.set_weights(state.network.get_weights())
    of_path = {variable.path: variable for variable in network.variables}
    trained = state.training.trainable_variables if state.averages else []
    for variable, average in zip(trained, state.averages, strict=True):
        of_path[variable.path].assign(average.numpy())
    return network


def parameter_count(state: State) -> int:
    """Returns the number of weights that are trained."""
    return sum(int(np.prod(variable.shape)) for variable in state.training.trainable_variables)
