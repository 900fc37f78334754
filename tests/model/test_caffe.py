import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from ssh_tf.errors import UserError
from ssh_tf.model.caffe import KERAS_NAMES, read_caffemodel, to_keras
from tests import caffe_writer
from tests.caffe_writer import random_layers, write_caffemodel

FUSION_PARAMETERS = 65_664 + 65_664 + 147_584
BILINEAR = np.outer([0.25, 0.75, 0.75, 0.25], [0.25, 0.75, 0.75, 0.25])
ENCODINGS = [
    pytest.param({}, id="layer"),
    pytest.param({"legacy": True}, id="layers"),
    pytest.param({"double": True}, id="double"),
    pytest.param({"packed": False}, id="unpacked"),
    pytest.param({"double": True, "packed": False}, id="double-unpacked"),
    pytest.param({"legacy": True, "double": True, "packed": False}, id="layers-double-unpacked"),
]


def ssh_shapes(divisor=16):
    """Keras layer name -> (kernel HWIO, bias) of SSH, its inner widths divided by `divisor`."""
    convs = {}
    inputs = 3
    for block, (repeats, width) in enumerate(
        [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], start=1
    ):
        for conv in range(1, repeats + 1):
            convs[f"block{block}_conv{conv}"] = (3, inputs, width // divisor)
            inputs = width // divisor
    trunk, fused = 512 // divisor, 128 // divisor
    convs["fuse_conv5_reduce"] = convs["fuse_conv4_reduce"] = (1, trunk, fused)
    convs["fuse_conv"] = (3, fused, fused)
    for m, inputs, width in [(1, fused, fused), (2, trunk, 2 * fused), (3, trunk, 2 * fused)]:
        half = width // 2
        convs[f"m{m}_conv3x3"] = (3, inputs, width)
        convs[f"m{m}_context_reduce"] = (3, inputs, half)
        for name in ("context_5x5", "context_7x7_1", "context_7x7_2"):
            convs[f"m{m}_{name}"] = (3, half, half)
        convs[f"m{m}_cls"], convs[f"m{m}_box"] = (1, 2 * width, 4), (1, 2 * width, 8)
    return {name: ((k, k, i, o), (o,)) for name, (k, i, o) in convs.items()}


def with_copies(layers):
    """Adds what the train net saves as well: twins, a repeated layer, the upsampling."""
    channels = layers["conv5_128"][0].shape[0]
    upsampling = np.broadcast_to(BILINEAR, (channels, 1, 4, 4)).astype(np.float32)
    twins = [
        (f"{name}_ohem".replace("7x7_ohem", "7x7"), blobs)
        for name, blobs in layers.items()
        if "@ssh" in name and "bbox" not in name
    ]
    return [*layers.items(), ("conv5_128_up", [upsampling]), *twins]


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
    return random_layers(ssh_shapes(), rng)


@pytest.fixture
def trunk(layers):
    return {name: layers[name] for name, keras in KERAS_NAMES.items() if keras[:5] == "block"}


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
def test_other_content_is_recognised_and_said_in_one_line(tmp_path, content, said):
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


# Matching with the network


def test_shapes_and_names_are_those_of_ssh():
    shapes = ssh_shapes(divisor=1)
    assert set(shapes) == set(KERAS_NAMES.values())
    count = sum(math.prod(kernel) + bias[0] for kernel, bias in shapes.values())
    assert count == 14_714_688 + FUSION_PARAMETERS + 335_244 + 2 * 2_218_764


def test_full_network_goes_to_every_keras_layer_in_hwio(layers):
    imported = to_keras(dict(with_copies(layers)), ssh_shapes())
    assert not imported.trunk_only
    assert imported.skipped == []
    assert set(imported.weights) == set(KERAS_NAMES.values())
    for caffe, keras in KERAS_NAMES.items():
        kernel, bias = imported.weights[keras]
        assert (kernel.shape, bias.shape) == ssh_shapes()[keras]
        np.testing.assert_array_equal(kernel, np.moveaxis(layers[caffe][0], (0, 1), (3, 2)))
        np.testing.assert_array_equal(bias, layers[caffe][1])


@pytest.mark.parametrize(
    ("caffe", "keras"),
    [
        ("conv1_1", "block1_conv1"),
        ("conv5_3", "block5_conv3"),
        ("conv4_fuse_final", "fuse_conv"),
        ("m1@ssh_dimred", "m1_context_reduce"),
        ("m2@ssh_7x7-1", "m2_context_7x7_1"),
        ("m2@ssh_7x7", "m2_context_7x7_2"),
        ("m3@ssh_cls_score", "m3_cls"),
        ("m3@ssh_bbox_pred", "m3_box"),
    ],
)
def test_caffe_name_means_keras_name(caffe, keras):
    assert KERAS_NAMES[caffe] == keras


def test_test_net_without_twins_and_upsampling_is_complete(layers):
    assert len(to_keras(layers, ssh_shapes()).weights) == len(KERAS_NAMES)


def test_imagenet_vgg16_gives_the_trunk_and_names_what_it_skips(tmp_path, trunk):
    path = tmp_path / "VGG16.caffemodel"
    fully = {name: [np.ones((3, 4), np.float32), np.ones(3, np.float32)] for name in ("fc6", "fc8")}
    write_caffemodel(path, {**trunk, **fully}.items(), legacy=True)
    imported = to_keras(read_caffemodel(path), ssh_shapes())
    assert imported.trunk_only
    assert imported.skipped == ["fc6", "fc8"]
    assert len(imported.weights) == 13
    np.testing.assert_array_equal(imported.weights["block3_conv2"][1], trunk["conv3_2"][1])


def test_weights_are_views_of_the_blobs(layers):
    imported = to_keras(layers, ssh_shapes())
    for caffe, keras in KERAS_NAMES.items():
        for blob, weight in zip(layers[caffe], imported.weights[keras], strict=True):
            assert np.shares_memory(blob, weight)


def test_all_misfits_are_listed_by_name_in_one_line(layers):
    del layers["conv4_128"], layers["m2@ssh_5x5"]
    layers["fc6"] = layers["conv5_4"] = [np.zeros(1, np.float32)]
    layers["m3@ssh_cls_score"][0] = np.zeros((2, 16, 1, 1), np.float32)
    layers["m1@ssh_3x3"] = layers["m1@ssh_3x3"][:1]
    with pytest.raises(UserError) as error:
        to_keras(layers, ssh_shapes())
    assert str(error.value) == (
        "The Caffe weights don't fit the network: missing: 'conv4_128', 'm2@ssh_5x5';"
        " left over: 'fc6', 'conv5_4'; misshapen:"
        " 'm1@ssh_3x3' (expected (8, 8, 3, 3) and (8,), received (8, 8, 3, 3)),"
        " 'm3@ssh_cls_score' (expected (4, 32, 1, 1) and (4,), received (2, 16, 1, 1) and (4,))."
        " Expected the layers of SSH, or the 13 convolutions of VGG16 alone."
        " Give SSH.caffemodel or VGG16.caffemodel."
    )


def test_trunk_of_another_vgg_is_refused(trunk):
    vgg19 = {**trunk, "conv3_4": trunk["conv3_3"]}
    with pytest.raises(UserError, match="left over: 'conv3_4'"):
        to_keras(vgg19, ssh_shapes())


def test_trunk_with_a_single_layer_of_ssh_is_refused(trunk, layers):
    partial = {**trunk, "m1@ssh_3x3_ohem": layers["m1@ssh_3x3"]}
    with pytest.raises(UserError, match=r"missing: 'conv5_128', .*'m3@ssh_bbox_pred'"):
        to_keras(partial, ssh_shapes())


def test_layer_that_only_the_keras_network_has_is_missing(layers):
    expected = {**ssh_shapes(), "m4_cls": ((1, 1, 8, 4), (4,))}
    with pytest.raises(UserError, match="missing: 'm4_cls'"):
        to_keras(layers, expected)


def test_twin_with_other_weights_is_refused(layers):
    kernel, bias = layers["m2@ssh_dimred"]
    layers["m2@ssh_dimred_ohem"] = [kernel, np.nextafter(bias, np.float32(9))]
    with pytest.raises(UserError, match=r"'m2@ssh_dimred_ohem' \(expected the weights of 'm2@ssh"):
        to_keras(layers, ssh_shapes())


@pytest.mark.parametrize(
    "kernel",
    [
        np.broadcast_to(BILINEAR, (8, 1, 4, 4)) + 2e-6,
        np.broadcast_to(BILINEAR, (8, 2, 4, 4)),
        np.broadcast_to(BILINEAR[:3, :3], (8, 1, 3, 3)),
    ],
)
def test_upsampling_that_is_not_bilinear_is_refused(layers, kernel):
    layers["conv5_128_up"] = [kernel.astype(np.float32)]
    with pytest.raises(UserError, match=r"'conv5_128_up' \(expected the bilinear kernel"):
        to_keras(layers, ssh_shapes())


def test_cut_file_never_passes_for_the_full_network(tmp_path, layers, rng):
    path = tmp_path / "a.caffemodel"
    write_caffemodel(path, layers.items())
    whole = path.read_bytes()
    for size in rng.integers(0, len(whole), 100):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError):
            to_keras(read_caffemodel(path), ssh_shapes())


# Memory

MEASURE = """
import re, sys
from pathlib import Path
import numpy as np
from ssh_tf.model.caffe import read_caffemodel, to_keras
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
path, expected = Path(sys.argv[1]), eval(sys.argv[2])
before = peak()
weights = to_keras(read_caffemodel(path), expected).weights
variables = {name: [np.array(a) for a in arrays] for name, arrays in weights.items()}
print((peak() - before) / path.stat().st_size)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to measure memory")
@pytest.mark.parametrize("legacy", [False, True])
def test_full_size_import_with_its_variables_takes_at_most_twice_the_file(tmp_path, rng, legacy):
    path, shapes = tmp_path / "SSH.caffemodel", ssh_shapes(divisor=1)
    write_caffemodel(path, with_copies(random_layers(shapes, rng)), legacy=legacy)
    command = [sys.executable, "-c", MEASURE, str(path), repr(shapes)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        path.unlink()
    assert 1.5 < float(run.stdout) <= 2
