import math

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from ssh_tf.errors import UserError
from ssh_tf.model.caffe.caffemodel import read_caffemodel
from tests.support import caffe_writer
from tests.support.caffe_writer import write_caffemodel

ENCODINGS = [
    pytest.param({}, id="layer"),
    pytest.param({"legacy": True}, id="layers"),
    pytest.param({"double": True}, id="double"),
    pytest.param({"packed": False}, id="unpacked"),
    pytest.param({"double": True, "packed": False}, id="double-unpacked"),
    pytest.param({"legacy": True, "double": True, "packed": False}, id="layers-double-unpacked"),
]


def assert_same_bits(read, written):
    assert list(read) == list(written)
    for name, arrays in written.items():
        assert [array.dtype for array in read[name]] == [np.float32] * len(arrays)
        assert [array.shape for array in read[name]] == [array.shape for array in arrays]
        assert [a.tobytes() for a in read[name]] == [a.tobytes() for a in arrays]


def read_bytes(tmp_path, content):
    path = tmp_path / "weights.caffemodel"
    path.write_bytes(content)
    return read_caffemodel(path)


@pytest.fixture
def layers(rng):
    """A few thousand numbers in three layers."""
    shapes = {
        "conv1_1": (32, 3, 3, 3),
        "conv1_2": (32, 32, 3, 3),
        "m1@ssh_cls_score": (4, 32, 1, 1),
    }
    return {
        name: [rng.standard_normal(shape, dtype=np.float32), np.float32(rng.random(shape[0]))]
        for name, shape in shapes.items()
    }


@pytest.fixture
def tiny(rng):
    """Four small layers: a convolution, one without weights, a 1x1 one, a fully connected one."""

    def random(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    return {
        "conv": [random(3, 2, 3, 3), random(3)],
        "relu": [],
        "m1@ssh_cls": [random(4, 3, 1, 1), random(4)],
        "scale": [random(2, 1, 2, 2)],
    }


# Reading


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_reads_back_every_encoding_bit_by_bit(tmp_path, layers, encoding):
    write_caffemodel(tmp_path / "a.caffemodel", layers.items(), **encoding)
    assert_same_bits(read_caffemodel(tmp_path / "a.caffemodel"), layers)


def caffe_messages():
    """Caffe's schema, as far as weights go, for protobuf's own encoder."""
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="caffe_subset.proto", package="c")

    def define(name, *fields):
        made = file.message_type.add(name=name)
        for number, field, label, type_, packed in fields:
            is_message = isinstance(type_, str)
            added = made.field.add(name=field, number=number, label=label)
            added.type = kind.TYPE_MESSAGE if is_message else type_
            if is_message:
                added.type_name = f".c.{type_}"
            if packed:
                added.options.packed = True

    one, many = kind.LABEL_OPTIONAL, kind.LABEL_REPEATED
    define("Shape", (1, "dim", many, kind.TYPE_INT64, True))
    define(
        "Blob",
        *[(i, f"axis{i}", one, kind.TYPE_INT32, False) for i in (1, 2, 3, 4)],
        (5, "data", many, kind.TYPE_FLOAT, True),
        (6, "diff", many, kind.TYPE_FLOAT, True),
        (7, "shape", one, "Shape", False),
    )
    text = kind.TYPE_STRING
    define(
        "Layer",
        (1, "name", one, text, False),
        (2, "type", one, text, False),
        (5, "loss_weight", many, kind.TYPE_FLOAT, False),
        (7, "blobs", many, "Blob", False),
        (10, "phase", one, kind.TYPE_INT32, False),
    )
    define("V1", (4, "name", one, text, False), (6, "blobs", many, "Blob", False))
    define(
        "Net",
        (1, "name", one, text, False),
        (2, "layers", many, "V1", False),
        (4, "input_dim", many, kind.TYPE_INT32, False),
        (100, "layer", many, "Layer", False),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("c.Net"))


def test_reads_what_protobufs_own_encoder_writes(tmp_path, tiny):
    net = caffe_messages()(name="SSH", input_dim=[1, 3, 300, 300])
    for name, arrays in tiny.items():
        made = net.layer.add(name=name, type="Convolution", loss_weight=[1, 1, 0.5], phase=1)
        for array in arrays:
            blob = made.blobs.add(data=array.ravel().tolist(), diff=[0.0] * array.size)
            blob.shape.dim.extend(array.shape)
    del tiny["relu"]
    assert_same_bits(read_bytes(tmp_path, net.SerializeToString()), tiny)


