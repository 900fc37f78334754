"""Detection without waiting: images are read ahead of the network, results made behind it."""

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ssh_tf.inference.results import Detections
from ssh_tf.prefetch import prefetch

if TYPE_CHECKING:
    from ssh_tf.inference.contract import Boxes, FaceDetector

Item = TypeVar("Item")
Value = TypeVar("Value")
Result = TypeVar("Result")
# Waits for what a thread makes of an item and returns it, or raises what that raised.
Later = Callable[[], Value]

# Threads that read; a decoded image is larger than its file, so memory limits them.
_READERS = max(2, min(8, os.cpu_count() or 1))
# Images whose boxes wait for their turn, behind the network.
_BEHIND = 2


def detect_ahead(
    detector: "FaceDetector",
    items: Iterable[Item],
    read: Callable[[Item], np.ndarray],
    finish: Callable[[Item, Detections], Result],
    *,
    finishers: int = 1,
) -> Generator[tuple[Item, Later[Result]], None, None]:
    """Detects many images; threads read the next ones and finish the last ones meanwhile.

    The network itself runs in one thread, unless the detector has more. What an image raises, in
    whatever thread, its own result raises, and no other.

    Args:
        detector: What finds the faces.
        items: What images are read from; taken by the caller's thread, a few in advance.
        read: Returns an item's pixels, `[H, W, 3]` uint8 RGB. Called in several threads.
        finish: Makes the result of an item and its faces, which hold the pixels. Called in
            `finishers` threads; with one, in the order of the items.
        finishers: Threads that finish.

    Yields:
        `(item, result)` in the order of the items; `result()` waits. Leaving the loop early, also
        by Ctrl-C, waits for what the threads are doing and begins nothing more.
    """

    def prepare(item: Item) -> tuple[np.ndarray, Any]:
        pixels = read(item)
        return pixels, detector.prepare(pixels)

    def complete(computed: tuple[Item, Later[Detections]]) -> Result:
        return finish(computed[0], computed[1]())

    compute = functools.partial(_compute, detector)
    with contextlib.ExitStack() as stack:
        prepared = prefetch(prepare, items, ahead=_READERS + 1, workers=_READERS)
        stack.callback(prepared.close)
        windows = _windows(prepared, detector.window)
        parallel = detector.parallel
        computed = prefetch(compute, windows, ahead=parallel, workers=parallel)
        stack.callback(computed.close)
        finished = prefetch(complete, _one_by_one(computed), ahead=_BEHIND, workers=finishers)
        stack.callback(finished.close)
        for (item, _), result in finished:
            yield item, result


def _compute(
    detector: "FaceDetector", window: Sequence[tuple[Any, Later[tuple[np.ndarray, Any]]]]
) -> list[Later[Detections]]:
    """Runs the network on the images of a window that could be read."""
    ready = [attempt(result) for _, result in window]
    good = [one() for one in ready if not isinstance(one, Failure)]
    boxes = iter(detector.compute([prepared for _, prepared in good]))
    pixels = iter(pixels for pixels, _ in good)
    return [
        one
        if isinstance(one, Failure)
        else functools.partial(_detections, next(pixels), next(boxes))
        for one in ready
    ]


def _detections(pixels: np.ndarray, boxes: "Later[Boxes]") -> Detections:
    return Detections(*boxes(), pixels.shape[:2], pixels)


class Failure:
    """Raises an error later, where the result is asked for.

    Args:
        error: What is raised.
    """

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __call__(self) -> Any:
        """Raises it."""
        raise self._error


def attempt(call: Callable[[], Value]) -> Later[Value]:
    """Calls a function; returns what gives its value, or the `Failure` that raises its error."""
    try:
        value = call()
    except Exception as error:
        return Failure(error)
    return lambda: value


def _windows(items: Iterable[Item], length: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while window := list(itertools.islice(iterator, length)):
        yield window


def _one_by_one(
    computed: Iterable[tuple[Sequence[tuple[Item, Any]], Later[Sequence[Later[Value]]]]],
) -> Iterator[tuple[Item, Later[Value]]]:
    """Yields the items of windows, each with its own result."""
    for window, results in computed:
        for i, (item, _) in enumerate(window):
            yield item, functools.partial(_nth, results, i)


def _nth(results: Later[Sequence[Later[Value]]], i: int) -> Value:
    return results()[i]()
