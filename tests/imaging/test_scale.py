"""Tests of the official scale and the official resize."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ssh_tf.imaging.scale import pyramid_scales, resize, scaled_size, single_scale
from tests.support.small import picture


def scale_of(height: int, width: int, shorter: int, longer: int) -> float:
    size = tf.constant([height, width])
    return float(single_scale(size, shorter_px=shorter, longer_px=longer))


@pytest.mark.parametrize(
    ("height", "width", "scale", "scaled"),
    [
        (768, 1024, 1.5625, (1200, 1600)),
        (683, 1024, 1.5625, (1067, 1600)),
        (576, 1024, 1.5625, (900, 1600)),
        (1024, 1024, 1.171875, (1200, 1200)),
        (1536, 1024, 1.0416666666666667, (1600, 1067)),
        (1024, 768, 1.5625, (1600, 1200)),
        (1, 1, 1200.0, (1200, 1200)),
        (5000, 1, 0.32, (1600, 1)),
    ],
)
def test_single_scale_gives_the_official_sizes(
    height: int, width: int, scale: float, scaled: tuple[int, int]
):
    assert scale_of(height, width, 1200, 1600) == scale
    assert tuple(scaled_size(tf.constant([height, width]), scale).numpy()) == scaled


def test_the_longer_side_may_exceed_its_limit_by_what_rounding_takes_away():
    # 1200 / 900 * 1200.3 px does not exist, so: 10 / 3 * 4 = 13.33, which rounds to the limit 13.
    assert scale_of(3, 4, 10, 13) == 10 / 3
    # 10 / 3 * 4 = 13.33 rounds to more than 12, so the limit decides.
    assert scale_of(3, 4, 10, 12) == 12 / 4


def test_sizes_round_half_to_even_as_opencv_does():
    for side, rounded in [(1, 0), (3, 2), (5, 2), (7, 4)]:
        expected = max(rounded, 1)
        assert scaled_size(tf.constant([side, side]), 0.5).numpy().tolist() == [expected, expected]
        if rounded:
            image = np.zeros((side, side, 3), np.uint8)
            assert cv2.resize(image, None, fx=0.5, fy=0.5).shape[0] == rounded


@pytest.mark.parametrize("scale", [0.371, 0.5, 0.93, 1.0417, 1.5625, 2.3, 3.7])
@pytest.mark.parametrize("size", [(48, 64), (37, 53), (9, 71)])
def test_resize_is_opencv_s_by_factor(
    scale: float, size: tuple[int, int], rng: np.random.Generator
):
    noise = rng.integers(0, 256, (*size, 3)).astype(np.float32)
    expected = cv2.resize(noise, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    resized = resize(noise, tf.constant(scale, tf.float64)).numpy()
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, expected, atol=1e-2)


@pytest.mark.parametrize("case", [0, 1, 2], ids=["up", "down", "same"])
def test_resize_is_the_official_code_s(test_data: Path, case: int):
    golden = np.load(test_data / "golden" / "preprocess_dev.npz")
    bgr = resize(golden[f"image_{case}"], golden[f"scale_{case}"]).numpy()
    expected = golden[f"blob_{case}"] + golden["pixel_means_bgr"]
    np.testing.assert_allclose(bgr, expected, atol=1e-2)


@pytest.mark.parametrize("limits", [(1200, 1600), (400, 800)], ids=["wider", "fddb"])
def test_scales_and_sizes_are_the_official_code_s(test_data: Path, limits: tuple[int, int]):
    golden = json.loads((test_data / "golden" / "sizes_dev.json").read_text())
    for entry in golden["images"]:
        official = entry["single_{}_{}".format(*limits)]
        scale = scale_of(*entry["image_hw"], *limits)
        assert scale == pytest.approx(official["scale"], rel=1e-15)
        assert scaled_size(entry["image_hw"], scale).numpy().tolist() == official["net_hw"]


def test_the_pyramid_is_the_official_code_s(test_data: Path):
    golden = json.loads((test_data / "golden" / "sizes_dev.json").read_text())
    for entry in golden["images"]:
        scales = pyramid_scales(
            entry["image_hw"], levels_px=(500, 800, 1200, 1600), base_px=(800, 1200)
        )
        for scale, official in zip(scales, entry["pyramid"]["levels"], strict=True):
            assert float(scale) == pytest.approx(official["scale"], rel=1e-14)
            assert scaled_size(entry["image_hw"], scale).numpy().tolist() == official["net_hw"]


def test_scale_1_changes_nothing():
    resized = resize(picture(), tf.constant(1.0, tf.float64))
    np.testing.assert_array_equal(resized, picture())


def test_one_pixel_becomes_an_even_color():
    resized = resize(np.array([[[7, 80, 255]]], np.uint8), tf.constant(5.0, tf.float64))
    assert resized.shape == (5, 5, 3)
    np.testing.assert_allclose(resized, np.broadcast_to([7.0, 80.0, 255.0], (5, 5, 3)), atol=1e-4)
