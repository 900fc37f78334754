"""The folder of a run: the one place that knows its files.

`config.yaml` holds the settings, `start.json` what the weights began as, `environment.json` what
the run ran with; `checkpoints/` what continues it, `model.keras` the last and `best.keras` the best
network, `best.json` which one that is. The logs belong to `ssh_tf.training.monitor`.
"""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ssh_tf.config import Config, ModelConfig, load, to_yaml
from ssh_tf.errors import UserError
from ssh_tf.files import existing_folder, write_text
from ssh_tf.model.ohem import training_model
from ssh_tf.model.ssh import SSH
from ssh_tf.model.weights import load_network, means_for, save_network
from ssh_tf.training.checkpoints import Checkpoints
from ssh_tf.training.state import freeze, make_averages

_LOG = logging.getLogger(__name__)

Which = Literal["last", "best"]

_SETTINGS, _START, _ENVIRONMENT = "config.yaml", "start.json", "environment.json"
_LAST, _BEST, _BEST_RECORD = "model.keras", "best.keras", "best.json"


@dataclass(frozen=True)
class RunFolder:
    """A run's files.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        """The file of the network that a finished run ends with."""
        return self.path / _LAST

    def settings(self) -> Config | None:
        """Returns the settings of the run, None if it did not begin yet.

        Raises:
            UserError: If they can't be read.
        """
        file = self.path / _SETTINGS
        return load(file) if file.is_file() else None

    def begin(self, config: Config, means: tuple[float, ...], environment: str) -> None:
        """Writes what the run is: its settings, the start of its weights, what it runs with."""
        write_text(self.path / _SETTINGS, to_yaml(config))
        if not (self.path / _START).is_file():
            start = {"weights": config.model.weights, "means": means}
            write_text(self.path / _START, json.dumps(start, indent=1) + "\n")
        write_text(self.path / _ENVIRONMENT, environment)

    def means(self, config: ModelConfig) -> tuple[float, ...]:
        """Returns the pixel means of the run's network, whatever became of its first weights.

        Args:
            config: The run's; used for a run that has no `start.json`, which older versions made.

        Raises:
            UserError: If they can't be read.
        """
        file = self.path / _START
        if not file.is_file():
            return means_for(config)
        start = _read_json(file)
        means = start.get("means")
        if not isinstance(means, list) or len(means) != 3 or not all(map(_is_finite, means)):
            raise UserError(f"{file} must hold `means`, three numbers. Received: {means!r}.")
        return tuple(means)

    def save_last(self, network: SSH) -> None:
        """Writes the network that the run ends with."""
        save_network(network, self.last)

    def save_if_best(self, network: SSH, step: int, ap: Mapping[str, float]) -> None:
        """Writes a network if no earlier one has a higher average precision.

        Args:
            network: As it was evaluated.
            step: Updates it has seen.
            ap: Setting to average precision, of which the last setting decides.
        """
        setting = list(ap)[-1]
        if self._best_ap(setting) > ap[setting]:
            return
        save_network(network, self.path / _BEST)
        record = {"step": step, "ap": dict(ap)}
        write_text(self.path / _BEST_RECORD, json.dumps(record, indent=1) + "\n")

    def _best_ap(self, setting: str) -> float:
        """Returns what `best.keras` reaches, -1 where that is not known."""
        file = self.path / _BEST_RECORD
        if not file.is_file():
            return -1.0
        try:
            ap = _read_json(file)["ap"][setting]
        except (UserError, KeyError, TypeError, IndexError):
            ap = None
        if _is_finite(ap):
            return float(ap)
        _LOG.warning("%s does not say how good %s is: it will be replaced.", file, _BEST)
        return -1.0


def settings_of(path: str | Path) -> Config | None:
    """Returns the settings of the run that a network comes from.

    Args:
        path: A run's folder, or its `model.keras` or `best.keras`; any other path is of no run.

    Raises:
        UserError: If they can't be read.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    of_run = path.is_dir() or path.name in (_LAST, _BEST)
    return RunFolder(folder).settings() if of_run else None


def load_run(path: str | Path, which: Which = "last") -> SSH:
    """Loads the network of a run, finished or not.

    Args:
        path: The run's folder.
        which: `last`: that of `model.keras`, else of the newest checkpoint that can be read, with
            the moving average of the weights where the run keeps one. `best`: that of `best.keras`.

    Returns:
        The network, in float32.

    Raises:
        UserError: If there is no such network or it can't be read.
    """
    run = RunFolder(existing_folder(path, "a run"))
    if which == "best":
        if not (run.path / _BEST).is_file():
            raise UserError(
                f"{run.path} has no {_BEST}: nothing was evaluated yet (validation.wider_root)."
            )
        return load_network(run.path / _BEST)
    if run.last.is_file():
        return load_network(run.last)
    config = run.settings()
    if config is None or not Checkpoints(run.checkpoints).steps():
        raise UserError(
            f"{run.path} has neither {_LAST} nor checkpoints of a run. Expected a folder that "
            "training wrote."
        )
    return _load_unfinished(run, config)


def _load_unfinished(run: RunFolder, config: Config) -> SSH:
    network = SSH(config.model, run.means(config.model))
    freeze(network, config.train.frozen)
    trained = training_model(network, config.loss).trainable_variables
    averaged = trained if config.train.ema_decay is not None else []
    averages = make_averages(averaged)
    Checkpoints(run.checkpoints, network=network, averages=averages).restore()
    for variable, average in zip(averaged, averages, strict=True):
        variable.assign(average)
    return network


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _read_json(file: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        UserError: If the file holds none.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not JSON ({error}). Delete it, or restore it.") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} is not a JSON object. Delete it, or restore it.")
    return content