def test_reads_what_protobufs_own_encoder_writes_in_the_legacy_form(tmp_path, tiny):
    net = caffe_messages()(name="VGG_ILSVRC_16_layers", input_dim=[10, 3, 224, 224])
    for name, arrays in tiny.items():
        made = net.layers.add(name=name)
        for array in arrays:
            n, c, h, w = (1,) * (4 - array.ndim) + array.shape
            made.blobs.add(axis1=n, axis2=c, axis3=h, axis4=w, data=array.ravel().tolist())
    del tiny["relu"]
    assert_same_bits(read_bytes(tmp_path, net.SerializeToString()), tiny)


@pytest.mark.parametrize("packed", [True, False])
def test_float32_weights_are_views_of_the_file(tmp_path, layers, packed):
    write_caffemodel(tmp_path / "a.caffemodel", layers.items(), packed=packed)
    read = read_caffemodel(tmp_path / "a.caffemodel")
    assert not any(array.flags.owndata for arrays in read.values() for array in arrays)
    assert not any(array.flags.writeable for arrays in read.values() for array in arrays)


def test_numbers_in_several_chunks_are_joined(tmp_path):
    shape = caffe_writer.message(7, caffe_writer.number(1, 5))
    chunks = [
        caffe_writer.message(5, np.float32([1, 2]).tobytes()),
        b"\x2d" + np.float32(3).tobytes() + b"\x2d" + np.float32(4).tobytes(),
        caffe_writer.message(5, b""),
        b"\xad\x00" + np.float32(5).tobytes(),  # a tag that takes two bytes instead of one
    ]
    content = caffe_writer.layer("a", [b"".join([*chunks, shape])])
    np.testing.assert_array_equal(read_bytes(tmp_path, content)["a"], [[1, 2, 3, 4, 5]])


def test_unpacked_runs_of_two_fields_do_not_mix(tmp_path, rng):
    data, diff = rng.standard_normal((2, 200), dtype=np.float32)
    fields = [(b"\x2d", value) for value in data] + [(b"\x35", value) for value in diff]
    order = rng.permutation(400)
    blob = b"".join(fields[i][0] + fields[i][1].tobytes() for i in order)
    blob += caffe_writer.message(7, caffe_writer.number(1, 200))
    (read,) = read_bytes(tmp_path, caffe_writer.layer("a", [blob]))["a"]
    np.testing.assert_array_equal(read, [fields[i][1] for i in order if i < 200])


def test_double_beyond_float32_becomes_infinite(tmp_path):
    blob = caffe_writer.message(8, np.float64([1e300, 1]).tobytes())
    blob += caffe_writer.message(7, caffe_writer.number(1, 2))
    read = read_bytes(tmp_path, caffe_writer.layer("a", [blob]))
    np.testing.assert_array_equal(read["a"], [[np.inf, 1]])


def test_layer_repeated_bit_by_bit_is_read_once(tmp_path, tiny):
    tiny["conv"][1][0] = np.nan  # equal bits, though not an equal number
    path = tmp_path / "a.caffemodel"
    write_caffemodel(path, [*tiny.items(), ("conv", tiny["conv"]), ("conv", [])])
    assert_same_bits(read_caffemodel(path), {n: a for n, a in tiny.items() if a})


@pytest.mark.parametrize("change", [lambda a: [a[0], a[1] + 1], lambda a: a[:1], lambda a: a[::-1]])
def test_layer_repeated_with_other_weights_is_an_error(tmp_path, tiny, change):
    path = tmp_path / "a.caffemodel"
    write_caffemodel(path, [*tiny.items(), ("conv", change(tiny["conv"]))])
    with pytest.raises(UserError, match=r"a\.caffemodel holds layer 'conv' twice with different"):
        read_caffemodel(path)


