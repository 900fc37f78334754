"""A detector that is many: one on each share of a cluster."""

import collections
import functools
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ssh_tf.distributed.crew import Crew, Load, Task
from ssh_tf.inference.ahead import Item, Result
from ssh_tf.inference.contract import Boxes, FaceDetector
from ssh_tf.inference.results import Detections

_AHEAD = 4  # items in work or waiting to be yielded, per worker


def load_model(path: str | Path, settings: dict[str, Any], *, threads: int) -> FaceDetector:
    """Loads a detector for a worker; see `Detector.load`.

    Args:
        path: Of the model.
        settings: As in `Detector.load`.
        threads: Of TensorFlow. A worker that took all cores would slow the others down.
    """
    import tensorflow as tf

    from ssh_tf.inference.detector import Detector

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    return Detector.load(path, **settings)


class RayDetectors(FaceDetector):
    """One detector per share of a cluster's machines. Ray must be connected.

    Workers that die are replaced, machines that join get workers, and an item whose worker died is
    done by another.

    Args:
        load: Returns the detector; called in each worker.
        cpus: CPUs of a worker, also below 1.
        gpus: GPUs of a worker, also below 1.

    Raises:
        UserError: If no machine has room for a worker, or the detector can't be loaded.
    """

    def __init__(self, load: Load, *, cpus: float = 1.0, gpus: float = 0.0) -> None:
        self._crew = Crew(load, cpus=cpus, gpus=gpus)

    def close(self) -> None:
        """Ends the workers."""
        self._crew.close()

    def fingerprint(self) -> str:
        """Returns that of all workers."""
        return self._crew.fingerprint

    def find(self, pixels: np.ndarray) -> Boxes:
        """Finds the faces of one image in one of the workers; see `FaceDetector.find`."""
        ((_, found),) = self.map(_find, [pixels])
        return found()

    def __repr__(self) -> str:
        return f"RayDetectors({len(self._crew)} workers)"

    def ahead(
        self,
        items: Iterable[Item],
        read: Callable[[Item], np.ndarray],
        finish: Callable[[Item, Detections], Result],
    ) -> Generator[tuple[Item, Callable[[], Result]], None, None]:
        """Detects many images; see `FaceDetector.ahead`. One that kills workers costs itself."""
        yield from self.map(functools.partial(_detect, read=read, finish=finish), items)

    def map(
        self, function: Callable[[FaceDetector, Item], Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Callable[[], Result]]]:
        """Calls a function with a detector and each of the items, on all machines.

        Args:
            function: Called with the detector of a worker and an item. It, the items and the
                results must be picklable.
            items: Taken as they are needed, so that memory does not grow with their number.

        Yields:
            `(item, result)` in the order of the items. `result()` raises `CrashedError` for an item
            at which several workers died.
        """
        import ray

        call, left = ray.put(function), iter(items)
        waiting: collections.deque[Task] = collections.deque()  # in the order of the items
        todo: collections.deque[Task] = collections.deque()  # of these, those at no worker
        while True:
            room = max(0, _AHEAD * len(self._crew) - len(waiting))
            new = [Task(item) for item in itertools.islice(left, room)]
            waiting.extend(new)
            todo.extend(new)
            if not waiting:
                return
            self._crew.submit(call, todo)
            todo.extendleft(self._crew.wait())
            while waiting and (result := waiting[0].result) is not None:
                yield waiting.popleft().item, result

    def call_apart(self, function: Callable[[FaceDetector, Item], Result], item: Item) -> Result:
        """Calls a function where a death costs nothing else: in a worker beside the others.

        Raises:
            CrashedError: If that worker dies.
        """
        result: Result = self._crew.call_apart(function, item)
        return result


def _detect(
    detector: FaceDetector,
    item: Item,
    *,
    read: Callable[[Item], np.ndarray],
    finish: Callable[[Item, Detections], Result],
) -> Result:
    return finish(item, detector.detect(read(item)))


def _find(detector: FaceDetector, pixels: np.ndarray) -> Boxes:
    return detector.find(pixels)
