"""Trains a network: sets a run up, loops over its updates, stops and continues it."""

import contextlib
import json
import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ssh_tf.config import Config, load, to_yaml
from ssh_tf.data.manifest import read_manifest
from ssh_tf.data.pipeline import training_dataset
from ssh_tf.environment import require_tensorflow
from ssh_tf.errors import InterruptedRunError, UserError
from ssh_tf.files import folder_lock, output_folder, write_text
from ssh_tf.model.ssh import SSH
from ssh_tf.model.weights import save_network
from ssh_tf.training.checkpoints import Checkpoints
from ssh_tf.training.environment import environment
from ssh_tf.training.monitor import Logs, Monitor, Update
from ssh_tf.training.state import State, build_state, evaluated_network, parameter_count
from ssh_tf.training.steps import make_steps
from ssh_tf.training.strategy import is_chief, make_strategy, micro_batches

_LOG = logging.getLogger(__name__)

BEST_NETWORK, BEST_RECORD = "best.keras", "best.json"


@dataclass(frozen=True)
class Validated:
    """What an evaluation while training finds.

    Attributes:
        ap: Setting to average precision; the last one decides which network is the best.
        pictures: `[H, W, 3]` uint8 each, with annotations and detections.
    """

    ap: Mapping[str, float]
    pictures: Sequence[np.ndarray]


Validate = Callable[[SSH], Validated]


@dataclass(frozen=True)
class _Run:
    """One process' part in a run."""

    config: Config
    folder: Path
    strategy: tf.distribute.Strategy
    state: State
    checkpoints: Checkpoints
    on_step: Callable[[int, Logs], None]
    validate: Validate | None


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
    folder = output_folder(workdir)
    strategy = make_strategy()
    with contextlib.ExitStack() as stack:
        if is_chief(strategy):
            stack.enter_context(folder_lock(folder, "run"))
        _check_settings(folder / "config.yaml", config)
        if config.train.deterministic:
            tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(config.train.seed)
        state = build_state(config, strategy)
        checkpoints = Checkpoints(folder / "checkpoints", state)
        run = _Run(config, folder, strategy, state, checkpoints, on_step, validate)
        step = checkpoints.restore()
        if is_chief(strategy):
            _describe(run)
        _loop(run, step, stack.enter_context(_signals()))
        path = folder / "model.keras"
        if is_chief(strategy):
            save_network(evaluated_network(state), path)
    return path


def _describe(run: _Run) -> None:
    """Writes what the run is, and logs it in one line."""
    config, replicas = run.config.train, run.strategy.num_replicas_in_sync
    count = micro_batches(config, replicas)
    facts = {
        "replicas": replicas,
        "images_per_update": config.images_per_update,
        "micro_batches": count,
        "trainable_parameters": parameter_count(run.state),
    }
    write_text(run.folder / "config.yaml", to_yaml(run.config))
    write_text(run.folder / "environment.json", environment(**facts))
    _LOG.info(
        "%d replicas x %d images x %d micro-batches = %d images per update, %d parameters trained",
        replicas,
        config.images_per_replica,
        count,
        config.images_per_update,
        facts["trainable_parameters"],
    )


def _check_settings(path: Path, config: Config) -> None:
    """Refuses to continue a run with another network, and says what else differs."""
    if not path.exists():
        return
    begun, wanted = load(path).model_dump(), config.model_dump()
    differing = [
        f"{group}.{field}"
        for group, fields in wanted.items()
        for field in fields
        if begun[group][field] != fields[field]
    ]
    if network := [name for name in differing if name.startswith("model.")]:
        raise UserError(
            f"{path.parent} holds a run of another architecture: {', '.join(network)} differs. "
            "Name another folder, or use the settings it began with."
        )
    for name in differing:
        group, field = name.split(".")
        old, new = begun[group][field], wanted[group][field]
        _LOG.warning("%s was %s in this run so far and is %s from here on", name, old, new)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Yields the list that SIGTERM and SIGINT enter; a second SIGINT interrupts at once."""
    received: list[int] = []

    def note(number: int, frame: Any) -> None:
        if number == signal.SIGINT and received:
            raise KeyboardInterrupt
        received.append(number)
        _LOG.warning("%s: saving after this update", signal.Signals(number).name)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # Only the main thread has signals.
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _batches(run: _Run, step: int) -> Any:
    """The run's batches, from where `step` updates have left off."""
    config, replicas = run.config.train, run.strategy.num_replicas_in_sync
    return run.strategy.distribute_datasets_from_function(
        lambda context: training_dataset(
            run.config.data,
            batch=config.images_per_replica,
            seed=config.seed,
            skip=step * micro_batches(config, replicas) * replicas,
            pipelines=context.num_input_pipelines,
            pipeline=context.input_pipeline_id,
        )
    )


