"""What a run tells of itself: `logs.csv`, TensorBoard, and a stop when a number is not finite."""

import csv
import dataclasses
import io
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssh_tf.errors import UserError
from ssh_tf.files import write_text

Logs = Mapping[str, float]

LOG_FILE = "logs.csv"
VALIDATION_FILE = "validation.csv"


@dataclasses.dataclass(frozen=True)
class Update:
    """What is known of one update, of the images of this process.

    Attributes:
        step: Its number, from 1.
        terms: `<module>_<term>` -> `[images]` float32.
        norm: Norm of the whole update's gradient, before clipping.
        names: Of the images.
        learning_rate: Of the update.
    """

    step: int
    terms: Mapping[str, np.ndarray]
    norm: float
    names: Sequence[str]
    learning_rate: float


class Table:
    """A CSV file with one row per step, which a continued run goes on from where it begins.

    Args:
        path: The file.
        after: Rows of later steps are dropped: the updates they tell of are made again.
    """

    def __init__(self, path: Path, *, after: int) -> None:
        self._path = path
        self._rows = [row for row in read_table(path) if row["step"] <= after]
        self._rewrite()

    def add(self, row: Logs) -> None:
        """Appends a row, with `step` among its columns."""
        fits = not self._rows or list(self._rows[0]) == list(row)
        self._rows.append(dict(row))
        if len(self._rows) == 1 or not fits:
            self._rewrite()
        else:
            with self._path.open("a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, list(row), lineterminator="\n").writerow(row)

    def _rewrite(self) -> None:
        columns = list(dict.fromkeys(key for row in self._rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self._path, text.getvalue() if self._rows else "")


def read_table(path: Path) -> list[dict[str, float]]:
    """Returns the rows of a `Table`'s file; none where there is no file.

    A last row that was not written to its end is left out; cells without a value are NaN.
    """
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        lines = [line for line in file.read().splitlines(keepends=True) if line.endswith("\n")]
    rows = []
    for row in csv.DictReader(lines):
        rows.append({key: float(value or math.nan) for key, value in row.items()})
        rows[-1]["step"] = int(rows[-1]["step"])
    return rows


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
        self._updates: list[Update] = []
        self._started, self._waited = time.monotonic(), 0.0

    def add(self, update: Update) -> None:
        """Keeps one update.

        Raises:
            UserError: If a term or the gradient is not finite.
        """
        self._updates.append(update)
        broken = [name for name, values in update.terms.items() if not np.isfinite(values).all()]
        if not broken and (self._scaled or math.isfinite(update.norm)):
            return
        raise UserError(
            f"{', '.join(broken) or 'The gradient'} is not finite at step {update.step} (images "
            f"{', '.join(update.names)}). Lower train.learning_rate or set train.warmup_steps or "
            "train.clip_norm; the last checkpoint is kept."
        )

    def waited(self, seconds: float) -> None:
        """Counts time spent waiting for input."""
        self._waited += seconds

    def write(self) -> Logs:
        """Writes the means since the last call and returns them."""
        updates, last = self._updates, self._updates[-1]
        seconds = time.monotonic() - self._started
        terms = {
            name: float(np.mean([update.terms[name].mean() for update in updates]))
            for name in last.terms
        }
        logs = {
            "loss": sum(value for name, value in terms.items() if name.endswith("_loss")),
            **terms,
            "learning_rate": last.learning_rate,
            "gradient_norm": float(np.mean([update.norm for update in updates])),
            "images_per_second": len(updates) * self._images_per_update / seconds,
            "waiting": self._waited / seconds,
        }
        self._scalars(last.step, logs)
        self._table.add({"step": last.step, **logs})
        self._updates, self._started, self._waited = [], time.monotonic(), 0.0
        return logs

    def validated(self, step: int, ap: Logs, pictures: Sequence[np.ndarray]) -> None:
        """Writes the average precision of a step, and pictures `[H, W, 3]` uint8 of any sizes."""
        self._scalars(step, {f"ap/{setting}": value for setting, value in ap.items()})
        with self._writer.as_default(step):
            for i, picture in enumerate(pictures):
                tf.summary.image(f"detections/{i}", picture[np.newaxis])
        self._writer.flush()
        self._validation.add({"step": step, **ap})
        # Time spent on it is not the training's.
        self._started = time.monotonic()
        self._waited = 0.0

    def _scalars(self, step: int, values: Mapping[str, Any]) -> None:
        with self._writer.as_default(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
