"""Tests of the file formats: each as a file, in a folder, as bytes and from the web."""

import io
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ssh_tf.errors import UserError
from ssh_tf.imaging.files import read_image
from ssh_tf.imaging.folders import IMAGE_SUFFIXES, find_images
from ssh_tf.imaging.pillow import decode
from tests.support.small import exif_block, picture

PICTURE = picture(40, 60)
EXIF = b"Exif\0\0" + exif_block(6)


def encoded(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    file = io.BytesIO()
    Image.fromarray(PICTURE).convert(mode).save(file, kind, **options)
    return file.getvalue()


# Name to format, options, and the largest mean difference from the picture, in gray levels.
KINDS: dict[str, tuple[str, dict[str, Any], float]] = {
    "a.jpg": ("JPEG", {"subsampling": 0, "quality": 95}, 3),
    "progressive.jpeg": ("JPEG", {"subsampling": 0, "quality": 95, "progressive": True}, 3),
    "a.jfif": ("JPEG", {"subsampling": 0, "quality": 95}, 3),
    "a.png": ("PNG", {}, 0),
    "alpha.PNG": ("PNG", {"mode": "RGBA"}, 0),
    "palette.png": ("PNG", {"mode": "P"}, 20),
    "a.webp": ("WEBP", {"lossless": True}, 0),
    "alpha.webp": ("WEBP", {"lossless": True, "mode": "RGBA"}, 0),
    "a.bmp": ("BMP", {}, 0),
    "a.tiff": ("TIFF", {}, 0),
    "packed.tif": ("TIFF", {"compression": "tiff_lzw"}, 0),
    "a.gif": ("GIF", {}, 20),
    "a.avif": ("AVIF", {"quality": 95}, 20),
    "a.heic": ("HEIF", {"quality": 95}, 20),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("photos")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("name", KINDS)
def test_every_format_is_read_from_everywhere(folder: Path, address: str, name: str):
    kind, options, tolerance = KINDS[name]
    content = encoded(kind, **options)
    (folder / name).write_bytes(content)
    pixels = read_image(content)
    assert (pixels.shape, pixels.dtype) == (PICTURE.shape, np.uint8)
    assert np.abs(pixels.astype(int) - PICTURE).mean() <= tolerance
    assert (folder / name, Path(name)) in find_images([folder]).images
    for source in (folder / name, str(folder / name), io.BytesIO(content), f"{address}/{name}"):
        np.testing.assert_array_equal(read_image(source), pixels)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tiff", "a.avif", "a.heic"])
def test_every_format_that_holds_exif_is_turned_upright(name: str):
    kind, options, _ = KINDS[name]
    stored = read_image(encoded(kind, **options))
    turned = encoded(kind, **options, exif=EXIF)
    expected = np.rot90(stored, k=-1)
    assert np.abs(read_image(turned).astype(int) - expected).mean() < 3
    if kind not in ("TIFF", "HEIF"):  # Their decoders turn them.
        assert read_image(turned, upright=False).shape == PICTURE.shape


def test_of_several_pictures_the_first_is_taken():
    more = [Image.fromarray(PICTURE[::-1])]
    for kind in ("GIF", "WEBP", "TIFF"):
        first = read_image(encoded(kind, save_all=True, append_images=more)).astype(int)
        assert np.abs(first - PICTURE).mean() < 20 < np.abs(first - PICTURE[::-1]).mean()


def test_16_bits_keep_the_high_byte_and_gray_is_repeated():
    deep = io.BytesIO()
    Image.fromarray(PICTURE[..., 0].astype(np.uint16) * 256 + 255).save(deep, "TIFF")
    expected = PICTURE[..., :1].repeat(3, axis=-1)
    np.testing.assert_array_equal(read_image(deep.getvalue()), expected)


def test_transparency_of_a_palette_is_dropped_without_a_warning():
    image = Image.fromarray(PICTURE).convert("P")
    file = io.BytesIO()
    image.save(file, "GIF", transparency=3)
    np.testing.assert_array_equal(read_image(file.getvalue()), np.asarray(image.convert("RGB")))


def test_pixels_of_32_bits_are_refused():
    file = io.BytesIO()
    Image.fromarray(PICTURE[..., 0].astype(np.float32)).save(file, "TIFF")
    with pytest.raises(UserError, match="has pixels of 32 bits"):
        read_image(file.getvalue())


@pytest.mark.parametrize("name", ["a.webp", "a.bmp", "a.tiff", "a.gif", "a.avif", "a.heic"])
def test_a_file_that_ends_early_is_named_in_one_line(tmp_path: Path, name: str):
    kind, options, _ = KINDS[name]
    content = encoded(kind, **options)
    for size in (len(content) // 2, len(content) - 3):
        (tmp_path / name).write_bytes(content[:size])
        with pytest.raises(UserError, match=rf"^[^\n]*{name} is not a whole image[^\n]*$"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("kind", ["JPEG2000", "PPM", "ICO", "TGA", "PDF"])
def test_formats_that_nobody_photographs_in_are_refused(kind: str):
    with pytest.raises(UserError, match=r"is not a whole image of a known format \(JPEG, PNG, Web"):
        read_image(encoded(kind))


@pytest.mark.parametrize(("height", "width"), [(9_000, 9_000), (20_000, 20_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_small_file_of_many_pixels_is_refused_by_its_header(height: int, width: int):
    content = bytearray(encoded("BMP"))
    content[18:26] = np.array([width, height], "<u4").tobytes()
    with pytest.raises(UserError, match=r"more than 64,000,000(\.| px\.) Scale it down"):
        read_image(bytes(content))


def test_without_its_reader_a_heic_photo_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    content = encoded("HEIF")
    monkeypatch.setattr("ssh_tf.imaging.pillow._can_read_heif", lambda: False)
    with pytest.raises(UserError, match=r"^a\.heic is a HEIC image\. .*pip install 'ssh-tf"):
        decode(content, "a.heic")


def test_all_suffixes_are_of_formats_that_are_read():
    assert {Path(name).suffix.lower() for name in KINDS} <= set(IMAGE_SUFFIXES)
    assert list(IMAGE_SUFFIXES) == sorted(IMAGE_SUFFIXES)
