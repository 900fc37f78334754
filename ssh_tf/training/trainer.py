"""Trains a network: sets a run up, loops over its updates, stops and continues it."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from ssh_tf.config import Config
from ssh_tf.data.manifest import read_manifest
from ssh_tf.data.pipeline import find_undecodable, training_dataset
from ssh_tf.environment import require_tensorflow
from ssh_tf.errors import UserError
from ssh_tf.files import folder_lock, output_folder
from ssh_tf.training.checkpoints import Checkpoints
from ssh_tf.training.environment import environment
from ssh_tf.training.monitor import Monitor, Update
from ssh_tf.training.run_folder import RunFolder
from ssh_tf.training.state import State, build_state, evaluated_network, parameter_count
from ssh_tf.training.steps import make_steps
from ssh_tf.training.stop import Stop, stop_signals
from ssh_tf.training.strategy import is_chief, make_strategy, micro_batches
from ssh_tf.training.table import Logs
from ssh_tf.training.validation import Validate

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Run:
    """One process' part in a run."""

    config: Config
    folder: RunFolder
    strategy: tf.distribute.Strategy
    state: State
    checkpoints: Checkpoints
    on_step: Callable[[int, Logs], None]
    validate: Validate | None

    @property
    def replicas(self) -> int:
        """Devices, of all machines together."""
        return int(self.strategy.num_replicas_in_sync)

    @property
    def micro_batches(self) -> int:
        """Batches per replica and update."""
        return micro_batches(self.config.train, self.replicas)


def train(
    config: Config,
    workdir: str | Path,
    *,
    on_step: Callable[[int, Logs], None] = lambda *_: None,
    validate: Validate | None = None,
) -> Path:
    """Trains a network and saves it.

    A run that was interrupted is continued from its last checkpoint by the same call. On several
    machines each makes the same call, with its own `TF_CONFIG` and a `workdir` that all can see.

    Args:
        config: The experiment.
        workdir: The run's folder: gets `config.yaml`, `environment.json`, `checkpoints/`, `logs/`,
            `logs.csv`, `model.keras`; with `validate` also `validation.csv`, `best.keras` and
            `best.json`.
        on_step: Called after each update with its number and, every `log_every` updates, the mean
            terms since the last ones (else an empty mapping).
        validate: Evaluates a network, every `validation.every` updates and after the last.

    Returns:
        The path of `model.keras`.

    Raises:
        UserError: For records, weights or a folder that can't be used, another process in the
            folder, a full disk, or a loss that is not finite.
        InterruptedRunError: After SIGTERM or SIGINT, once the current update is saved.
    """
    require_tensorflow()
    for records in config.data.records:
        read_manifest(records)
    folder = RunFolder(output_folder(workdir))
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        strategy = make_strategy()
        if is_chief(strategy):
            stack.enter_context(folder_lock(folder.path, "run"))
        _check_settings(folder, config)
        if config.train.deterministic:
            tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(config.train.seed)
        run = _set_up(config, folder, strategy, on_step, validate)
        step = run.checkpoints.restore()
        if is_chief(strategy):
            _record(run)
        _loop(run, step, stop)
        if is_chief(strategy):
            folder.save_last(evaluated_network(run.state))
    return folder.last


def _set_up(
    config: Config,
    folder: RunFolder,
    strategy: tf.distribute.Strategy,
    on_step: Callable[[int, Logs], None],
    validate: Validate | None,
) -> _Run:
    """Builds all that the run changes."""
    # A run that is continued needs nothing of the file that its weights came from.
    begun = bool(Checkpoints(folder.checkpoints).steps())
    means = folder.means(config.model) if begun else None
    state = build_state(config, strategy, means=means)
    parts = {"network": state.network, "optimizer": state.optimizer, "averages": state.averages}
    checkpoints = Checkpoints(folder.checkpoints, **parts)
    return _Run(config, folder, strategy, state, checkpoints, on_step, validate)


def _record(run: _Run) -> None:
    """Writes what the run is, and logs it in one line."""
    config = run.config.train
    facts = {
        "replicas": run.replicas,
        "images_per_update": config.images_per_update,
        "micro_batches": run.micro_batches,
        "trainable_parameters": parameter_count(run.state),
    }
    run.folder.begin(run.config, run.state.network.means, environment(**facts))
    _LOG.info(
        "Images per update: %d (replicas: %d, images per replica: %d, micro-batches: %d). "
        "Trained parameters: %s",
        config.images_per_update,
        run.replicas,
        config.images_per_replica,
        run.micro_batches,
        f"{facts['trainable_parameters']:,}",
    )


def _check_settings(folder: RunFolder, config: Config) -> None:
    """Refuses to continue a run with another network, and logs what else differs."""
    before = folder.settings()
    if before is None:
        return
    old, new = before.model_dump(), config.model_dump()
    differing = [
        (group, field)
        for group, fields in new.items()
        for field in fields
        if old[group][field] != fields[field]
    ]
    # Not the start of the weights: nothing of it is needed any more.
    network = [name for group, name in differing if group == "model" and name != "weights"]
    if network:
        raise UserError(
            f"{folder.path} holds a run of another architecture: model.{', model.'.join(network)} "
            "differs. Name another folder, or use the settings it began with."
        )
    for group, field in differing:
        change = (f"{group}.{field}", old[group][field], new[group][field])
        _LOG.warning("%s was %s in this run so far and is %s from here on", *change)


