"""Tests of the record schema and of what makes a folder a data set."""

import numpy as np
import pytest
import tensorflow as tf

from ssh_tf import signature
from ssh_tf.data.records import parse_example, to_example
from tests.support.small import encode, picture

JPEG, PNG = encode(picture(), ".jpg"), encode(picture(), ".png")
CORNERS = np.array([[1, 2, 31, 42], [0, 0, 1366, 769], [1023, 5, 1365, 17]], np.float32)
ATTRIBUTES = np.arange(18).reshape(3, 6)


def example(
    encoded: bytes = JPEG,
    corners: np.ndarray = CORNERS,
    attributes: np.ndarray = ATTRIBUTES,
    size: tuple[int, int] = (769, 1366),
) -> bytes:
    return to_example(encoded, name="e/a.jpg", size=size, corners=corners, attributes=attributes)


def test_faces_come_back_where_they_were():
    parsed = parse_example(example())
    np.testing.assert_allclose(parsed["faces"], CORNERS, atol=1e-3)
    assert parsed["faces"].dtype == tf.float32


@pytest.mark.parametrize("size", [(1, 1), (1049, 683), (5616, 3744)])
def test_every_whole_pixel_comes_back(size: tuple[int, int]):
    x = np.linspace(0, size[1], 50).round()
    y = np.linspace(0, size[0], 50).round()
    corners = np.stack([x, y, x, y], axis=-1).astype(np.float32)
    record = example(corners=corners, attributes=np.zeros((50, 6), int), size=size)
    np.testing.assert_allclose(parse_example(record)["faces"], corners, atol=1e-3)


def test_bytes_name_and_size_come_back_exactly():
    parsed = parse_example(example())
    assert parsed["encoded"].numpy() == JPEG
    assert parsed["name"].numpy() == b"e/a.jpg"
    assert parsed["size"].numpy().tolist() == [769, 1366]
    assert parsed["size"].dtype == tf.int32


def test_an_image_without_faces_has_a_4_column_table():
    parsed = parse_example(example(corners=CORNERS[:0], attributes=ATTRIBUTES[:0]))
    assert parsed["faces"].shape == (0, 4)


def test_the_same_input_gives_the_same_bytes():
    assert example() == example()


def test_other_tools_read_the_object_detection_keys():
    """The keys are written out: this is what a stranger's reader asks for."""
    floats, ints = tf.io.VarLenFeature(tf.float32), tf.io.VarLenFeature(tf.int64)
    boxes = {key: floats for key in ("xmin", "ymin", "xmax", "ymax")}
    spec = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/format": tf.io.FixedLenFeature([], tf.string),
        "image/filename": tf.io.FixedLenFeature([], tf.string),
        "image/source_id": tf.io.FixedLenFeature([], tf.string),
        "image/height": tf.io.FixedLenFeature([], tf.int64),
        "image/width": tf.io.FixedLenFeature([], tf.int64),
        **{f"image/object/bbox/{key}": kind for key, kind in boxes.items()},
        "image/object/class/text": tf.io.VarLenFeature(tf.string),
        "image/object/class/label": ints,
    }
    parsed = tf.io.parse_single_example(example(), spec)
    read = {
        key.removeprefix("image/"): tf.sparse.to_dense(value).numpy().tolist()
        if isinstance(value, tf.SparseTensor)
        else value.numpy()
        for key, value in parsed.items()
    }
    assert (read["encoded"], read["format"]) == (JPEG, b"jpeg")
    assert read["filename"] == read["source_id"] == b"e/a.jpg"
    assert (read["height"], read["width"]) == (769, 1366)
    assert read["object/bbox/xmin"] == pytest.approx([1 / 1366, 0, 1023 / 1366])
    assert read["object/bbox/ymin"] == pytest.approx([2 / 769, 0, 5 / 769])
    assert read["object/bbox/xmax"] == pytest.approx([31 / 1366, 1, 1365 / 1366])
    assert read["object/bbox/ymax"] == pytest.approx([42 / 769, 1, 17 / 769])
    assert read["object/class/text"] == [b"face"] * 3
    assert read["object/class/label"] == [1] * 3


def test_wider_s_attributes_are_stored_one_by_one():
    feature = tf.train.Example.FromString(example()).features.feature
    names = ("blur", "expression", "illumination", "invalid", "occlusion", "pose")
    stored = [feature[f"image/object/face/{name}"].int64_list.value for name in names]
    np.testing.assert_array_equal(np.array(stored).T, ATTRIBUTES)


def test_png_is_marked_as_png():
    feature = tf.train.Example.FromString(example(PNG)).features.feature
    assert list(feature[signature.IMAGE_FORMAT].bytes_list.value) == [b"png"]
