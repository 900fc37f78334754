"""The workers: Ray's actors, each with a detector. They are started, given tasks, and replaced."""

import collections
import functools
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from ssh_tf.distributed.cluster import capacity, enter
from ssh_tf.environment import pin_program
from ssh_tf.errors import CrashedError, UserError
from ssh_tf.inference.contract import FaceDetector

_LOG = logging.getLogger(__name__)

Load = Callable[[], FaceDetector]

_QUEUE = 2  # tasks at one worker: the next is there when one is done
_MOST_DEATHS = 3  # of workers at one task
_MOST_FAILED_STARTS = 5  # of workers, one after the other
_LOOK_SECONDS = 5.0  # between two looks at what the cluster has
_WAIT_SECONDS = 1.0


class Worker:
    """A process with a detector.

    Args:
        load: Returns the detector.
        folder: The driver's working folder.
    """

    def __init__(self, load: Load, folder: str) -> None:
        self._load, self._folder = load, folder

    @functools.cached_property
    def _detector(self) -> FaceDetector:
        pin_program()
        enter(self._folder)
        return self._load()

    def fingerprint(self) -> str:
        """Loads the detector; see `FaceDetector.fingerprint`."""
        return self._detector.fingerprint()

    def run(self, function: Callable[[FaceDetector, Any], Any], item: Any) -> Any:
        """Calls a function with the detector and an item."""
        return function(self._detector, item)


class Task:
    """An item and what has become of it.

    Attributes:
        item: What a function is called with.
        deaths: Workers that died at it.
        result: Returns what the function returned or raises what it raised; None until then.
    """

    def __init__(self, item: Any) -> None:
        self.item, self.deaths = item, 0
        self.result: Callable[[], Any] | None = None

    @property
    def weight(self) -> int:
        """The places it takes: after a death a task gets no company, so the next is its own."""
        return _QUEUE if self.deaths else 1


