"""Tests of reading image files."""

import struct
from pathlib import Path

import numpy as np
import pytest

from ssh_tf.errors import UserError
from ssh_tf.imaging.files import read_image
from tests.support.small import encode, picture


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jpg", ""])
def test_images_are_known_by_their_content_not_their_suffix(tmp_path: Path, suffix: str):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encode(picture(), ".png"))
    np.testing.assert_array_equal(read_image(str(path)), picture())


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"hello", id="text"),
        pytest.param(b"%!PS-Adobe-3.0", id="a program"),
        pytest.param(encode(picture())[:-300], id="truncated"),
    ],
)
def test_a_file_that_is_no_whole_image_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UserError, match=r"^[^\n]*a\.jpg is not a whole [^\n]*JPEG[^\n]*\.$"):
        read_image(tmp_path / "a.jpg")


def claim(encoded: bytes, height: int, width: int) -> bytes:
    """Returns a PNG or JPEG whose header states another size."""
    if encoded.startswith(b"\x89PNG"):
        at, size = 16, struct.pack(">II", width, height)
    else:
        at, size = encoded.index(b"\xff\xc0") + 5, struct.pack(">HH", height, width)
    return encoded[:at] + size + encoded[at + len(size) :]


@pytest.mark.parametrize(
    ("suffix", "height", "width"), [(".png", 60_000, 70_000), (".jpg", 65_000, 64_000)]
)
def test_an_image_bomb_is_refused_by_its_header(
    tmp_path: Path, suffix: str, height: int, width: int
):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(claim(encode(picture(), suffix), height, width))
    with pytest.raises(UserError, match=rf"a{suffix} has {width} x {height} px, more than 64,000"):
        read_image(path)


def test_the_limit_of_pixels_itself_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ssh_tf.imaging.pillow.MAX_PIXELS", 64 * 96)
    path = tmp_path / "a.png"
    path.write_bytes(encode(picture(64, 96), ".png"))
    assert read_image(path).shape == (64, 96, 3)
    path.write_bytes(encode(picture(64, 97), ".png"))
    with pytest.raises(UserError, match="has 97 x 64 px, more than 6,144"):
        read_image(path)


def test_a_file_of_gigabytes_is_refused_unread(tmp_path: Path):
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(2**40)  # takes no space on the disk
    with pytest.raises(UserError, match=r"a\.jpg is too large for an image"):
        read_image(tmp_path / "a.jpg")


def test_a_missing_image_and_a_folder_are_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"absent\.jpg can't be read \(No such file"):
        read_image(tmp_path / "absent.jpg")
    with pytest.raises(UserError, match=r"can't be read \(Is a directory\)"):
        read_image(tmp_path)