# Files that are something else


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "git lfs pull",
            id="lfs",
        ),
        pytest.param(b"\n\n<!DOCTYPE html><title>Sign in</title>", "web page", id="html"),
        pytest.param(b"\xef\xbb\xbf<html lang=en>\x01", "web page", id="html-bom"),
        pytest.param(b'name: "SSH"\nlayer {\n  type: "ReLU"\n}\n', "prototxt", id="prototxt"),
        pytest.param("# Netz für Gesichter\nlayers { }".encode(), "prototxt", id="legacy-prototxt"),
        pytest.param(b"Quota exceeded", "a text file", id="text"),
        pytest.param(b"PK\x03\x04\x14\x00", "zip", id="zip"),
        pytest.param(b"\x1f\x8b\x08\x00", "gzip", id="gzip"),
        pytest.param(b"\x89HDF\r\n\x1a\n", "HDF5", id="hdf5"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(99), "no .caffemodel", id="png"),
        pytest.param(bytes(1000), "no .caffemodel", id="zeros"),
        pytest.param(b"\xff" * 1000, "no .caffemodel", id="ones"),
        pytest.param(b"\x0a\x03SSH", "no layer with weights", id="no-layers"),
        pytest.param(b"\x12\x03\x0a\x01a", "no layer with weights", id="v0-layer"),
    ],
)
def test_other_content_is_recognized_and_said_in_one_line(tmp_path, content, said):
    with pytest.raises(UserError) as error:
        read_bytes(tmp_path, content)
    assert said in str(error.value)
    assert "weights.caffemodel" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "said"), [("absent", "No such file"), ("", "directory")])
def test_what_is_no_file_is_an_error(tmp_path, name, said):
    with pytest.raises(UserError, match=f"can't be read .*{said}"):
        read_caffemodel(tmp_path / name)


def test_truncated_file_says_where_it_ends(tmp_path, tiny):
    path = tmp_path / "a.caffemodel"
    write_caffemodel(path, tiny.items())
    path.write_bytes(path.read_bytes()[:-3])
    said = rf"truncated: it ends at byte {path.stat().st_size}, after layer 'm1@ssh_cls'"
    with pytest.raises(UserError, match=said):
        read_caffemodel(path)


@pytest.mark.parametrize(
    ("dims", "count"),
    [
        ([2, 2], 5),
        ([2, -2], 4),
        ([0, 2**62], 0),
        ([2**62, 4], 0),
        ([1] * 40, 1),
        ([], 3),
        ([2**63] * 9999, 1),
    ],
)
def test_shape_that_does_not_fit_its_values_is_an_error(tmp_path, dims, count):
    blob = b"".join(caffe_writer.number(1, dim % 2**64) for dim in dims)
    blob = caffe_writer.message(7, blob) + caffe_writer.message(5, bytes(4 * count))
    with pytest.raises(UserError, match=r"damaged: layer 'a' at byte \d .*has \d values"):
        read_bytes(tmp_path, caffe_writer.layer("a", [blob]))


def test_packed_numbers_that_end_inside_a_number_are_an_error(tmp_path):
    with pytest.raises(UserError, match="7 bytes at byte 31 are no numbers of 4 bytes"):
        read_bytes(tmp_path, caffe_writer.layer("a", [caffe_writer.message(5, bytes(7))]))


@pytest.mark.parametrize("tag", [b"\x0b", b"\x0c", b"\x0e", b"\x0f", b"\x00\x00"])
def test_field_that_caffe_never_writes_is_an_error(tmp_path, tiny, tag):
    blobs = [caffe_writer.blob(array) for array in tiny["conv"]]
    with pytest.raises(UserError, match=r"damaged after layer 'conv': byte \d+ begins no field"):
        read_bytes(tmp_path, caffe_writer.layer("conv", blobs) + tag)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_cut_at_any_byte_is_an_error_or_whole_layers(tmp_path, tiny, encoding):
    path = tmp_path / "a.caffemodel"
    write_caffemodel(path, tiny.items(), **encoding)
    whole = path.read_bytes()
    kept = [(name, arrays) for name, arrays in tiny.items() if arrays]
    readable = 0
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        try:
            read = read_caffemodel(path)
        except UserError:
            continue
        readable += 1
        assert_same_bits(read, dict(kept[: len(read)]))
    assert readable == len(kept)  # behind `conv`, behind `relu` and behind `m1@ssh_cls`


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_flipped_bytes_give_an_error_or_arrays_and_never_a_traceback(tmp_path, tiny, rng, encoding):
    path = tmp_path / "a.caffemodel"
    write_caffemodel(path, tiny.items(), **encoding)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    refused = 0
    for _ in range(150):
        damaged = whole.copy()
        damaged[rng.integers(0, whole.size, rng.integers(1, 9))] = rng.integers(0, 256)
        path.write_bytes(damaged.tobytes())
        try:
            read = read_caffemodel(path)
        except UserError:
            refused += 1
        else:
            assert all(math.prod(a.shape) == a.size > 0 for arrays in read.values() for a in arrays)
    assert 0 < refused < 150
