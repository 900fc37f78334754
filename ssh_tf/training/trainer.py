"""The training loop: one `tf.function` over `strategy.run`, for one device as for many."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from ssh_tf.config import Config, TrainConfig, load, to_yaml
from ssh_tf.data.pipeline import training_dataset
from ssh_tf.data.records import read_manifest
from ssh_tf.errors import UserError
from ssh_tf.files import output_folder, write_text
from ssh_tf.model.ohem import training_model
from ssh_tf.model.ssh import SSH
from ssh_tf.model.weights import build_network, save_network
from ssh_tf.training.optimizer import make_optimizer

_LOG = logging.getLogger(__name__)

Tensor = Any
Logs = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class State:
    """All that training changes."""

    network: SSH
    training: keras.Model
    optimizer: keras.optimizers.Optimizer
    accumulators: list[tf.Variable]


def make_strategy() -> tf.distribute.Strategy:
    """Returns a MirroredStrategy over all GPUs, or over the CPU where there is none."""
    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    return tf.distribute.MirroredStrategy(gpus or ["CPU:0"])


def build_state(config: Config, strategy: tf.distribute.Strategy) -> State:
    """Builds the network, its losses and its optimiser on all replicas.

    Args:
        config: The experiment.
        strategy: Where the variables live.
    """
    with strategy.scope():
        with precision(config.train.precision):
            network = build_network(config.model, seed=config.train.seed)
        freeze(network, config.train.frozen)
        training = training_model(network, config.loss)
        names = tuple(module.name for module in config.model.modules)
        optimizer = make_optimizer(config.train, names)
        optimizer.build(training.trainable_variables)
        count = micro_batches(config.train, strategy.num_replicas_in_sync)
        kept = make_accumulators(training.trainable_variables) if count > 1 else []
    return State(network, training, optimizer, kept)


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


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Makes the layers built meanwhile compute in `float32` or `bfloat16`; weights are float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if name == "float32" else f"mixed_{name}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def freeze(network: SSH, prefixes: tuple[str, ...]) -> None:
    """Makes the layers whose names start with one of `prefixes` keep their weights."""
    for layer in network.layers:
        if layer.name.startswith(prefixes):
            layer.trainable = False


def micro_batches(config: TrainConfig, replicas: int) -> int:
    """Returns how many batches per replica one update averages over (Caffe's iter_size).

    Raises:
        UserError: If the images of an update can't be divided evenly.
    """
    images = config.images_per_replica * replicas
    count, rest = divmod(config.images_per_update, images)
    if rest or not count:
        raise UserError(
            f"train.images_per_update ({config.images_per_update}) must be a multiple of "
            f"{replicas} devices x train.images_per_replica ({config.images_per_replica})."
        )
    return count


def make_steps(
    state: State, strategy: tf.distribute.Strategy, count: int
) -> tuple[Callable[[Any], None], Callable[[Any], None]]:
    """Compiles the two steps.

    Args:
        state: What they change.
        strategy: Where they run.
        count: Micro-batches per update.

    Returns:
        `(accumulate, update)`, each a function of an iterator that draws one batch per replica:
        `accumulate` adds its gradients to those kept, `update` adds its own, applies the sum and
        clears it. The loss is the mean over all images of an update, on however many replicas they
        lie (docs/decisions/0004).
    """
    variables = state.training.trainable_variables
    scale = 1.0 / (strategy.num_replicas_in_sync * count)

    def gradients(batch: Mapping[str, Tensor]) -> list[Tensor]:
        with tf.GradientTape() as tape:
            state.training({key: batch[key] for key in ("images", "sizes", "faces")})
            loss = tf.add_n(state.training.losses) * scale
        return list(tape.gradient(loss, variables))

    def accumulate(batch: Mapping[str, Tensor]) -> None:
        for kept, gradient in zip(state.accumulators, gradients(batch), strict=True):
            kept.assign_add(gradient)

    def update(batch: Mapping[str, Tensor]) -> None:
        total = gradients(batch)
        if state.accumulators:
            total = [kept + new for kept, new in zip(state.accumulators, total, strict=True)]
        state.optimizer.apply(total, variables)
        for kept in state.accumulators:
            kept.assign(tf.zeros_like(kept))

    def compiled(step: Callable[[Any], None]) -> Any:
        # Drawing the batch inside the graph keeps its unknown sizes unknown: one trace for all.
        return tf.function(lambda batches: strategy.run(step, args=(next(batches),)))

    return compiled(accumulate), compiled(update)


def train(
    config: Config, workdir: str | Path, *, on_step: Callable[[int, Logs], None] = lambda *_: None
) -> Path:
    """Trains a network and saves it.

    A run that was interrupted is continued from its last checkpoint by the same call.

    Args:
        config: The experiment.
        workdir: The run's folder: gets `config.yaml`, `checkpoints/`, `logs/`, `model.keras`.
        on_step: Called after each update with its number and, every `log_every` updates, the mean
            terms since the last ones (else an empty mapping).

    Returns:
        The path of `model.keras`.

    Raises:
        UserError: For records, weights or a folder that can't be used.
    """
    read_manifest(config.data.records)
    folder = output_folder(workdir)
    _check_architecture(folder / "config.yaml", config)
    keras.utils.set_random_seed(config.train.seed)
    strategy = make_strategy()
    count = micro_batches(config.train, strategy.num_replicas_in_sync)
    state = build_state(config, strategy)
    write_text(folder / "config.yaml", to_yaml(config))
    _LOG.info(
        "%d replicas, %d images per update in %d micro-batches, %d trainable parameters",
        strategy.num_replicas_in_sync,
        config.train.images_per_update,
        count,
        sum(keras.ops.size(variable) for variable in state.training.trainable_variables),
    )
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(network=state.network, optimizer=state.optimizer),
        str(folder / "checkpoints"),
        max_to_keep=3,
    )
    _restore(manager)
    seen = _updates(state) * config.train.images_per_update
    dataset = strategy.distribute_datasets_from_function(
        lambda context: training_dataset(
            config.data,
            batch=config.train.images_per_replica,
            seed=config.train.seed,
            skip=seen,
        )
    )
    steps = make_steps(state, strategy, count)
    try:
        _loop(config.train, count, state, steps, iter(dataset), manager, on_step)
    except tf.errors.DataLossError as error:
        raise UserError(
            f"{config.data.records} holds a damaged record ({error.message.splitlines()[0]}). "
            "Run `ssh-tf records` again."
        ) from error
    path = folder / "model.keras"
    save_network(state.network, path)
    return path


def _check_architecture(path: Path, config: Config) -> None:
    """Refuses to continue the run that `path` describes with another network."""
    if not path.exists():
        return
    begun, wanted = load(path).model.model_dump(), config.model.model_dump()
    differing = [f"model.{field}" for field in wanted if begun[field] != wanted[field]]
    if differing:
        raise UserError(
            f"{path.parent} holds a run of another architecture: {', '.join(differing)} differs. "
            "Name another --workdir, or use the settings it began with."
        )


def _restore(manager: tf.train.CheckpointManager) -> None:
    """Continues from the newest checkpoint, if there is one."""
    if manager.latest_checkpoint is None:
        return
    try:
        manager.checkpoint.restore(manager.latest_checkpoint).assert_existing_objects_matched()
    except (tf.errors.OpError, AssertionError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(
            f"Checkpoint {manager.latest_checkpoint} does not fit this run ({reason}). "
            "Name another --workdir."
        ) from error
    _LOG.info("Continuing from %s", manager.latest_checkpoint)


def _loop(
    config: TrainConfig,
    count: int,
    state: State,
    steps: tuple[Callable[[Any], None], Callable[[Any], None]],
    batches: Iterator[Any],
    manager: tf.train.CheckpointManager,
    on_step: Callable[[int, Logs], None],
) -> None:
    """Updates until `config.steps`, logging and saving on the way."""
    accumulate, update = steps
    writer = tf.summary.create_file_writer(str(Path(manager.directory).parent / "logs"))
    started, since = time.monotonic(), _updates(state)
    for step in range(since + 1, config.steps + 1):
        for _ in range(count - 1):
            accumulate(batches)
        update(batches)
        logs: Logs = {}
        if step % config.log_every == 0 or step == config.steps:
            logs = _collect(state, step)
            seconds, images = time.monotonic() - started, (step - since) * config.images_per_update
            logs = {**logs, "images_per_second": images / seconds}
            started, since = time.monotonic(), step
            with writer.as_default(step):
                for name, value in logs.items():
                    tf.summary.scalar(name, value)
        on_step(step, logs)
        if step % config.checkpoint_every == 0 or step == config.steps:
            manager.save(checkpoint_number=step)


def _collect(state: State, step: int) -> Logs:
    """Returns the mean terms since the last call and the learning rate; forgets the terms."""
    terms = {
        metric.name: float(ops.convert_to_numpy(metric.result()))
        for metric in state.training.metrics
    }
    for metric in state.training.metrics:
        metric.reset_state()
    losses = {name: value for name, value in terms.items() if name.endswith("_loss")}
    broken = [name for name, value in losses.items() if not np.isfinite(value)]
    if broken:
        raise UserError(
            f"{', '.join(broken)} is not finite at step {step}. Lower train.learning_rate or set "
            "train.warmup_steps; the last checkpoint is kept."
        )
    rate = float(ops.convert_to_numpy(state.optimizer.learning_rate))
    return {"loss": sum(losses.values()), **terms, "learning_rate": rate}


def _updates(state: State) -> int:
    """Returns the number of weight updates so far."""
    return int(state.optimizer.iterations.numpy())