class Crew:
    """Workers on all machines of a cluster, as many as it has room for at any time.

    Ray's own restarts are not used: an actor of a machine that is gone for good would keep its
    tasks waiting for ever (docs/decisions/0031).

    Args:
        load: Returns the detector; called in each worker.
        cpus: CPUs of a worker, also below 1.
        gpus: GPUs of a worker, also below 1.

    Attributes:
        fingerprint: Of the detector, which all workers must have.

    Raises:
        UserError: If no machine has room for a worker, or the detector can't be loaded.
    """

    def __init__(self, load: Load, *, cpus: float, gpus: float) -> None:
        import ray

        self._ray, self._shares = ray, (cpus, gpus)
        self._refuse_no_room()
        actor = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0)(Worker)
        self._start = functools.partial(actor.remote, load, os.getcwd())
        # Beside the others: it must not wait for their shares.
        apart = actor.options(num_cpus=0, num_gpus=0)
        self._start_apart = functools.partial(apart.remote, load, os.getcwd())
        self._apart: Any = None
        self._starting: dict[Any, Any] = {}  # what a worker's first call returns: the worker
        self._ready: dict[Any, int] = {}  # a worker: its places that are taken
        self._running: dict[Any, tuple[Any, Task]] = {}  # what a call returns: worker and task
        self._failed_starts, self._look_at = 0, 0.0
        self.fingerprint = ""
        while not self._ready:
            self.wait()

    def __len__(self) -> int:
        """Returns the number of workers, those that are starting included."""
        return len(self._ready) + len(self._starting)

    def close(self) -> None:
        """Ends the workers."""
        for worker in (*self._ready, *self._starting.values(), self._apart):
            if worker is not None:
                self._ray.kill(worker)

    def submit(self, call: Any, todo: collections.deque[Task]) -> None:
        """Gives tasks to workers that have a place.

        Args:
            call: The function in Ray's store, `ray.put(function)`.
            todo: The tasks; those that are given are removed.
        """
        for worker in sorted(self._ready, key=self._ready.__getitem__):
            while todo and self._ready[worker] + todo[0].weight <= _QUEUE:
                task = todo.popleft()
                self._running[worker.run.remote(call, task.item)] = worker, task
                self._ready[worker] += task.weight

    def wait(self) -> list[Task]:
        """Waits for a second, or until something happens.

        Returns:
            Tasks whose worker died, to be given to another. A task at which too many have died is
            not among them: its result raises `CrashedError`.

        Raises:
            UserError: If a worker can't load the detector, or has another.
        """
        self._grow()
        pending = [*self._running, *self._starting]
        done, _ = self._ray.wait(pending, num_returns=1, timeout=_WAIT_SECONDS)
        lost = [self._finish(reference) for reference in done if reference in self._running]
        for reference in done:
            if reference in self._starting:
                self._greet(reference)
        return [task for task in lost if task is not None]

    def call_apart(self, function: Callable[[FaceDetector, Any], Any], item: Any) -> Any:
        """Calls a function where a death costs nothing else: in a worker beside the others.

        Raises:
            CrashedError: If that worker dies.
        """
        self._apart = self._apart or self._start_apart()
        try:
            return self._value(self._apart.run.remote(function, item))
        except self._ray.exceptions.RayActorError as error:
            self._apart = None
            raise CrashedError("the process that worked on it died.") from error

    def _refuse_no_room(self) -> None:
        if not capacity(*self._shares):
            has = self._ray.cluster_resources()
            raise UserError(
                f"No machine of the cluster has room for a detector of {self._shares[0]:g} CPUs "
                f"and {self._shares[1]:g} GPUs; all together have {has.get('CPU', 0):g} and "
                f"{has.get('GPU', 0):g}. Ask for less."
            )

    def _grow(self) -> None:
        """Starts workers where the cluster has room."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_SECONDS
        for _ in range(max(1, capacity(*self._shares)) - len(self)):
            worker = self._start()
            self._starting[worker.fingerprint.remote()] = worker

    def _greet(self, reference: Any) -> None:
        """Takes in a worker that has started, or counts that it has not."""
        worker = self._starting.pop(reference)
        try:
            fingerprint = self._value(reference)
        except self._ray.exceptions.RayActorError as error:
            self._failed_starts, self._look_at = self._failed_starts + 1, 0.0
            if self._failed_starts >= _MOST_FAILED_STARTS:
                raise UserError(
                    f"{self._failed_starts} detectors died when they started. Is there memory for "
                    "one on each share of a machine? Ask for more CPUs for each."
                ) from error
            return
        self._failed_starts = 0
        self.fingerprint = self.fingerprint or fingerprint
        if fingerprint != self.fingerprint:
            raise UserError(
                "The machines of the cluster have different models under the same name. Name one "
                "that is the same on all."
            )
        self._ready[worker] = 0

    def _finish(self, reference: Any) -> Task | None:
        """Takes what a call gave; returns its task if that is to be done again."""
        worker, task = self._running.pop(reference)
        try:
            value = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            task.result = functools.partial(_raise, error.cause)
        except self._ray.exceptions.RayActorError:
            return self._mourn(worker, task)
        else:
            task.result = functools.partial(_same, value)
        if worker in self._ready:
            self._ready[worker] -= task.weight
        return None

    def _mourn(self, worker: Any, task: Task) -> Task | None:
        """Replaces a worker that died; returns its task, unless too many have died at it."""
        if self._ready.pop(worker, None) is not None:
            _LOG.warning("A worker died. What it worked on is done again.")
            self._ray.kill(worker)  # If it only can't be reached: nobody else will use it.
            self._look_at = 0.0
        task.deaths += 1
        if task.deaths < _MOST_DEATHS:
            return task
        error = CrashedError(f"the process that worked on it died, {_MOST_DEATHS} times.")
        task.result = functools.partial(_raise, error)
        return None

    def _value(self, reference: Any) -> Any:
        """Returns what a call gave, or raises what it raised, without Ray's frame around it."""
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None


def _same(value: Any) -> Any:
    return value


def _raise(error: BaseException) -> Any:
    raise error
