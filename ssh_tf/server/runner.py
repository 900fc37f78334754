"""A bounded queue in front of a few threads: one for both protocols."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ssh_tf.server.errors import ServingError

T = TypeVar("T")


class Runner:
    """Runs requests in threads; TensorFlow computes outside of Python's lock.

    Args:
        workers: Threads.
        queue: Requests that may wait for a thread.
    """

    def __init__(self, workers: int, queue: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="predict")
        self._places = threading.BoundedSemaphore(workers + queue)

    def submit(self, call: Callable[[], T]) -> "Future[T]":
        """Queues a call. Cancelling the future before a thread takes it frees its place.

        Raises:
            ServingError: If the queue is full or the server stops.
        """
        if not self._places.acquire(blocking=False):
            # The code of TensorFlow Serving's full batching queue, which its clients retry.
            raise ServingError("UNAVAILABLE", "The server is busy: its queue is full. Try again.")
        try:
            future = self._pool.submit(call)
        except RuntimeError as error:
            self._places.release()
            raise ServingError("UNAVAILABLE", "The server is stopping.") from error
        future.add_done_callback(lambda _: self._places.release())
        return future

    def stop(self) -> None:
        """Finishes what runs and waits for it; what was queued is cancelled."""
        self._pool.shutdown(wait=True, cancel_futures=True)
