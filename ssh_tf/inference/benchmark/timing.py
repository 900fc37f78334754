"""How long detection takes: stage by stage, the network alone, and from a file to its boxes."""

import dataclasses
import functools
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from ssh_tf.inference.benchmark.cases import Case, Size, Spec
from ssh_tf.inference.benchmark.photos import cut_photos

_MATRIX = 2048

# The number of a case and the name of a stage.
Calls = dict[tuple[int, str], Callable[[], Any]]


@dataclasses.dataclass(frozen=True)
class Timing:
    """What one image takes, in one size, runtime, precision and batch. Seconds are medians.

    Attributes:
        model: Its name, or the name of a peer's file.
        runtime: What ran the network.
        precision: What it computed in.
        batch: Images at once.
        height: Of the network's input, px.
        width: Of the network's input, px.
        end_to_end: Seconds from a JPEG file's path to boxes in NumPy.
        faces: Boxes that came out of the last photo.
        network: Seconds of the network alone, if it can be told apart.
        decode: Seconds of reading and decoding, run on its own.
        resize: Seconds of scaling, run on its own.
        boxes: Seconds from the network's outputs to boxes, run on its own.
        flops: Floating-point operations of the network, two per multiply-add; None: not ours.
        memory_mib: See `memory.peak_memory`.
    """

    model: str
    runtime: str
    precision: str
    batch: int
    height: int
    width: int
    end_to_end: float
    faces: int
    network: float | None = None
    decode: float | None = None
    resize: float | None = None
    boxes: float | None = None
    flops: float | None = None
    memory_mib: float | None = None

    @property
    def ratio(self) -> float | None:
        """End to end over the network alone."""
        return None if self.network is None else self.end_to_end / self.network

    @property
    def images_per_second(self) -> float:
        """From files to boxes."""
        return 1 / self.end_to_end

    @property
    def flops_per_second(self) -> float | None:
        """Of the network alone."""
        return None if self.network is None or self.flops is None else self.flops / self.network


def time_cases(
    cases: Sequence[Case], size: Size, runs: int, photos: Sequence[Path] = ()
) -> list[Timing]:
    """Measures one size; all cases and stages take turns: a busy moment slows them all.

    Args:
        cases: What is measured.
        size: Height and width of the network's input, px.
        runs: Turns after a first one that does not count; each takes the next photo.
        photos: See `cut_photos`.

    Returns:
        One `Timing` per case, in their order.

    Raises:
        UserError: If a photo can't be read.
    """
    for case in cases:
        case.resize_to(size)
    with tempfile.TemporaryDirectory() as folder:
        files = cut_photos(Path(folder), photos[:runs], size)
        calls = [_calls(cases, file) for file in files]
        seconds = _take_turns(calls, runs)
        faces = [case.detect(files[-1]) for case in cases]
    flops: dict[str, float | None] = {}
    for case in cases:
        if case.spec.model not in flops:
            flops[case.spec.model] = case.flops(size)
    return [
        _timing(case.spec, size, flops[case.spec.model], times, count)
        for case, times, count in zip(cases, _by_case(seconds, len(cases)), faces, strict=True)
    ]


def matrix_flops_per_second(repeats: int = 20) -> float:
    """Measures the best rate of a float32 matrix product of 2048 x 2048, operations per second."""
    matrix = tf.random.stateless_normal([_MATRIX, _MATRIX], seed=(0, 0))
    multiply = tf.function(lambda a: tf.reduce_sum(a @ a))
    best = min(_seconds(lambda: multiply(matrix).numpy()) for _ in range(repeats + 1))
    return 2.0 * _MATRIX**3 / best


def _calls(cases: Sequence[Case], file: Path) -> Calls:
    """Returns what is timed on one photo, each a function without arguments."""
    calls: Calls = {}
    for number, case in enumerate(cases):
        stages = case.stages(file)
        calls |= {(number, name): call for name, call in stages.items()}
        if (network := case.network(file)) is not None:
            calls[number, "network"] = network
        calls[number, "end_to_end"] = functools.partial(case.detect, file)
    return calls


def _by_case(seconds: Mapping[tuple[int, str], float], count: int) -> list[dict[str, float]]:
    return [
        {stage: time for (number, stage), time in seconds.items() if number == i}
        for i in range(count)
    ]


def _timing(
    spec: Spec, size: Size, flops: float | None, seconds: Mapping[str, float], faces: int
) -> Timing:
    network = seconds.get("network")
    return Timing(
        *spec,
        *size,
        network=None if network is None else network / spec.batch,
        end_to_end=seconds["end_to_end"] / spec.batch,
        decode=seconds.get("decode"),
        resize=seconds.get("resize"),
        boxes=seconds.get("boxes"),
        flops=flops,
        faces=faces,
    )


def _take_turns(calls: Sequence[Calls], runs: int) -> dict[tuple[int, str], float]:
    """Calls every function once to warm up, then those of one photo after the other.

    Returns:
        Median seconds by name.
    """
    for photo in calls:
        for call in photo.values():
            call()
    seconds = defaultdict(list)
    for run in range(runs):
        for name, call in calls[run % len(calls)].items():
            seconds[name].append(_seconds(call))
    return {name: statistics.median(times) for name, times in seconds.items()}


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
