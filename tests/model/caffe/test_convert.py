import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssh_tf.errors import UserError
from ssh_tf.model.caffe.caffemodel import read_caffemodel
from ssh_tf.model.caffe.convert import KERAS_NAMES, to_keras
from tests.support.caffe_writer import random_layers, write_caffemodel

FILE = Path("SSH.caffemodel")
FUSION_PARAMETERS = 65_664 + 65_664 + 147_584
BILINEAR = np.outer([0.25, 0.75, 0.75, 0.25], [0.25, 0.75, 0.75, 0.25])


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


@pytest.fixture
def layers(rng):
    return random_layers(ssh_shapes(), rng)


@pytest.fixture
def trunk(layers):
    return {name: layers[name] for name, keras in KERAS_NAMES.items() if keras[:5] == "block"}


def test_shapes_and_names_are_those_of_ssh():
    shapes = ssh_shapes(divisor=1)
    assert set(shapes) == set(KERAS_NAMES.values())
    count = sum(math.prod(kernel) + bias[0] for kernel, bias in shapes.values())
    assert count == 14_714_688 + FUSION_PARAMETERS + 335_244 + 2 * 2_218_764


def test_full_network_goes_to_every_keras_layer_in_hwio(layers):
    imported = to_keras(dict(with_copies(layers)), ssh_shapes(), FILE)
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
    assert len(to_keras(layers, ssh_shapes(), FILE).weights) == len(KERAS_NAMES)


def test_imagenet_vgg16_gives_the_trunk_and_names_what_it_skips(tmp_path, trunk):
    path = tmp_path / "VGG16.caffemodel"
    fully = {name: [np.ones((3, 4), np.float32), np.ones(3, np.float32)] for name in ("fc6", "fc8")}
    write_caffemodel(path, {**trunk, **fully}.items(), legacy=True)
    imported = to_keras(read_caffemodel(path), ssh_shapes(), path)
    assert imported.trunk_only
    assert imported.skipped == ["fc6", "fc8"]
    assert len(imported.weights) == 13
    np.testing.assert_array_equal(imported.weights["block3_conv2"][1], trunk["conv3_2"][1])


def test_weights_are_views_of_the_blobs(layers):
    imported = to_keras(layers, ssh_shapes(), FILE)
    for caffe, keras in KERAS_NAMES.items():
        for blob, weight in zip(layers[caffe], imported.weights[keras], strict=True):
            assert np.shares_memory(blob, weight)


def test_all_misfits_are_listed_by_name_in_one_line(layers):
    del layers["conv4_128"], layers["m2@ssh_5x5"]
    layers["fc6"] = layers["conv5_4"] = [np.zeros(1, np.float32)]
    layers["m3@ssh_cls_score"][0] = np.zeros((2, 16, 1, 1), np.float32)
    layers["m1@ssh_3x3"] = layers["m1@ssh_3x3"][:1]
    with pytest.raises(UserError) as error:
        to_keras(layers, ssh_shapes(), FILE)
    assert str(error.value) == (
        "SSH.caffemodel doesn't fit the network: missing: 'conv4_128', 'm2@ssh_5x5';"
        " left over: 'fc6', 'conv5_4'; misshapen:"
        " 'm1@ssh_3x3' (expected (8, 8, 3, 3) and (8,), received (8, 8, 3, 3)),"
        " 'm3@ssh_cls_score' (expected (4, 32, 1, 1) and (4,), received (2, 16, 1, 1) and (4,))."
        " Expected the layers of SSH, or the 13 convolutions of VGG16 alone."
        " Give SSH.caffemodel or VGG16.caffemodel."
    )


def test_trunk_of_another_vgg_is_refused(trunk):
    vgg19 = {**trunk, "conv3_4": trunk["conv3_3"]}
    with pytest.raises(UserError, match="left over: 'conv3_4'"):
        to_keras(vgg19, ssh_shapes(), FILE)


def test_trunk_with_a_single_layer_of_ssh_is_refused(trunk, layers):
    partial = {**trunk, "m1@ssh_3x3_ohem": layers["m1@ssh_3x3"]}
    with pytest.raises(UserError, match=r"missing: 'conv5_128', .*'m3@ssh_bbox_pred'"):
        to_keras(partial, ssh_shapes(), FILE)


def test_layer_that_only_the_keras_network_has_is_missing(layers):
    expected = {**ssh_shapes(), "m4_cls": ((1, 1, 8, 4), (4,))}
    with pytest.raises(UserError, match="missing: 'm4_cls'"):
        to_keras(layers, expected, FILE)


def test_twin_with_other_weights_is_refused(layers):
    kernel, bias = layers["m2@ssh_dimred"]
    layers["m2@ssh_dimred_ohem"] = [kernel, np.nextafter(bias, np.float32(9))]
    with pytest.raises(UserError, match=r"'m2@ssh_dimred_ohem' \(expected the weights of 'm2@ssh"):
        to_keras(layers, ssh_shapes(), FILE)


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
        to_keras(layers, ssh_shapes(), FILE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(layers, value):
    layers["conv3_2"][0][1, 2, 0, 1] = layers["m2@ssh_bbox_pred"][1][7] = value
    with pytest.raises(UserError, match="not finite: 'conv3_2', 'm2@ssh_bbox_pred'\\. Expected"):
        to_keras(layers, ssh_shapes(), FILE)


def test_skipped_layer_may_hold_anything(trunk):
    trunk["fc6"] = [np.full((3, 4), np.nan, np.float32)]
    assert to_keras(trunk, ssh_shapes(), FILE).skipped == ["fc6"]


def test_cut_file_never_passes_for_the_full_network(tmp_path, layers, rng):
    path = tmp_path / "a.caffemodel"
    write_caffemodel(path, layers.items())
    whole = path.read_bytes()
    for size in rng.integers(0, len(whole), 100):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError):
            to_keras(read_caffemodel(path), ssh_shapes(), path)


# Memory

MEASURE = """
import re, sys
from pathlib import Path
import numpy as np
from ssh_tf.model.caffe.convert import to_keras
from ssh_tf.model.caffe.caffemodel import read_caffemodel
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
path, expected = Path(sys.argv[1]), eval(sys.argv[2])
before = peak()
weights = to_keras(read_caffemodel(path), expected, path).weights
variables = {name: [np.array(a) for a in arrays] for name, arrays in weights.items()}
print((peak() - before) / path.stat().st_size)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to measure memory")
@pytest.mark.parametrize("legacy", [False, True])
def test_full_size_import_with_its_variables_takes_at_most_twice_the_file(tmp_path, rng, legacy):
    path, shapes = tmp_path / "SSH.caffemodel", ssh_shapes(divisor=1)
    write_caffemodel(path, with_copies(random_layers(shapes, rng)), legacy=legacy)
    command = [sys.executable, "-c", MEASURE, str(path), repr(shapes)]
    environment = {**os.environ, "KERAS_BACKEND": "numpy"}  # imported in a third of the time
    try:
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    finally:
        path.unlink()
    assert 1.5 < float(run.stdout) <= 2
