"""Tests of what detectors take as an image."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ssh_tf.errors import UserError
from ssh_tf.inference.inputs import pixels_of
from tests.support.small import encode, exif_block, picture, with_exif

PNG = encode(picture(), ".png")
TURNED = with_exif(PNG, exif_block(6))
UPRIGHT = np.rot90(picture(), k=-1)


def test_every_source_gives_the_same_upright_pixels(tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(TURNED)
    sources = [
        path,
        str(path),
        TURNED,
        bytearray(TURNED),
        memoryview(TURNED),
        io.BytesIO(TURNED),
        path.open("rb"),
        Image.open(path),
        UPRIGHT,
        tf.constant(UPRIGHT),
    ]
    for source in sources:
        np.testing.assert_array_equal(pixels_of(source), UPRIGHT)
    sources[6].close()
    sources[7].close()


def test_gray_is_repeated_and_alpha_is_dropped():
    image = picture()
    gray = image[..., 0]
    for array in (gray, gray[..., np.newaxis]):
        np.testing.assert_array_equal(pixels_of(array), gray[..., np.newaxis].repeat(3, axis=-1))
    rgba = np.concatenate([image, gray[..., np.newaxis]], axis=-1)
    np.testing.assert_array_equal(pixels_of(rgba), image)


@pytest.mark.parametrize(
    ("image", "received"),
    [
        (
            np.zeros((8, 8, 3), np.float32),
            r"float32 \(8, 8, 3\)\. Values in \[0, 1\] become",
        ),
        (np.zeros((8, 8, 3), bool), r"bool \(8, 8, 3\)"),
        (np.zeros((8, 8, 3), np.uint16), r"uint16 \(8, 8, 3\)"),
        (np.zeros((8, 8, 2), np.uint8), r"uint8 \(8, 8, 2\)"),
        (np.zeros((3, 8, 8), np.uint8), r"uint8 \(3, 8, 8\)"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"uint8 \(1, 8, 8, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), r"uint8 \(0, 8, 3\)"),
        (np.uint8(3), r"uint8 \(\)"),
    ],
)
def test_an_array_that_is_no_image_is_a_value_error(image: np.ndarray, received: str):
    with pytest.raises(ValueError, match=f"An image must .* Received: {received}"):
        pixels_of(image)


@pytest.mark.parametrize("image", [None, 3, [picture()], {"path": "a.jpg"}, object()])
def test_another_type_is_a_type_error_that_names_what_is_taken(image: Any):
    with pytest.raises(TypeError, match=r"An image is a path, a URL, .* Received: "):
        pixels_of(image)


def test_a_damaged_pillow_image_is_the_user_s_error():
    damaged = Image.open(io.BytesIO(encode(picture(), ".bmp")[:-300]))
    with pytest.raises(UserError, match=r"^The image is not a whole image \("):
        pixels_of(damaged)
