"""Tests of decoding, the official scale and the official resize."""

import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ssh_tf.imaging.files import decode
from ssh_tf.imaging.scale import pyramid_scales, resize, scaled_size, single_scale
from tests.small import encode, picture

GREY = picture()[..., 0]


def pixels(encoded: bytes) -> np.ndarray:
    return decode(encoded).numpy()


def scale_of(height: int, width: int, shorter: int, longer: int) -> float:
    size = tf.constant([height, width])
    return float(single_scale(size, shorter_px=shorter, longer_px=longer))


def test_png_pixels_come_back_exactly_as_rgb():
    np.testing.assert_array_equal(pixels(encode(picture(), ".png")), picture())


@pytest.mark.parametrize("progressive", [0, 1], ids=["baseline", "progressive"])
def test_jpeg_pixels_are_opencv_s(progressive: int):
    encoded = encode(picture(), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    difference = pixels(encoded).astype(int) - bgr[..., ::-1]
    # Both use libjpeg's accurate transform; chroma upsampling may round differently.
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_grey_is_repeated_in_three_channels(suffix: str):
    decoded = pixels(encode(GREY, suffix))
    assert decoded.shape == (64, 96, 3)
    assert np.array_equal(decoded, decoded[..., :1].repeat(3, axis=-1))
    assert np.abs(decoded[..., 0].astype(int) - GREY).max() <= (0 if suffix == ".png" else 8)


def test_alpha_is_dropped():
    rgba = np.concatenate([picture(), GREY[..., np.newaxis]], axis=-1)
    np.testing.assert_array_equal(pixels(encode(rgba, ".png")), picture())


def test_16_bit_png_keeps_the_high_byte():
    deep = picture().astype(np.uint16) * 256 + 255
    np.testing.assert_array_equal(pixels(encode(deep, ".png")), picture())


def test_palette_png_gives_the_palette_s_colours():
    palette = np.array([[255, 0, 0], [0, 128, 255]], np.uint8)
    indices = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    np.testing.assert_array_equal(pixels(palette_png(indices, palette)), palette[indices])


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def palette_png(indices: np.ndarray, palette: np.ndarray) -> bytes:
    """OpenCV writes no palettes: the four chunks by hand (PNG specification, section 11)."""
    height, width = indices.shape
    rows = b"".join(b"\0" + row.tobytes() for row in indices)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + chunk(b"PLTE", palette.tobytes())
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_exif_rotation_is_not_applied():
    # An APP1 segment that says orientation 6 (a quarter turn), right after the JPEG's start.
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    encoded = encode(picture())
    turned = encoded[:2] + segment + encoded[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (96, 64, 3)
    np.testing.assert_array_equal(pixels(turned), pixels(encoded))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("missing", [2, 500])
def test_a_truncated_file_is_an_error(suffix: str, missing: int):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(encode(picture(), suffix)[:-missing])


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"hello", id="text"),
        pytest.param(b"\x89PNG", id="half a signature"),
        pytest.param(encode(picture(), ".bmp"), id="bmp"),
        # TensorFlow's PNG reader would take these, WebP with a fourth axis.
        pytest.param(encode(picture(), ".webp"), id="webp"),
        pytest.param(encode(picture(), ".gif"), id="gif"),
    ],
)
def test_what_is_neither_jpeg_nor_png_is_an_error(content: bytes):
    with pytest.raises(tf.errors.InvalidArgumentError, match="neither JPEG nor PNG"):
        decode(content)


def test_decoding_in_a_graph_is_the_same_and_fails_the_same():
    (good,) = tf.data.Dataset.from_tensors(encode(picture(), ".png")).map(decode)
    np.testing.assert_array_equal(good, picture())
    with pytest.raises(tf.errors.InvalidArgumentError, match="neither JPEG nor PNG"):
        next(iter(tf.data.Dataset.from_tensors(encode(picture(), ".webp")).map(decode)))


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


def test_one_pixel_becomes_an_even_colour():
    resized = resize(np.array([[[7, 80, 255]]], np.uint8), tf.constant(5.0, tf.float64))
    assert resized.shape == (5, 5, 3)
    np.testing.assert_allclose(resized, np.broadcast_to([7.0, 80.0, 255.0], (5, 5, 3)), atol=1e-4)
