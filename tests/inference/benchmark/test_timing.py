"""Tests of the stop watch: what is timed, on which photos, per what; no times are compared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssh_tf.imaging.files import read_image
from ssh_tf.inference.benchmark import timing
from ssh_tf.inference.benchmark.cases import Size, Spec
from ssh_tf.inference.benchmark.timing import Timing, time_cases
from tests.support.small import encode, picture


class Stub:
    """Takes as many seconds of a counted clock as a stage is told to.

    Args:
        clock: What the stages advance.
        seconds: Of each stage.
        spec: Its names.
    """

    def __init__(self, clock: list[float], seconds: dict[str, float], spec: Spec) -> None:
        self.clock, self.seconds, self.spec = clock, seconds, spec
        self.sizes: list[Size] = []
        self.detected: list[Path] = []

    def resize_to(self, size: Size) -> None:
        self.sizes.append(size)

    def flops(self, size: Size) -> float | None:
        return 6e9 if "network" in self.seconds else None

    def _takes(self, stage: str) -> Callable[[], Any]:
        def take() -> None:
            self.clock[0] += self.seconds[stage]

        return take

    def stages(self, path: Path) -> dict[str, Callable[[], Any]]:
        return {name: self._takes(name) for name in self.seconds if name not in _OWN}

    def network(self, path: Path) -> Callable[[], Any] | None:
        return self._takes("network") if "network" in self.seconds else None

    def detect(self, path: Path) -> int:
        self.detected.append(path)
        assert read_image(path).ndim == 3
        self._takes("end_to_end")()
        return 7


_OWN = ("network", "end_to_end")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still unless a stage advances it."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


def test_every_case_has_its_own_times_per_image(clock: list[float]):
    seconds = {"decode": 1.0, "resize": 0.5, "boxes": 0.25, "network": 8.0, "end_to_end": 12.0}
    ours = Stub(clock, seconds, Spec("vgg16", "tensorflow", "bfloat16", 4))
    peer = Stub(clock, {"end_to_end": 3.0}, Spec("yunet", "opencv", "int8", 1))
    first, second = time_cases([ours, peer], (48, 64), runs=2)
    assert (ours.sizes, peer.sizes) == ([(48, 64)], [(48, 64)])
    assert first == Timing(
        *("vgg16", "tensorflow", "bfloat16", 4, 48, 64, 3.0, 7),
        network=2.0,
        decode=1.0,
        resize=0.5,
        boxes=0.25,
        flops=6e9,
    )
    assert (first.ratio, first.flops_per_second) == (1.5, 3e9)
    assert first.images_per_second == pytest.approx(1 / 3)
    assert second == Timing("yunet", "opencv", "int8", 1, 48, 64, 3.0, 7)
    assert (second.ratio, second.flops_per_second) == (None, None)


def test_each_turn_takes_the_next_photo(clock: list[float], tmp_path: Path):
    photos = [tmp_path / f"{i}.png" for i in range(4)]
    for i, photo in enumerate(photos):
        photo.write_bytes(encode(picture(60, 100, seed=i), ".png"))
    stub = Stub(clock, {"end_to_end": 1.0}, Spec("m"))
    time_cases([stub], (48, 64), runs=3, photos=photos)
    names = [path.name for path in stub.detected]
    # Warmed up with each, timed with each, and counted; the fourth is one too many for three turns.
    assert names == ["0.jpg", "1.jpg", "2.jpg"] * 2 + ["2.jpg"]


def test_the_rate_of_matrix_products_is_that_of_the_fastest(monkeypatch: pytest.MonkeyPatch):
    seconds = iter([4.0, 2.0, 8.0])
    monkeypatch.setattr(timing, "_seconds", lambda call: next(seconds))
    # 2048^2 sums of 2048 products each: two operations per term.
    assert timing.matrix_flops_per_second(repeats=2) == 2 * 2048**3 / 2.0
