"""SIGTERM and Ctrl-C: at once before the first update, after the current one later."""

import contextlib
import logging
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ssh_tf.errors import InterruptedRunError

_LOG = logging.getLogger(__name__)


@dataclass
class Stop:
    """Whether the run shall stop.

    Attributes:
        number: Of the signal that came; None if none did.
        saves: Whether the run saves its work before it stops. Until then a signal interrupts at
            once; as some libraries swallow what a handler raises, `number` is looked at as well.
    """

    number: int | None = None
    saves: bool = False

    def interrupt(self, saved: str) -> None:
        """Stops the run if a signal came.

        Raises:
            InterruptedRunError: Then; it says what is saved.
        """
        if self.number is not None:
            name = signal.Signals(self.number).name
            raise InterruptedRunError(f"stopped by {name} {saved}", self.number)


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """Yields what SIGTERM and SIGINT change; a second SIGINT interrupts at once."""
    stop = Stop()

    def note(number: int, frame: Any) -> None:
        again, stop.number = stop.number is not None, number
        if not stop.saves:
            stop.interrupt("before the first update")
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt
        _LOG.warning("%s: saving after this update", signal.Signals(number).name)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # Only the main thread has signals.
        yield stop
        return
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