def _loop(run: _Run, step: int, received: list[int]) -> None:
    """Updates until the run's last step, watching and saving on the way."""
    config, chief = run.config.train, is_chief(run.strategy)
    worker = "" if chief else f"workers/{run.strategy.cluster_resolver.task_id}"
    monitor = Monitor(
        output_folder(run.folder / worker),
        step=step,
        images_per_update=config.images_per_update,
        scaled=config.precision == "float16",
    )
    for update in _updates(run, step, monitor):
        step, last = update.step, update.step == config.steps
        monitor.add(update)
        logs = monitor.write() if step % config.log_every == 0 or last else {}
        run.on_step(step, logs)
        due = step % config.checkpoint_every == 0 or last
        if chief and due:
            run.checkpoints.save(step)
        validate = step % run.config.validation.every == 0 or last
        if chief and run.validate and validate and not received:
            _validate(run, run.validate, step, monitor)
        if received:  # Perhaps only now, during the evaluation.
            if chief and not due:
                run.checkpoints.save(step)
            name = signal.Signals(received[0]).name
            raise InterruptedRunError(
                f"stopped by {name} after step {step}, which is saved; the same command continues",
                received[0],
            )


def _updates(run: _Run, step: int, monitor: Monitor) -> Iterator[Update]:
    """Makes one update after another, and tells of each."""
    config = run.config.train
    dataset = _batches(run, step)
    accumulate, update = make_steps(run.state, run.strategy, config, dataset.element_spec)
    batches = _drawn(iter(dataset), monitor, ", ".join(run.config.data.records))
    count = micro_batches(config, run.strategy.num_replicas_in_sync)
    for number in range(step + 1, config.steps + 1):
        rate = float(run.state.optimizer.learning_rate)
        drawn, terms = [], []
        for _ in range(count - 1):
            drawn.append(next(batches))
            terms.append(accumulate(drawn[-1]))
        drawn.append(next(batches))
        found, norm = update(drawn[-1])
        terms.append(found)
        local = run.strategy.experimental_local_results
        yield Update(
            step=number,
            terms={
                name: np.concatenate([part.numpy() for each in terms for part in local(each[name])])
                for name in found
            },
            norm=float(local(norm)[0]),
            names=[
                name.decode()
                for each in drawn
                for part in local(each["names"])
                for name in part.numpy()
            ],
            learning_rate=rate,
        )


def _drawn(batches: Iterator[Any], monitor: Monitor, records: str) -> Iterator[Any]:
    """Passes batches on and counts the time they take to come."""
    while True:
        started = time.monotonic()
        try:
            batch = next(batches)
        except tf.errors.DataLossError as error:
            raise UserError(
                f"{records} holds a damaged record ({error.message.splitlines()[0]}). "
                "Run `ssh-tf records` again."
            ) from error
        monitor.waited(time.monotonic() - started)
        yield batch


def _validate(run: _Run, validate: Validate, step: int, monitor: Monitor) -> None:
    """Evaluates the network and keeps it if it is the best so far."""
    network = evaluated_network(run.state)
    found = validate(network)
    monitor.validated(step, found.ap, found.pictures)
    _LOG.info("step %d: AP %s", step, " ".join(f"{k}={v:.4f}" for k, v in found.ap.items()))
    record = run.folder / BEST_RECORD
    best = json.loads(record.read_text())["ap"] if record.is_file() else {}
    setting = list(found.ap)[-1]
    if found.ap[setting] >= best.get(setting, -1.0):
        save_network(network, run.folder / BEST_NETWORK)
        write_text(record, json.dumps({"step": step, "ap": dict(found.ap)}, indent=1) + "\n")