def _batches(run: _Run, step: int) -> Any:
    """The run's batches, from where `step` updates have left off."""
    config = run.config
    return run.strategy.distribute_datasets_from_function(
        lambda context: training_dataset(
            config.data,
            batch=config.train.images_per_replica,
            seed=config.train.seed,
            skip=step * run.micro_batches * run.replicas,
            pipelines=context.num_input_pipelines,
            pipeline=context.input_pipeline_id,
        )
    )


def _loop(run: _Run, step: int, stop: Stop) -> None:
    """Updates until the run's last step, watching and saving on the way."""
    config, chief = run.config.train, is_chief(run.strategy)
    worker = "" if chief else f"workers/{run.strategy.cluster_resolver.task_id}"
    monitor = Monitor(
        output_folder(run.folder.path / worker),
        step=step,
        images_per_update=config.images_per_update,
        scaled=config.precision == "float16",
    )
    validate = _validation(run, monitor)
    if step:
        _LOG.info("Continuing after step %d", step)
        # The process may have ended between a checkpoint and its validation.
        validate(step)
    stop.saves = True
    stop.interrupt("before the first update")
    for update in _updates(run, step, monitor):
        step, last = update.step, update.step == config.steps
        monitor.add(update)
        logs = monitor.write() if step % config.log_every == 0 or last else {}
        run.on_step(step, logs)
        due = step % config.checkpoint_every == 0 or last
        if due:
            _save(run, step, monitor)
        if stop.number is None:
            validate(step)
        if stop.number is not None:  # Perhaps only now, during the evaluation.
            if not due:
                _save(run, step, monitor)
            stop.interrupt(f"after step {step}, which is saved; the same command continues")


def _save(run: _Run, step: int, monitor: Monitor) -> None:
    """Writes a checkpoint; the network that an earlier end of the run left is then out of date."""
    monitor.check()
    if is_chief(run.strategy):
        run.checkpoints.save(step)
        run.folder.last.unlink(missing_ok=True)


def _updates(run: _Run, step: int, monitor: Monitor) -> Iterator[Update]:
    """Runs the updates and yields the result of each."""
    config = run.config.train
    dataset = _batches(run, step)
    accumulate, update = make_steps(run.state, run.strategy, config, dataset.element_spec)
    batches = _timed(iter(dataset), monitor, run.config)
    local = run.strategy.experimental_local_results
    for number in range(step + 1, config.steps + 1):
        # A tensor: `float` would wait for the device to make the updates before.
        rate = tf.convert_to_tensor(run.state.optimizer.learning_rate)
        used = [next(batches) for _ in range(run.micro_batches)]  # each one batch per replica
        terms = [accumulate(batch) for batch in used[:-1]]  # of each: {term: [B] per replica}
        found, norm = update(used[-1])  # likewise, and [] per replica, the same on all
        terms.append(found)
        yield Update(
            step=number,
            terms={name: [part for each in terms for part in local(each[name])] for name in found},
            norm=local(norm)[0],
            names=[part for batch in used for part in local(batch["names"])],
            learning_rate=rate,
        )


def _timed(batches: Iterator[Any], monitor: Monitor, config: Config) -> Iterator[Any]:
    """Passes batches on and counts the time they take to come.

    Raises:
        UserError: If an image or a record can't be read.
    """
    folders = ", ".join(config.data.records)
    while True:
        started = time.monotonic()
        try:
            batch = next(batches)
        except tf.errors.DataLossError as error:
            raise UserError(
                f"{folders} holds a damaged record ({error.message.splitlines()[0]}). "
                "Build the records again."
            ) from error
        except tf.errors.InvalidArgumentError as error:
            raise UserError(
                f"Image {find_undecodable(config.data.records)} can't be decoded. Build the "
                "records again with verification, and without this image."
            ) from error
        monitor.waited(time.monotonic() - started)
        yield batch


def _validation(run: _Run, monitor: Monitor) -> Callable[[int], None]:
    """Returns what validates the network after a step, where that is due and was not done."""

    def validate(step: int) -> None:
        due = step % run.config.validation.every == 0 or step == run.config.train.steps
        if run.validate is None or not due or monitor.is_validated(step):
            return
        if not is_chief(run.strategy):
            return
        monitor.check()
        with monitor.paused():
            network = evaluated_network(run.state)
            found = run.validate(network)
            # The row comes last: without it all of this is done again.
            run.folder.save_if_best(network, step, found.ap)
            monitor.validated(step, found.ap, found.pictures)
        _LOG.info("step %d: AP %s", step, " ".join(f"{k}={v:.4f}" for k, v in found.ap.items()))

    return validate
