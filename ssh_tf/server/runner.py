"""A bounded queue in front of a few threads: one for both protocols."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ssh_tf.server.errors import ServingError
from ssh_tf.server.limits import Limits

T = TypeVar("T")


class Held:
    """The bytes that one request holds, of those that all requests may hold together.

    Args:
        take: Takes bytes of the common store, or gives them back for a number below 0.
    """

    def __init__(self, take: Callable[[int], None]) -> None:
        self._take, self._size = take, 0

    def grow(self, size: int) -> None:
        """Takes more.

        Raises:
            ServingError: If there are not so many left.
        """
        self._take(size)
        self._size += size

    def release(self) -> None:
        """Gives all of it back. Calling it again does nothing."""
        size, self._size = self._size, 0
        self._take(-size)


class Runner:
    """Runs requests in threads; TensorFlow computes outside of Python's lock.

    Args:
        limits: Threads, places in the queue, and bytes.
    """

    def __init__(self, limits: Limits) -> None:
        self._pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="predict")
        self._places = threading.BoundedSemaphore(limits.workers + limits.queue)
        self._free_bytes = limits.held_bytes
        self._lock = threading.Lock()
        self._closed = False

    def hold(self) -> Held:
        """Returns what a new request holds: nothing yet."""
        return Held(self._take)

    def submit(self, call: Callable[[], T], held: Held) -> "Future[T]":
        """Queues a call. Cancelling the future before a thread takes it frees its place.

        Args:
            call: What to run.
            held: Released when the call is done, cancelled or refused.

        Raises:
            ServingError: If the queue is full or the server stops.
        """
        # A cancelled future stays in the pool's own queue; the request it would run must not.
        calls = [call]
        try:
            future = self._queue(lambda: calls.pop()())
        except ServingError:
            held.release()
            raise

        def leave(_: object) -> None:
            calls.clear()
            held.release()
            self._places.release()

        future.add_done_callback(leave)
        return future

    def close(self) -> None:
        """Takes nothing more and cancels what waits; what runs goes on."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def join(self) -> None:
        """Waits for what runs, after `close`."""
        self._pool.shutdown(wait=True)

    def _queue(self, call: Callable[[], T]) -> "Future[T]":
        if self._closed:
            raise stopping()
        if not self._places.acquire(blocking=False):
            # The code of TensorFlow Serving's full batching queue, which its clients retry.
            raise ServingError("UNAVAILABLE", "The server is busy: its queue is full. Try again.")
        try:
            return self._pool.submit(call)
        except RuntimeError as error:  # It was closed in between.
            self._places.release()
            raise stopping() from error

    def _take(self, size: int) -> None:
        with self._lock:
            if size > self._free_bytes:
                message = "The server is busy: it holds too many large requests. Try again."
                raise ServingError("UNAVAILABLE", message)
            self._free_bytes -= size


def stopping() -> ServingError:
    """Returns the error for requests that come or wait while the server stops."""
    return ServingError("UNAVAILABLE", "The server is stopping.")
