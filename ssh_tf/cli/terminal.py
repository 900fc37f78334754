"""What a person sees: lines that are safe to print, progress bars, log lines where there are none.

Only this file prints. Names of files come from strangers: escape sequences, line ends and bytes
that are no text are shown by their codes.
"""

import contextlib
import io
import logging
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags
from absl import logging as absl_logging
from tqdm import tqdm

from ssh_tf.environment import import_keras, pin_keras

if TYPE_CHECKING:
    from ssh_tf.training.table import Logs

_LOG = logging.getLogger("ssh_tf")

# Loggers of libraries that report every file or retry at the level of our own lines.
# TensorFlow and Keras log to `absl`.
_TALKATIVE = {"absl": 30, "h5py": 30, "matplotlib": 40, "PIL": 30, "tensorflow": 30, "urllib3": 40}
# Without a terminal, work that is done sooner says nothing.
QUIET_SECONDS = 5.0

_bars: list["tqdm[Any]"] = []


def printable(text: str) -> str:
    """Returns text as one line that can't steer a terminal: control signs become their codes."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def say(*lines: object) -> None:
    """Prints results to stdout. Where nobody reads on (`| head`), the work goes on in silence."""
    close_bars()
    try:
        for line in lines:
            print(printable(str(line)), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def next_command(*words: object) -> None:
    """Says which command one wants next."""
    say(f"Next: ssh-tf {shlex.join(str(word) for word in words)}")


def complain(text: str) -> None:
    """Prints what went wrong, one line, to stderr."""
    close_bars()
    print(printable(text), file=sys.stderr)


def close_bars() -> None:
    """Ends the lines of progress bars that an error or a signal left open."""
    while _bars:
        _bars.pop().close()


def start_output() -> None:
    """Makes streams take any name, and log lines look like TensorFlow's and stay off the bars."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    flags.FLAGS.mark_as_parsed()  # Before that absl's handler writes past the stream it is given.
    absl_logging.use_absl_handler()
    handler = absl_logging.get_absl_handler()
    handler.setFormatter(_Formatter())
    handler.python_handler.setStream(_BesideBars())
    handler.addFilter(_is_ours_or_urgent)
    for name, level in _TALKATIVE.items():
        if logging.root.level >= logging.INFO:  # `--verbosity 1` shows theirs as well.
            logging.getLogger(name).setLevel(level)


def _is_ours_or_urgent(record: logging.LogRecord) -> bool:
    """Drops TensorFlow's notes on what it does: they go through absl's logger, as our lines do."""
    return record.levelno >= logging.WARNING or "tensorflow" not in Path(record.pathname).parts


class _Formatter(logging.Formatter):
    """absl's prefix, then the message as one printable line."""

    def format(self, record: logging.LogRecord) -> str:
        prefix: str = absl_logging.get_absl_log_prefix(record)
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return prefix + printable(record.getMessage()) + trace


class _BesideBars(io.TextIOBase):
    """The current stderr; bars are taken away before a line and drawn again after it."""

    def write(self, text: str) -> int:
        with tqdm.external_write_mode(file=sys.stderr):
            return sys.stderr.write(text)


@contextlib.contextmanager
def interrupts_later() -> Iterator[None]:
    """Raises Ctrl-C after a block of imports: some modules swallow what is raised in theirs."""
    received: list[int] = []
    try:
        before = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    except ValueError:  # Only the main thread has signals.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if received:
        raise KeyboardInterrupt


def import_tensorflow() -> None:
    """Imports TensorFlow without the notices that its C++ libraries print whatever the log level.

    Raises:
        UserError: If Keras can't be imported with the settings it finds.
    """
    saved = os.dup(2)
    with open(os.devnull, "w") as nothing, interrupts_later(), contextlib.ExitStack() as stack:
        stack.callback(os.close, saved)
        stack.callback(os.dup2, saved, 2)
        os.dup2(nothing.fileno(), 2)
        import_keras()
    pin_keras()  # What it says is to be seen.


def progress(stage: str, total: int) -> Callable[[], None]:
    """A progress bar on a terminal; lines otherwise, if it takes long enough to wonder.

    `total` 0 stands for work of unknown length.
    """
    return _bar(stage, total) if sys.stderr.isatty() else _lines(stage, total)


def _bar(stage: str, total: int) -> Callable[[], None]:
    bar = _open_bar(total=total or None, desc=printable(stage), unit="img")

    def tick() -> None:
        bar.update()
        if bar.n == total:
            bar.close()

    return tick


def _open_bar(**options: Any) -> "tqdm[Any]":
    size = shutil.get_terminal_size()  # 80 x 24 where a terminal says nothing, as in containers.
    bar = tqdm(ncols=size.columns, nrows=size.lines, **options)
    _bars.append(bar)
    return bar


def _lines(stage: str, total: int) -> Callable[[], None]:
    done, started = 0, time.monotonic()
    told = started

    def tick() -> None:
        nonlocal done, told
        done += 1
        now = time.monotonic()
        # Every five seconds at first, then less and less often: 30 lines in an hour.
        pause = max(QUIET_SECONDS, (now - started) / 4)
        last = done == total and told > started
        if now - told < pause and not last:
            return
        told, passed = now, now - started
        if total:
            left = _duration(passed / done * (total - done))
            _LOG.info("%s: %d of %d, %s, %s left", stage, done, total, _duration(passed), left)
        else:
            _LOG.info("%s: %d, %s", stage, done, _duration(passed))

    return tick


def training_progress(steps: int) -> "Callable[[int, Logs], None]":
    """A bar on a terminal, a line per log entry otherwise; both say how long it still takes."""
    return _training_bar(steps) if sys.stderr.isatty() else _training_lines(steps)


def _training_bar(steps: int) -> "Callable[[int, Logs], None]":
    bar: tqdm[Any] | None = None

    def on_step(step: int, logs: "Logs") -> None:
        nonlocal bar
        if bar is None:  # A continued run begins where it stopped.
            bar = _open_bar(total=steps, initial=step - 1, desc="train", unit="step")
        shown = {key: logs[key] for key in ("loss", "images_per_second") if key in logs}
        if shown:
            bar.set_postfix(shown, refresh=False)
        bar.update(step - bar.n)
        if step == steps:
            bar.close()

    return on_step


def _training_lines(steps: int) -> "Callable[[int, Logs], None]":
    first: tuple[int, float] | None = None

    def on_step(step: int, logs: "Logs") -> None:
        nonlocal first
        now = time.monotonic()
        if first is None:  # The first update compiles: it says nothing about the others.
            first = (step, now)
        updates, seconds = step - first[0], now - first[1]
        known = updates or step == steps
        left = _duration(seconds / max(updates, 1) * (steps - step)) if known else "unknown time"
        if logs:
            terms = " ".join(f"{key}={value:.4g}" for key, value in logs.items())
            _LOG.info("step %d of %d: %s, %s left", step, steps, terms, left)
        elif updates == 2 and steps - step > 20:
            _LOG.info("step %d of %d: about %s left", step, steps, left)

    return on_step


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{hours} h"
