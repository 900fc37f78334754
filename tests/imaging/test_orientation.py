"""Tests of EXIF orientation: the same rule on bytes, on pixels and inside a graph."""

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from ssh_tf.imaging import header
from ssh_tf.imaging.orientation import orientation_graph, upright_graph
from ssh_tf.imaging.turn import upright
from tests.support.small import encode, exif_block, picture, with_exif

JPEG, PNG = encode(picture()), encode(picture(), ".png")
ORIENTATIONS = range(1, 9)


@pytest.fixture(scope="module")
def in_graph() -> Callable[[bytes], int]:
    """The graph's orientation, with one trace for all files."""
    read = tf.function(orientation_graph, input_signature=[tf.TensorSpec([], tf.string)])
    return lambda encoded: int(read(tf.constant(encoded)))


def pillow(encoded: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("plain", [JPEG, PNG], ids=["jpeg", "png"])
def test_bytes_and_graph_read_the_orientation_and_turn_as_pillow_does(
    in_graph: Callable[[bytes], int], orientation: int, order: str, plain: bytes
):
    encoded = with_exif(plain, exif_block(orientation, order=order))
    assert header.orientation(encoded) == in_graph(encoded) == orientation
    stored = np.asarray(Image.open(io.BytesIO(encoded)))
    expected = pillow(encoded)
    np.testing.assert_array_equal(upright(stored, orientation), expected)
    np.testing.assert_array_equal(upright_graph(tf.constant(stored), orientation), expected)
    assert header.stored_size(encoded) == (64, 96)
    assert header.upright_size(encoded) == expected.shape[:2]


def test_turned_pixels_keep_their_channels_and_any_size_in_a_graph():
    turn = tf.function(
        upright_graph,
        input_signature=[tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([], tf.int32)],
    )
    for size in ((1, 1), (1, 5), (3, 2)):
        pixels = picture(*size)
        for orientation in ORIENTATIONS:
            turned = turn(pixels, orientation)
            np.testing.assert_array_equal(turned, upright(pixels, orientation))
    assert turn.get_concrete_function().structured_outputs.shape.as_list() == [None, None, 3]


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(payload)) + payload


def after_start(*parts: bytes) -> bytes:
    return JPEG[:2] + b"".join(parts) + JPEG[2:]


EXIF = exif_block(6)
APP1 = segment(0xE1, header.EXIF_PREFIX + EXIF)
TWO_ENTRIES = b"MM\0*" + struct.pack(">IHHHIIHHIHH", 8, 2, 0x10F, 2, 9, 0, 0x112, 3, 1, 6, 0)

FOUND = {
    "after other segments": after_start(segment(0xE0, b"JFIF\0"), segment(0xE2, b"x" * 9), APP1),
    "after XMP in an APP1": after_start(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0"), APP1),
    "after fill and stray bytes": after_start(b"stray", b"\xff\x00", b"\xff\xff", APP1),
    "after a restart marker": after_start(b"\xff\xd0", APP1),
    "the first of two": after_start(APP1, segment(0xE1, b"Exif\0\0" + exif_block(3))),
    "the first of two tags": with_exif(
        JPEG, TWO_ENTRIES[:9] + b"\3" + TWO_ENTRIES[10:] + struct.pack(">HHIHH", 0x112, 3, 1, 3, 0)
    ),
    "the second entry": with_exif(JPEG, TWO_ENTRIES),
    "not at the block's begin": with_exif(PNG, b"II*\0\x0a\0\0\0##" + EXIF[8:]),
    "a PNG's block with JPEG's prefix": with_exif(PNG, header.EXIF_PREFIX + EXIF),
    "more entries stated than there are": with_exif(JPEG, EXIF[:8] + b"\xff\xff" + EXIF[10:]),
    "no picture follows": after_start(APP1)[: 2 + len(APP1)],
}
UPRIGHT = {
    "nothing": b"",
    "text": b"hello",
    "other format": b"GIF89a" + EXIF,
    "start only": JPEG[:2],
    "no EXIF in a JPEG": JPEG,
    "no EXIF in a PNG": PNG,
    "0": with_exif(JPEG, exif_block(0)),
    "9": with_exif(JPEG, exif_block(9)),
    "65535": with_exif(PNG, exif_block(65535)),
    "another tag": with_exif(JPEG, exif_block(6, tag=0x0113)),
    "another type": with_exif(JPEG, exif_block(6, kind=4)),
    "two values": with_exif(JPEG, EXIF[:14] + b"\2" + EXIF[15:]),
    "unknown order of bytes": with_exif(JPEG, b"XX" + EXIF[2:]),
    "orders mixed": with_exif(JPEG, b"MM*\0" + EXIF[4:]),
    "empty block": with_exif(JPEG, b""),
    "order only": with_exif(JPEG, b"II*\0"),
    "no entries": with_exif(JPEG, EXIF[:8] + b"\0\0"),
    "half a number of entries": with_exif(JPEG, EXIF[:9]),
    "directory at the end": with_exif(JPEG, b"II*\0" + struct.pack("<I", len(EXIF)) + EXIF[8:]),
    "directory far beyond": with_exif(JPEG, b"II*\0\xff\xff\xff\xff" + EXIF[8:]),
    "entry cut": with_exif(JPEG, EXIF[:20]),
    "after the start of scan": JPEG[:-2] + APP1 + JPEG[-2:],
    "after the end": after_start(b"\xff\xd9", APP1),
    "segment shorter than its prefix": after_start(b"\xff\xe1\0\2Exif\0\0" + EXIF),
    "segment cut": after_start(APP1)[:20],
    "behind more parts than are looked at": after_start(b"\0" * header.MAX_PARTS, APP1),
    "behind a chunk beyond the end": PNG[:33] + b"\xff\xff\xff\xfftEXt" + with_exif(PNG, EXIF)[33:],
}


@pytest.mark.parametrize("name", FOUND)
def test_exif_is_found_where_decoders_find_it(in_graph: Callable[[bytes], int], name: str):
    assert header.orientation(FOUND[name]) == in_graph(FOUND[name]) == 6


@pytest.mark.parametrize("name", UPRIGHT)
def test_missing_and_garbled_exif_leaves_pictures_as_stored(
    in_graph: Callable[[bytes], int], name: str
):
    assert header.orientation(UPRIGHT[name]) == in_graph(UPRIGHT[name]) == header.UPRIGHT


def test_bytes_and_graph_agree_on_damaged_files(
    in_graph: Callable[[bytes], int], rng: np.random.Generator
):
    seeds = [with_exif(JPEG, EXIF), with_exif(JPEG, TWO_ENTRIES), with_exif(PNG, EXIF)]
    found = []
    for i in range(300):
        damaged = bytearray(seeds[i % 3][: rng.integers(20, 200)])
        for at in rng.integers(0, min(len(damaged), 80), 2):
            damaged[at] = rng.integers(256)
        found.append(header.orientation(bytes(damaged)))
        assert in_graph(bytes(damaged)) == found[-1], bytes(damaged)
    assert 50 < found.count(6) < 250  # Both outcomes are met.
