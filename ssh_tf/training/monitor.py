"""What a run reports: `logs.csv`, TensorBoard, and a stop when a number is not finite."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssh_tf.errors import UserError
from ssh_tf.training.table import Logs, Table

LOG_FILE = "logs.csv"
VALIDATION_FILE = "validation.csv"

Tensor = Any


@dataclasses.dataclass(frozen=True)
class Update:
    """What is known of one update, of the images of this process.

    Tensors on the device: reading them waits until the device has made the update.

    Attributes:
        step: Its number, from 1.
        terms: `<module>_<term>` -> `[B]` float32 of each batch.
        norm: Norm of the whole update's gradient, before clipping.
        names: `[B]` string, of each batch's images.
        learning_rate: Of the update.
    """

    step: int
    terms: Mapping[str, Sequence[Tensor]]
    norm: Tensor
    names: Sequence[Tensor]
    learning_rate: Tensor


class Monitor:
    """Collects updates and writes their means.

    Args:
        folder: The run's folder.
        step: Updates made before.
        images_per_update: Of all processes.
        scaled: Whether the loss is scaled: then a gradient that is not finite is nothing unusual,
            the update is left out and the scale lowered.
    """

    def __init__(self, folder: Path, *, step: int, images_per_update: int, scaled: bool) -> None:
        self._table = Table(folder / LOG_FILE, after=step)
        self._validation = Table(folder / VALIDATION_FILE, after=step)
        self._writer = tf.summary.create_file_writer(str(folder / "logs"))
        self._images_per_update, self._scaled = images_per_update, scaled
        self._unread: list[Update] = []
        self._read: list[Logs] = []  # of the updates since the last row
        self._started, self._waited = time.monotonic(), 0.0

    def add(self, update: Update) -> None:
        """Keeps one update; its numbers are read by the next `check` or `write`."""
        self._unread.append(update)

    def check(self) -> None:
        """Reads the numbers of the updates since the last call.

        Raises:
            UserError: If a term or the gradient of one is not finite.
        """
        while self._unread:
            self._read.append(self._means(self._unread.pop(0)))

    def _means(self, update: Update) -> Logs:
        values = {
            name: np.concatenate([np.asarray(part) for part in parts])  # [images]
            for name, parts in update.terms.items()
        }
        norm = float(update.norm)  # of the sum over all images: says nothing of one of them
        broken = [name for name, each in values.items() if not np.isfinite(each).all()]
        if broken or not (self._scaled or math.isfinite(norm)):
            names = (name.decode() for part in update.names for name in np.asarray(part))
            raise UserError(
                f"{', '.join(broken) or 'The gradient'} is not finite at step {update.step} "
                f"(images {', '.join(names)}). Lower train.learning_rate or set train.warmup_steps "
                "or train.clip_norm; the last checkpoint is kept."
            )
        means = {name: float(each.mean()) for name, each in values.items()}
        return means | {"learning_rate": float(update.learning_rate), "gradient_norm": norm}

    def waited(self, seconds: float) -> None:
        """Counts time spent waiting for input."""
        self._waited += seconds

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the time of the block out of the rates."""
        started = time.monotonic()
        yield
        self._started += time.monotonic() - started

    def write(self) -> Logs:
        """Writes the means since the last call and returns them.

        Raises:
            UserError: As `check`.
        """
        step = self._unread[-1].step
        self.check()
        rows, seconds = self._read, time.monotonic() - self._started
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[-1]}
        logs = {
            "loss": sum(value for name, value in means.items() if name.endswith("_loss")),
            **means,
            "learning_rate": rows[-1]["learning_rate"],
            "images_per_second": len(rows) * self._images_per_update / seconds,
            "waiting": self._waited / seconds,
        }
        self._scalars(step, {f"{_group(name)}/{name}": value for name, value in logs.items()})
        self._table.add({"step": step, **logs})
        self._read, self._started, self._waited = [], time.monotonic(), 0.0
        return logs

    def is_validated(self, step: int) -> bool:
        """Whether `validated` was called for this step, in this process or one before."""
        return any(row["step"] == step for row in self._validation.rows)

    def validated(self, step: int, ap: Logs, pictures: Sequence[np.ndarray]) -> None:
        """Writes the average precision of a step, and pictures `[H, W, 3]` uint8 of any sizes."""
        self._scalars(step, {f"ap/{setting}": value for setting, value in ap.items()})
        with self._writer.as_default(step):
            for i, picture in enumerate(pictures):
                tf.summary.image(f"detections/{i}", picture[np.newaxis])
        self._writer.flush()
        self._validation.add({"step": step, **ap})

    def _scalars(self, step: int, values: Mapping[str, Any]) -> None:
        with self._writer.as_default(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)


def _group(name: str) -> str:
    """Returns the section of TensorBoard's page that a value stands in."""
    if name.endswith("loss"):
        return "loss"
    return "anchors" if name.endswith(("positives", "negatives")) else "run"
