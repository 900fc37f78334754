"""How long work tells its caller how far it is, without knowing how that is shown."""

from collections.abc import Callable

# `progress(stage, total)` begins a stage and returns what is called after each of its items.
Tick = Callable[[], None]
Progress = Callable[[str, int], Tick]


def silent(stage: str, total: int) -> Tick:
    """Shows nothing."""
    del stage, total
    return lambda: None
