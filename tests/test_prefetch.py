"""Tests of reading ahead: order, bounds, errors, and an early end."""

import itertools
import threading

import pytest

from ssh_tf.prefetch import prefetch


def test_results_come_in_the_order_of_the_items_whichever_is_ready_first():
    second_is_done = threading.Event()

    def function(item: int) -> int:
        if item == 0:
            assert second_is_done.wait(10)
        if item == 1:
            second_is_done.set()
        return item * item

    assert [(item, result()) for item, result in prefetch(function, range(9))] == [
        (item, item * item) for item in range(9)
    ]


def test_nothing_in_nothing_out():
    assert list(prefetch(abs, [])) == []


def test_an_error_belongs_to_its_item():
    results = dict(prefetch(lambda item: 1 // item, [1, 0, 1]))
    assert results[1]() == 1
    with pytest.raises(ZeroDivisionError):
        results[0]()


@pytest.mark.parametrize("ahead", [1, 3])
def test_items_are_taken_at_most_so_far_ahead(ahead: int):
    taken: list[int] = []
    items = (taken.append(i) or i for i in itertools.count())
    for item, result in prefetch(abs, items, ahead=ahead):
        assert result() == item
        assert len(taken) == item + 1 + ahead
        if item == 5:
            break


def test_the_next_item_is_worked_on_while_the_caller_has_the_first():
    called = threading.Event()

    def function(item: int) -> int:
        if item == 1:
            called.set()
        return item

    for item, _ in prefetch(function, [0, 1], ahead=1):
        if item == 0:
            assert called.wait(10)


def test_leaving_early_calls_nothing_more_and_ends_the_threads():
    calls: list[int] = []
    for _, result in prefetch(calls.append, itertools.count(), ahead=2, workers=1):
        result()
        break
    assert len(calls) <= 3
    assert not [one for one in threading.enumerate() if one.name.startswith("prefetch")]


def test_one_worker_reads_a_source_in_turn():
    source = iter(range(50))
    results = prefetch(lambda _: next(source, None), itertools.count(), ahead=5, workers=1)
    values = [result() for _, result in itertools.islice(results, 50)]
    assert values == list(range(50))


@pytest.mark.parametrize(("ahead", "workers"), [(0, 1), (1, 0)])
def test_bounds_below_one_are_refused(ahead: int, workers: int):
    with pytest.raises(ValueError, match=r"at least 1. Received"):
        prefetch(abs, [], ahead=ahead, workers=workers)
