"""Reading ahead: threads prepare the next items while the caller works on the present one."""

import collections
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int = 4, workers: int = 2
) -> Generator[tuple[Item, Callable[[], Result]], None, None]:
    """Calls a function for the next items in threads, while the caller works on the present one.

        for path, image in prefetch(read_image, paths):
            try:
                faces = detector.detect(image())
            except UserError as error:
                ...  # This file alone; the next ones go on.

    A source that is read in turn, such as a video, needs one worker and ignores the item:
    `prefetch(lambda _: capture.read(), itertools.count(), workers=1)`, left by `break` at its end.

    Args:
        function: What takes the time: reading, decoding, scaling. OpenCV, NumPy and files leave
            Python's lock to other threads meanwhile.
        items: What it is called with; taken by the caller's thread, at most `ahead` in advance.
        ahead: Most items in work or waiting, so that memory is bounded; at least 1.
        workers: Threads; with one, calls follow each other in the order of the items.

    Yields:
        `(item, result)` in the order of the items. `result()` waits for that item and returns what
        the function returned, or raises what it raised. Leaving the loop early calls the function
        for no further item.

    Raises:
        ValueError: If `ahead` or `workers` is less than 1.
    """
    if ahead < 1 or workers < 1:
        raise ValueError(f"`ahead` and `workers` must be at least 1. Received: {ahead}, {workers}")
    return _prefetch(function, items, ahead, workers)


def _prefetch(
    function: Callable[[Item], Result], items: Iterable[Item], ahead: int, workers: int
) -> Generator[tuple[Item, Callable[[], Result]], None, None]:
    waiting: collections.deque[tuple[Item, Future[Result]]] = collections.deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="prefetch") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(function, item)))
                if len(waiting) > ahead:
                    first, future = waiting.popleft()
                    yield first, future.result
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result
        finally:
            for _, future in waiting:
                future.cancel()
