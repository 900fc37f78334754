"""Tests of batches: the same faces as alone, whatever an image's company, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from ssh_tf.config import DetectConfig
from ssh_tf.errors import UserError
from ssh_tf.inference import batches
from ssh_tf.inference.detector import Detector
from ssh_tf.inference.results import Detections
from tests.support.small import narrow_network, picture

SETTINGS = DetectConfig(shorter_px=96, longer_px=160)
# At 96 px: widths of 128, 137 and 160 px, so that the second and third share a canvas of 160 px;
# the last one is upright.
SIZES = ((72, 96), (70, 100), (60, 100), (71, 100), (60, 101), (100, 60))


@pytest.fixture(scope="module")
def batched() -> Detector:
    return Detector(narrow_network(), SETTINGS, batch=3)


def images() -> list[np.ndarray]:
    return [picture(*size, seed=i) for i, size in enumerate(SIZES)]


def assert_same(found: list[Detections], expected: list[Detections]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert len(one) == len(other) > 10
        np.testing.assert_allclose(one.boxes, other.boxes, rtol=0, atol=0.01)
        np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-5)


def calls(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Returns the list that the shapes of the batches are added to."""
    shapes = []
    forward = detector._batches._forward

    def recorded(images: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
        shapes.append(images.shape[:3])
        return forward(images, sizes)

    monkeypatch.setattr(detector._batches, "_forward", recorded)
    return shapes


def test_a_batch_finds_what_each_image_alone_finds(
    batched: Detector, monkeypatch: pytest.MonkeyPatch
):
    shapes = calls(batched, monkeypatch)
    alone = Detector(narrow_network(), SETTINGS)
    assert_same(batched(images()), [alone.detect(image) for image in images()])
    # Four images share a canvas, at most three a batch; the first and the last one are alone.
    assert shapes == [(3, 96, 160)]


def test_levels_of_a_pyramid_are_batched_one_by_one(monkeypatch: pytest.MonkeyPatch):
    pyramid = SETTINGS.model_copy(update={"pyramid_px": (64, 96), "pyramid_base_px": (80, 160)})
    batched = Detector(narrow_network(), pyramid, batch=2)
    shapes = calls(batched, monkeypatch)
    pair = [picture(60, 100, seed=1), picture(60, 98, seed=2)]
    alone = Detector(narrow_network(), pyramid)
    assert_same(batched(pair), [alone.detect(image) for image in pair])
    assert shapes == [(2, 64, 128), (2, 96, 160)]


def test_where_memory_holds_no_batch_images_run_alone(
    batched: Detector, monkeypatch: pytest.MonkeyPatch
):
    def exhausted(*_: np.ndarray) -> None:
        raise MemoryError("Unable to allocate")

    monkeypatch.setattr(batched._batches, "_forward", exhausted)
    alone = Detector(narrow_network(), SETTINGS)
    assert_same(batched(images()), [alone.detect(image) for image in images()])


def test_another_error_of_the_network_is_not_hidden(
    batched: Detector, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: np.ndarray) -> None:
        raise ValueError("no kernel")

    monkeypatch.setattr(batched._batches, "_forward", broken)
    with pytest.raises(ValueError, match="no kernel"):
        batched(images())


def test_groups_are_of_one_canvas_and_no_larger_than_a_batch(batched: Detector):
    scaled = [batched.prepare(image) for image in images()]
    assert list(batches._groups(scaled, 3)) == [[0], [1, 2, 3], [4], [5]]
    assert list(batches._groups(scaled, 8)) == [[0], [1, 2, 3, 4], [5]]


def test_only_tensorflow_takes_batches(tmp_path: Path):
    with pytest.raises(UserError, match=r"openvino runs one image at a time. Set `batch` to 1"):
        Detector(narrow_network(), SETTINGS, runtime="openvino", batch=2)
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(UserError, match="is a SavedModel: it has no `batch`"):
        Detector.load(tmp_path, batch=2)


def test_auto_takes_tensorflow_for_batches():
    assert Detector(narrow_network(), SETTINGS, runtime="auto", batch=2).window == 8
