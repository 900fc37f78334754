"""What a person sees while a command runs: progress bars on a terminal, log lines elsewhere."""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from ssh_tf.training.table import Logs

_LOG = logging.getLogger("ssh_tf")


def import_tensorflow() -> None:
    """Imports TensorFlow without the notices that its C++ libraries print whatever the log level.

    Errors of the import are raised as usual.
    """
    saved = os.dup(2)
    with open(os.devnull, "w") as nothing, contextlib.ExitStack() as stack:
        stack.callback(os.close, saved)
        stack.callback(os.dup2, saved, 2)
        os.dup2(nothing.fileno(), 2)
        import tensorflow  # noqa: F401


def progress(stage: str, total: int) -> Callable[[], None]:
    """A progress bar on a terminal, a line every tenth of the work otherwise.

    `total` 0 stands for work of unknown length, which gets a line every hundred items.
    """
    if sys.stderr.isatty():
        bar = tqdm(total=total or None, desc=stage, unit="img")

        def tick() -> None:
            bar.update()
            if bar.n == total:
                bar.close()

        return tick
    done, started = 0, time.monotonic()

    def line() -> None:
        nonlocal done
        done += 1
        seconds = time.monotonic() - started
        if not total and done % 100 == 0:
            _LOG.info("%s: %d, %.0f s", stage, done, seconds)
        elif total and done * 10 // total > (done - 1) * 10 // total:
            left = seconds / done * (total - done)
            _LOG.info("%s: %d of %d, %.0f s, %.0f s left", stage, done, total, seconds, left)

    return line


def training_progress(steps: int) -> "Callable[[int, Logs], None]":
    """Keras' progress bar on a terminal, a line per log entry otherwise."""
    from keras.utils import Progbar

    bar = Progbar(steps, unit_name="step", stateful_metrics=["loss", "learning_rate"])

    def on_step(step: int, logs: "Logs") -> None:
        shown = [(key, logs[key]) for key in ("loss", "images_per_second") if key in logs]
        if sys.stderr.isatty():
            bar.update(step, shown, finalize=step == steps)
        elif logs:
            terms = " ".join(f"{key}={value:.4g}" for key, value in logs.items())
            _LOG.info("step %d of %d: %s", step, steps, terms)

    return on_step
