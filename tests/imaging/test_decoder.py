"""Tests of decoding JPEG and PNG."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ssh_tf.imaging import header, parts
from ssh_tf.imaging.decoder import bytes_size, decode, decode_bytes, header_size
from tests.support.small import encode, picture

GREY = picture()[..., 0]

Decode = Callable[[bytes], Any]


def pixels(encoded: bytes) -> np.ndarray:
    return decode(encoded).numpy()


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
def test_gray_is_repeated_in_three_channels(suffix: str):
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


def test_palette_png_gives_the_palette_s_colors():
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


@pytest.mark.parametrize("start", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd8", b"\xee"])
def test_bytes_that_are_no_text_get_an_error_of_tensorflow_s(start: bytes):
    for encoded in (start, start + b"\xee" * 5):
        for read in (header_size, bytes_size, decode, decode_bytes):
            with pytest.raises(tf.errors.InvalidArgumentError):
                read(encoded)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_size_of_bytes_is_the_size_in_a_graph(suffix: str):
    encoded = encode(picture(), suffix)
    assert bytes_size(encoded) == tuple(header_size(encoded).numpy()) == picture().shape[:2]


def test_decoding_in_a_graph_is_the_same_and_fails_the_same():
    (good,) = tf.data.Dataset.from_tensors(encode(picture(), ".png")).map(decode)
    np.testing.assert_array_equal(good, picture())
    with pytest.raises(tf.errors.InvalidArgumentError, match="neither JPEG nor PNG"):
        next(iter(tf.data.Dataset.from_tensors(encode(picture(), ".webp")).map(decode)))


@pytest.fixture(scope="module", params=["bytes", "graph"])
def decoder(request: pytest.FixtureRequest) -> Decode:
    """Both ways to decode; the graph is traced once."""
    in_graph = tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)])
    return decode_bytes if request.param == "bytes" else in_graph


PICTURE = picture(160, 240)


def jpeg(image: np.ndarray = PICTURE, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def cut(encoded: bytes, fraction: float) -> bytes:
    """Keeps a fraction of the data of a JPEG's scans, and its end marker."""
    start = encoded.index(b"\xff\xda")
    data = encoded[: start + round((len(encoded) - start) * fraction)]
    return data.removesuffix(b"\xff") + b"\xff\xd9"


KINDS = {
    "4:2:0": jpeg(),
    "4:4:4": jpeg(subsampling=0),
    "gray": jpeg(mode="L"),
    "CMYK": jpeg(mode="CMYK"),
    "RGB": jpeg(keep_rgb=True),
    "restart markers": jpeg(restart_marker_blocks=4),
    "progressive": jpeg(progressive=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_whose_data_end_early_is_refused_though_it_has_an_end_marker(
    decoder: Decode, kind: str
):
    # Of a progressive one, the first tenth holds the mean values; details alone may be missing.
    for fraction in (0.02, 0.1) if kind == "progressive" else (0.02, 0.1, 0.5, 0.9):
        ends_early = cut(KINDS[kind], fraction)
        for encoded in (ends_early, ends_early + bytes(40), ends_early + KINDS[kind]):
            with pytest.raises(tf.errors.InvalidArgumentError, match="its data end before"):
                decoder(encoded)


def test_a_cut_at_a_restart_marker_is_found(decoder: Decode):
    encoded = KINDS["restart markers"]
    marker = encoded.index(b"\xff\xd1", encoded.index(b"\xff\xda"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="its data end before"):
        decoder(encoded[:marker] + b"\xff\xd9")


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_jpeg_is_decoded_whatever_follows_it(decoder: Decode, kind: str):
    encoded = KINDS[kind]
    expected = np.asarray(decoder(encoded))
    # Cameras pad files, and put more pictures behind the first one.
    for trailer in (bytes(40), b"\xff\xd9", encoded):
        np.testing.assert_array_equal(decoder(encoded + trailer), expected)


@pytest.mark.parametrize("value", [128, 64, 63])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
def test_a_whole_jpeg_may_be_gray_at_its_end(decoder: Decode, value: int, options: dict[str, Any]):
    image = picture(120, 90)
    image[60:] = value
    for encoded in (jpeg(image, **options), jpeg(image, "L", restart_marker_rows=1, **options)):
        assert np.asarray(decoder(encoded))[-1, -1].tolist() == [value] * 3
        np.testing.assert_array_equal(decoder(encoded + encoded), decoder(encoded))


def test_an_even_jpeg_of_the_fewest_bits_is_decoded(decoder: Decode):
    # 16,384 blocks of at least 2 bits; refused is less than 1 bit each, 2,048 bytes.
    encoded = jpeg(np.full((1024, 1024), 200, np.uint8), "L", optimize=True)
    assert len(encoded) < 5000
    assert np.unique(decoder(encoded)).tolist() == [200]


def test_a_jpeg_of_too_few_bytes_is_refused_before_its_pixels_take_memory(decoder: Decode):
    at = (encoded := jpeg()).index(b"\xff\xc0") + 5
    claims = encoded[:at] + struct.pack(">HH", 8000, 8000) + encoded[at + 4 :]
    with pytest.raises(tf.errors.InvalidArgumentError, match="its data end before"):
        decoder(claims)


def png_with(*chunks: bytes, at: int = 33) -> bytes:
    encoded = encode(picture(), ".png")
    at = at if at >= 0 else len(encoded) + at
    return encoded[:at] + b"".join(chunks) + encoded[at:]


TEXT = b"Comment\0\0" + zlib.compress(bytes(8_000_000), 9)
FEW = {
    "none": png_with(),
    "a long text, compressed": png_with(chunk(b"zTXt", TEXT)),
    "texts of all kinds": png_with(
        chunk(b"tEXt", b"Author\0" + b"x" * 90_000),
        chunk(b"zTXt", b"Author\0\0" + zlib.compress(b"x" * 90_000)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<x/>" * 9_000),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(3_000))),
    ),
    "many small ones": png_with(*[chunk(b"iTXt", b"k\0\0\0\0\0text")] * 200),
    "many parts": png_with(*[chunk(b"prVt", b"")] * 900),
}
MANY = {
    "before the pixels": png_with(*[chunk(b"zTXt", TEXT)] * 9),
    "behind the pixels": png_with(*[chunk(b"zTXt", TEXT)] * 9, at=-12),
    "international": png_with(*[chunk(b"iTXt", b"k\0\1\0\0\0" + TEXT[9:])] * 9),
    "behind millions of parts": png_with(*[chunk(b"prVt", b"")] * 2_000, chunk(b"zTXt", TEXT)),
}


@pytest.mark.parametrize("kind", FEW)
def test_a_png_may_hold_texts(decoder: Decode, kind: str):
    np.testing.assert_array_equal(decoder(FEW[kind]), picture())


@pytest.mark.parametrize("kind", MANY)
def test_a_png_of_texts_that_grow_is_refused(decoder: Decode, kind: str):
    with pytest.raises(tf.errors.InvalidArgumentError, match="its texts would grow"):
        decoder(MANY[kind])


def test_bytes_and_graph_count_texts_alike():
    count = tf.function(parts.inflated_text, input_signature=[tf.TensorSpec([], tf.string)])
    for encoded in (*FEW.values(), *MANY.values(), FEW["none"][:40], b"\x89PNG\r\n\x1a\n"):
        assert int(count(encoded)) == header.inflated_text(encoded)


def test_real_photos_are_decoded(test_data: Path, decoder: Decode):
    for path in sorted((test_data / "faces").rglob("*.jpg"))[::40]:
        assert decoder(path.read_bytes()).shape[2] == 3
