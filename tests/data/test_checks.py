"""Tests of what an image has to be, and of boxes on images that EXIF turns."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from ssh_tf.data.annotations import AnnotatedImage, annotated
from ssh_tf.data.checks import Checks, check_image, checked_size
from ssh_tf.data.image_files import FolderImages
from ssh_tf.data.records import decode_upright, parse_example
from ssh_tf.data.sources import BoxesOn, Source
from ssh_tf.errors import UserError
from tests.support.small import encode, picture

HEIGHT, WIDTH = 40, 70  # of the stored pixels
FACE = [10.0, 5.0, 12.0, 20.0]  # x, y, w, h on the stored pixels
QUARTERS = (5, 6, 7, 8)


def source(
    folder: Path, orientation: int, boxes_on: BoxesOn | None, entry: AnnotatedImage
) -> Source:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture(HEIGHT, WIDTH)).save(folder / "a.jpg", exif=exif, quality=95)
    return Source("set", "train", folder, "0", [entry], FolderImages(folder), boxes_on)


def upright_face(orientation: int) -> list[float]:
    """Where `FACE` is on the upright image, found by turning a mask of it with Pillow."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    x, y, w, h = map(int, FACE)
    mask[y : y + h, x : x + w] = 1
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG", exif=exif)
    rows, columns = np.nonzero(np.asarray(ImageOps.exif_transpose(Image.open(buffer))))
    left, top = columns.min(), rows.min()
    return [left, top, columns.max() + 1 - left, rows.max() + 1 - top]


@pytest.mark.parametrize("boxes_on", ["upright", "stored"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_faces_lie_on_the_upright_image_whichever_way_boxes_were_drawn(
    tmp_path: Path, orientation: int, boxes_on: BoxesOn
):
    upright = upright_face(orientation)
    entry = annotated("a.jpg", [upright if boxes_on == "upright" else FACE])
    found = check_image(source(tmp_path, orientation, boxes_on, entry), Checks(), entry)
    sample = parse_example(tf.constant(found.example))
    x, y, w, h = upright
    np.testing.assert_allclose(sample["faces"], [[x, y, x + w, y + h]], atol=1e-4)
    turned = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg")))
    assert tuple(sample["size"].numpy()) == turned.shape[:2]
    np.testing.assert_allclose(decode_upright(sample), turned, atol=2)  # another decoder's rounding


@pytest.mark.parametrize("orientation", [3, 6])
def test_records_hold_boxes_on_the_stored_pixels(tmp_path: Path, orientation: int):
    entry = annotated("a.jpg", [upright_face(orientation)])
    found = check_image(source(tmp_path, orientation, "upright", entry), Checks(), entry)
    feature = tf.train.Example.FromString(found.example).features.feature
    sides = [
        feature[f"image/object/bbox/{side}"].float_list.value[0]
        for side in ("xmin", "ymin", "xmax", "ymax")
    ]
    x, y, w, h = FACE
    expected = [x / WIDTH, y / HEIGHT, (x + w) / WIDTH, (y + h) / HEIGHT]
    np.testing.assert_allclose(sides, expected, atol=1e-6)
    assert feature["image/height"].int64_list.value[0] == HEIGHT
    assert feature["image/orientation"].int64_list.value[0] == orientation


def test_wider_s_images_are_never_turned(tmp_path: Path):
    entry = annotated("a.jpg", [FACE])
    found = check_image(source(tmp_path, 6, None, entry), Checks(), entry)
    sample = parse_example(tf.constant(found.example))
    assert tuple(sample["size"].numpy()) == (HEIGHT, WIDTH)
    assert int(sample["orientation"]) == 1


@pytest.mark.parametrize("orientation", QUARTERS)
@pytest.mark.parametrize("boxes_on", ["upright", "stored"])
def test_boxes_that_fit_only_the_other_way_are_told(
    tmp_path: Path, orientation: int, boxes_on: BoxesOn
):
    # At x 60 of 70 there is room on the stored pixels alone, at y 60 on the upright ones alone.
    box = [55.0, 5.0, 10.0, 10.0] if boxes_on == "upright" else [5.0, 55.0, 10.0, 10.0]
    entry = annotated("a.jpg", [box])
    with pytest.raises(UserError, match=r"a\.jpg is turned by its EXIF .* only the other way"):
        check_image(source(tmp_path, orientation, boxes_on, entry), Checks(), entry)


@pytest.mark.parametrize("boxes_on", ["upright", "stored"])
def test_a_stated_size_that_fits_only_the_other_way_is_told(tmp_path: Path, boxes_on: BoxesOn):
    other = (HEIGHT, WIDTH) if boxes_on == "upright" else (WIDTH, HEIGHT)
    entry = annotated("a.jpg", [[1, 1, 9, 9]], declared_size=other)
    with pytest.raises(UserError, match=r"a\.jpg is turned by its EXIF .* only the other way"):
        check_image(source(tmp_path, 8, boxes_on, entry), Checks(), entry)


def test_boxes_of_another_size_of_the_image_are_told(tmp_path: Path):
    entry = annotated("a.jpg", [[1, 1, 9, 9]], declared_size=(2 * HEIGHT, 2 * WIDTH))
    with pytest.raises(UserError, match=r"has 70 x 40 px, but its annotations say 140 x 80 px"):
        check_image(source(tmp_path, 1, "upright", entry), Checks(), entry)


def test_a_refused_image_can_be_left_out(tmp_path: Path):
    entry = annotated("a.jpg", [[1, 1, 9, 9]], declared_size=(9, 9))
    found = check_image(source(tmp_path, 1, "upright", entry), Checks(on_error="skip"), entry)
    assert (found.faces, found.annotated, found.example) == (0, 1, b"")
    assert "another size" in found.reason


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header claims a size."""
    data = bytearray(encode(picture(8, 8), ".png"))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("verify", ["none", "header", "full"])
def test_an_image_of_too_many_pixels_is_refused_by_its_header(verify: str):
    with pytest.raises(UserError, match=r"b\.png has 50000 x 50000 px, more than 64,000,000"):
        checked_size(png_of(50_000, 50_000), "b.png", verify=verify)


def test_a_small_file_that_claims_a_large_image_is_refused_before_it_is_decoded():
    data = bytearray(encode(picture(64, 96)))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (8000).to_bytes(2, "big") * 2
    with pytest.raises(UserError, match=r"a\.jpg is truncated or corrupt \(its data end before"):
        checked_size(bytes(data), "a.jpg")


def test_texts_that_grow_without_measure_are_refused():
    bomb = zlib.compress(bytes(8 * 2**20), 9)
    chunk = b"zTXt" + b"a\0\0" + bomb
    text = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = encode(picture(8, 8), ".png")
    with pytest.raises(UserError, match=r"b\.png is truncated or corrupt \(its texts"):
        checked_size(data[:33] + 100 * text + data[33:], "b.png")  # after the header
