"""Tests of the stop watch: what is counted, and that every stage is there; no times."""

import pytest

from ssh_tf.config import DetectConfig
from ssh_tf.inference import timing
from ssh_tf.inference.timing import Timing, count_flops, peak_memory_mib, time_detection
from tests.support.small import narrow_network, small_network


@pytest.mark.parametrize(
    ("size", "multiply_adds"), [((400, 600), 78.3e9), ((640, 640), 133.3e9), ((1200, 1600), 625e9)]
)
def test_operations_are_those_of_the_official_network(size: tuple[int, int], multiply_adds: float):
    # Counted from the official network's layers; the rest is activations and upsampling.
    assert count_flops(small_network(), size) == pytest.approx(2 * multiply_adds, rel=2e-3)


def test_all_stages_are_timed_on_an_image_of_the_wanted_scale():
    variants = (("tensorflow", "float32"), ("tensorflow", "bfloat16"))
    results = time_detection(narrow_network(), DetectConfig(), (100, 200), 1, variants)
    assert [(result.runtime, result.precision) for result in results] == list(variants)
    for result in results:
        assert (result.height, result.width) == (100, 200)
        assert list(result.stages) == ["decode", "resize", "boxes"]
        assert min(result.network, result.end_to_end, *result.stages.values()) > 0
        assert result.faces > 0


def test_the_ratio_is_end_to_end_over_the_network():
    result = Timing("a", "b", 1, 1, network=2.0, end_to_end=3.0, stages={}, flops=0.0, faces=0)
    assert result.ratio == 1.5


def test_the_rate_of_matrix_products_is_that_of_the_fastest(monkeypatch: pytest.MonkeyPatch):
    seconds = iter([4.0, 2.0, 8.0])
    monkeypatch.setattr(timing, "_seconds", lambda call: next(seconds))
    # 2048^2 sums of 2048 products each: two operations per term.
    assert timing.matrix_flops_per_second(repeats=2) == 2 * 2048**3 / 2.0


def test_memory_is_in_mebibytes():
    assert 100 < peak_memory_mib() < 100_000
