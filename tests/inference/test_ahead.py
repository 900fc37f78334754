"""Tests of detecting without waiting: what runs at the same time, order, bounds, errors, ends.

The network of these tests waits for events, never for time.
"""

import itertools
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from ssh_tf.errors import UserError
from ssh_tf.inference.ahead import detect_ahead
from ssh_tf.inference.contract import Boxes, FaceDetector
from ssh_tf.inference.results import Detections


class Stub(FaceDetector):
    """Finds a face whose left border is the image's value.

    Args:
        before: Called with that value, inside of the network.
    """

    def __init__(self, before: Callable[[int], Any] = lambda value: None) -> None:
        self.before = before
        self.seen: list[int] = []

    def find(self, pixels: np.ndarray) -> Boxes:
        value = int(pixels[0, 0, 0])
        self.seen.append(value)
        self.before(value)
        return np.array([[value, 0, 255, 8]], np.float32), np.ones(1, np.float32)

    def fingerprint(self) -> str:
        return "stub"

    def __repr__(self) -> str:
        return "Stub()"


def image(value: int) -> np.ndarray:
    return np.full((8, 8, 3), value, np.uint8)


def left(_: int, found: Detections) -> float:
    return float(found.boxes[0, 0])


def detect(detector: FaceDetector, items: Iterable[int], **options: Any) -> list[float]:
    stages = {"read": image, "finish": left, **options}
    return [result() for _, result in detect_ahead(detector, items, **stages)]


def test_results_come_in_order_whichever_is_read_first():
    third_is_read = threading.Event()

    def read(value: int) -> np.ndarray:
        if value == 0:
            assert third_is_read.wait(60)
        if value == 2:
            third_is_read.set()
        return image(value)

    assert detect(Stub(), range(9), read=read) == list(range(9))


def test_the_next_image_is_read_while_the_network_computes():
    second_is_read = threading.Event()

    def read(value: int) -> np.ndarray:
        if value == 1:
            second_is_read.set()
        return image(value)

    def before(value: int) -> None:
        if value == 0:
            assert second_is_read.wait(60)

    assert detect(Stub(before), range(3), read=read) == [0, 1, 2]


def test_the_next_image_is_scaled_while_the_network_computes():
    second_is_scaled = threading.Event()

    class Scaling(Stub):
        def prepare(self, pixels: np.ndarray) -> np.ndarray:
            if pixels[0, 0, 0] == 1:
                second_is_scaled.set()
            return pixels

    def before(value: int) -> None:
        assert second_is_scaled.wait(60)

    assert detect(Scaling(before), range(3)) == [0, 1, 2]


def test_the_network_computes_while_the_last_result_is_finished():
    second_is_seen = threading.Event()

    def before(value: int) -> None:
        if value == 1:
            second_is_seen.set()

    def finish(value: int, found: Detections) -> float:
        assert value or second_is_seen.wait(60)
        return left(value, found)

    assert detect(Stub(before), range(3), finish=finish) == [0, 1, 2]


def test_one_thread_runs_the_network():
    threads = set()
    detect(Stub(lambda value: threads.add(threading.get_ident())), range(20))
    assert len(threads) == 1


def test_one_finisher_takes_items_in_order():
    order: list[int] = []
    detect(Stub(), range(20), finish=lambda value, found: order.append(value))
    assert order == list(range(20))


@pytest.mark.parametrize("stage", ["read", "network", "finish"])
def test_an_error_belongs_to_its_item_alone(stage: str):
    def fail(at: str, value: int) -> None:
        if (at, value) == (stage, 2):
            raise UserError("the third one")

    def read(value: int) -> np.ndarray:
        fail("read", value)
        return image(value)

    def finish(value: int, found: Detections) -> float:
        fail("finish", value)
        return left(value, found)

    detector = Stub(lambda value: fail("network", value))
    results = dict(detect_ahead(detector, range(5), read, finish))
    assert [results[i]() for i in (0, 1, 3, 4)] == [0, 1, 3, 4]
    with pytest.raises(UserError, match="the third one"):
        results[2]()


def test_items_are_taken_so_far_ahead_and_no_further():
    taken: list[int] = []
    items = (taken.append(i) or i for i in itertools.count())
    most = 0
    for item, result in detect_ahead(Stub(), items, image, left):
        assert result() == item
        most = max(most, len(taken) - item)
        if item == 50:
            break
    assert 3 < most <= 8 + 1 + 1 + 2 + 3  # readers, what each stage has waiting, and in work


def is_alive() -> bool:
    return any(thread.name.startswith("prefetch") for thread in threading.enumerate())


def test_leaving_early_ends_the_threads_and_begins_nothing_more():
    detector = Stub()
    stream = detect_ahead(detector, itertools.count(), lambda value: image(value % 256), left)
    next(stream)
    stream.close()
    seen = len(detector.seen)
    assert not is_alive()
    assert seen == len(detector.seen) < 10


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as in a terminal: a process that a shell began in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_the_work():
    """The signal comes while the main thread waits for the network."""

    def before(value: int) -> None:
        if value == 2:
            signal.raise_signal(signal.SIGINT)

    detector = Stub(before)
    with pytest.raises(KeyboardInterrupt):
        detect(detector, range(200))
    assert not is_alive()
    assert len(detector.seen) < 20


def test_nothing_in_nothing_out():
    assert detect(Stub(), []) == []
