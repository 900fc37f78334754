"""Tests of the served graph: hostile bytes cost only themselves, and say why."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ssh_tf import signature
from ssh_tf.config import ExportConfig
from ssh_tf.export.graph import decode_safely, from_bytes, from_pixels
from ssh_tf.imaging.decoder import decode
from ssh_tf.inference.graph import ScoredBoxes
from tests.support.small import encode, picture

OK, NO_IMAGE = signature.STATUS_OK, signature.STATUS_NOT_AN_IMAGE
TOO_LARGE, CORRUPT = signature.STATUS_TOO_LARGE, signature.STATUS_CORRUPT
CONFIG = ExportConfig(max_bytes=200_000, max_pixels=40_000)
ROWS = 3

JPEG, PNG = encode(picture()), encode(picture(), ".png")


def whole_image(image: tf.Tensor) -> ScoredBoxes:
    """A detector whose one face is the image, with a score of its mean brightness."""
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    score = tf.reduce_mean(tf.cast(image, tf.float32)) / 255
    return ScoredBoxes(tf.stack([0.0, 0.0, width, height])[tf.newaxis], score[tf.newaxis])


@pytest.fixture(scope="module")
def serve() -> Callable[[list[bytes]], dict[str, np.ndarray]]:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def graph(items: tf.Tensor) -> dict[str, tf.Tensor]:
        return from_bytes(whole_image, items, CONFIG, rows=ROWS)

    def call(images: list[bytes]) -> dict[str, np.ndarray]:
        outputs = graph(tf.constant(images, tf.string, shape=[len(images)]))
        return {key: value.numpy() for key, value in outputs.items()}

    return call


def chunk(kind: bytes, data: bytes) -> bytes:
    checked = kind + data
    return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))


def png(width: int, height: int, rows: bytes = b"", *, depth: int = 8, color: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg_of_size(width: int, height: int) -> bytes:
    """A JPEG whose frame header lies about its size."""
    at = JPEG.index(b"\xff\xc0") + 5
    return JPEG[:at] + struct.pack(">HH", height, width) + JPEG[at + 4 :]


HOSTILE: dict[str, tuple[bytes, int]] = {
    "empty": (b"", NO_IMAGE),
    "one byte": (b"\xff", NO_IMAGE),
    "text": (b"hello", NO_IMAGE),
    "zeros": (b"\0" * 1000, NO_IMAGE),
    "html": (b"<html><body>404</body></html>", NO_IMAGE),
    "json": (b'{"b64": "AAAA"}', NO_IMAGE),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1", NO_IMAGE),
    "gif": (b"GIF89a" + b"\1\0\1\0\0\0\0" + b"\0" * 20, NO_IMAGE),
    "bmp": (encode(picture(), ".bmp"), NO_IMAGE),
    "webp": (encode(picture(), ".webp"), NO_IMAGE),
    "tiff": (encode(picture(), ".tiff"), NO_IMAGE),
    "jpeg 2000": (encode(picture(), ".jp2"), NO_IMAGE),
    "ppm": (encode(picture(), ".ppm"), NO_IMAGE),
    "gzip": (b"\x1f\x8b\x08" + b"\0" * 50, NO_IMAGE),
    "zip": (b"PK\3\4" + b"\0" * 50, NO_IMAGE),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", NO_IMAGE),
    "svg bomb": (b"<!DOCTYPE lolz [<!ENTITY lol 'lol'>]>" * 100, NO_IMAGE),
    "pickle": (b"\x80\x04\x95", NO_IMAGE),
    "nul before jpeg": (b"\0" + JPEG, NO_IMAGE),
    "space before png": (b" " + PNG, NO_IMAGE),
    "png with a newline mended": (PNG.replace(b"\r\n", b"\n", 1), NO_IMAGE),
    "jpeg marker alone": (b"\xff\xd8\xff", CORRUPT),
    "jpeg start, then zeros": (b"\xff\xd8\xff\xe0" + b"\0" * 100, CORRUPT),
    "jpeg start and end": (b"\xff\xd8\xff\xd9", CORRUPT),
    "jpeg cut in its header": (JPEG[:100], CORRUPT),
    "jpeg cut in its data": (JPEG[: len(JPEG) // 2], CORRUPT),
    "jpeg without its end": (JPEG[:-300], CORRUPT),
    "jpeg without tables": (JPEG.replace(b"\xff\xdb", b"\xff\xfe"), CORRUPT),
    "jpeg of no width": (jpeg_of_size(0, 64), CORRUPT),
    "jpeg of no height": (jpeg_of_size(96, 0), CORRUPT),
    "jpeg higher than its data": (jpeg_of_size(96, 120), CORRUPT),
    "jpeg of hardly any data": (jpeg_of_size(180, 180), CORRUPT),
    "jpeg cut, with its end": (JPEG[: len(JPEG) // 2] + b"\xff\xd9", CORRUPT),
    "png of texts that grow": (
        PNG[:33] + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**23))) * 9 + PNG[33:],
        CORRUPT,
    ),
    "jpeg bomb": (jpeg_of_size(65_000, 65_000), TOO_LARGE),
    "jpeg wide bomb": (jpeg_of_size(65_000, 1), TOO_LARGE),
    "jpeg of 12 bits": (JPEG.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"), CORRUPT),
    "jpeg of 9 components": (
        JPEG[: JPEG.index(b"\xff\xc0") + 9] + b"\x09" + JPEG[JPEG.index(b"\xff\xc0") + 10 :],
        CORRUPT,
    ),
    "png signature alone": (PNG[:8], CORRUPT),
    "png cut in its header": (PNG[:20], CORRUPT),
    "png header alone": (PNG[:33], CORRUPT),
    "png cut in its data": (PNG[: len(PNG) // 2], CORRUPT),
    "png without its end": (PNG[:-30], CORRUPT),
    "png of no width": (png(0, 10), CORRUPT),
    "png of no height": (png(10, 0), CORRUPT),
    "png wider than the format allows": (png(2**32 - 1, 10), CORRUPT),
    "png larger than the format allows": (png(2**31, 2**31), TOO_LARGE),
    "png without pixels": (png(10, 10), CORRUPT),
    "png of too few rows": (png(10, 10, b"\0" * 31 * 4), CORRUPT),
    "png of an unknown filter": (png(10, 10, b"\x09" + b"\0" * 309), CORRUPT),
    "png of an unknown color": (png(10, 10, b"\0" * 310, color=5), CORRUPT),
    "png of an unknown depth": (png(10, 10, b"\0" * 310, depth=7), CORRUPT),
    "png palette without colors": (png(10, 10, b"\0" * 110, color=3), CORRUPT),
    "png bomb": (png(30_000, 30_000), TOO_LARGE),
    "png bomb of zeros": (png(20_000, 20_000, b"\0" * 1_000_000), TOO_LARGE),
    "png overflow": (png(2**31 - 1, 2**31 - 1), TOO_LARGE),
    "png higher than all limits": (png(1, 2**31 - 1), TOO_LARGE),
    "png with a false checksum": (PNG[:29] + b"\0\0\0\0" + PNG[33:], CORRUPT),
    "png with wrong data": (PNG.replace(PNG[60:70], b"\xaa" * 10), CORRUPT),
    "just too many pixels": (encode(np.zeros((201, 200, 3), np.uint8), ".png"), TOO_LARGE),
    "too many bytes": (JPEG + b"\0" * 200_000, TOO_LARGE),
    "too many bytes of nothing": (b"\0" * 200_001, NO_IMAGE),
}


def test_there_are_more_than_50_kinds():
    assert len(HOSTILE) > 50


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_bytes_cost_only_themselves(
    serve: Callable[[list[bytes]], dict[str, np.ndarray]], kind: str
):
    data, status = HOSTILE[kind]
    outputs = serve([JPEG, data, PNG])
    assert outputs["detection_status"].tolist() == [OK, status, OK]
    assert outputs["num_detections"].tolist() == [1, 0, 1]
    for key in ("detection_boxes", "detection_scores", "detection_classes"):
        assert not outputs[key][1].any()
        assert np.isfinite(outputs[key]).all()
    np.testing.assert_allclose(outputs["detection_boxes"][[0, 2], 0], [[0, 0, 1, 1]] * 2)


def test_all_at_once_and_none_at_all(serve: Callable[[list[bytes]], dict[str, np.ndarray]]):
    outputs = serve([data for data, _ in HOSTILE.values()])
    assert outputs["detection_status"].tolist() == [status for _, status in HOSTILE.values()]
    assert serve([])["detection_status"].shape == (0,)


@pytest.mark.parametrize("seed", range(5))
def test_random_damage_never_fails_the_request(
    serve: Callable[[list[bytes]], dict[str, np.ndarray]], seed: int
):
    rng = np.random.default_rng(seed)
    damaged = []
    for data in (JPEG, PNG) * 20:
        array = np.frombuffer(data, np.uint8).copy()
        places = rng.integers(0, len(array), rng.integers(1, 20))
        array[places] = rng.integers(0, 256, len(places))
        damaged.append(array[: rng.integers(1, len(array) + 1)].tobytes())
    outputs = serve([*damaged, JPEG])
    assert outputs["detection_status"][-1] == OK
    bad = outputs["detection_status"] != OK
    assert not outputs["num_detections"][bad].any()
    for value in outputs.values():
        assert np.isfinite(value).all()


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(encode(picture()[..., 0]), id="gray JPEG"),
        pytest.param(encode(picture(), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1), id="progressive"),
        pytest.param(encode(np.dstack([picture(), picture()[..., :1]]), ".png"), id="RGBA"),
        pytest.param(encode(picture()[..., 0].astype(np.uint16) * 257, ".png"), id="16 bit"),
        pytest.param(encode(picture(200, 200), ".png"), id="just the limit"),
        pytest.param(encode(picture(1, 1), ".png"), id="one pixel"),
        pytest.param(JPEG + b"trailing rubbish", id="rubbish behind"),
    ],
)
def test_unusual_images_are_served_as_they_are_decoded_elsewhere(
    serve: Callable[[list[bytes]], dict[str, np.ndarray]], image: bytes
):
    outputs = serve([image])
    assert outputs["detection_status"].tolist() == [OK]
    brightness = np.asarray(decode(image)).mean() / 255
    assert outputs["detection_scores"][0, 0] == pytest.approx(brightness, abs=1e-5)


def test_channels_and_depth_are_handled_as_documented():
    gray, color = picture()[..., 0], picture()
    cases = {
        "gray": (encode(gray, ".png"), np.repeat(gray[..., np.newaxis], 3, axis=-1)),
        "alpha": (encode(np.dstack([color, gray]), ".png"), color),
        "16 bit": (encode(color.astype(np.uint16) * 256 + 255, ".png"), color),
        # To four inks and back, with JPEG between: near is all there can be.
        "CMYK": (pillow(color, "JPEG", mode="CMYK", quality=100), color),
    }
    for name, (encoded, pixels) in cases.items():
        found, status = decode_safely(tf.constant(encoded), CONFIG)
        assert (int(status), found.shape) == (OK, pixels.shape), name
        difference = np.abs(found.numpy().astype(int) - pixels)
        assert difference.max() <= (8 if name == "CMYK" else 0), name


def test_the_size_is_that_of_the_image_that_boxes_refer_to(
    serve: Callable[[list[bytes]], dict[str, np.ndarray]],
):
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: to be turned by 90 degrees.
    turned = pillow(picture(20, 30), "PNG", exif=exif)
    assert serve([PNG, turned, b"no", JPEG[:100]])["image_size"].tolist() == [
        [64, 96],
        [30, 20],
        [0, 0],
        [0, 0],
    ]
    stored = CONFIG.model_copy(update={"upright": False})
    outputs = from_bytes(whole_image, tf.constant([turned]), stored, rows=ROWS)
    assert outputs["image_size"].numpy().tolist() == [[20, 30]]


def pillow(pixels: np.ndarray, form: str, *, mode: str = "RGB", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, form, **options)
    return stream.getvalue()


def test_boxes_that_are_not_finite_never_leave():
    nan, inf = np.nan, np.inf
    boxes = tf.constant([[1.0, nan, 2, 3], [0, 0, 4, 2], [0, 0, inf, 2]])

    def detect(image: tf.Tensor) -> ScoredBoxes:
        return ScoredBoxes(boxes, tf.constant([0.9, 0.8, 0.7]))

    outputs = from_pixels(detect, tf.zeros([1, 2, 4, 3], tf.uint8), CONFIG, rows=ROWS)
    assert outputs["num_detections"].numpy().tolist() == [1]
    np.testing.assert_array_equal(outputs["detection_boxes"][0], [[0, 0, 1, 1], [0] * 4, [0] * 4])
    np.testing.assert_allclose(outputs["detection_scores"][0], [0.8, 0, 0])


@pytest.mark.parametrize(
    ("shape", "status"),
    [
        ((2, 200, 200, 3), OK),
        ((2, 201, 200, 3), TOO_LARGE),
        ((2, 0, 8, 3), NO_IMAGE),
        ((0, 8, 8, 3), OK),
    ],
)
def test_pixels_have_a_status_too(shape: tuple[int, ...], status: int):
    outputs = from_pixels(whole_image, tf.zeros(shape, tf.uint8), CONFIG, rows=ROWS)
    assert outputs["detection_status"].numpy().tolist() == [status] * shape[0]
    assert outputs["num_detections"].numpy().tolist() == [int(status == OK)] * shape[0]
