"""Tests of the network: its parameters, names, wiring and independence of the canvas."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from ssh_tf.config import M1, M2, M3, ModelConfig, ModuleConfig
from ssh_tf.geometry.anchors import grid_size
from ssh_tf.model.caffe.convert import KERAS_NAMES
from ssh_tf.model.ssh import SSH
from tests.support import oracle
from tests.support.small import small_network

HEADS = [f"m{m}_{kind}" for m in (1, 2, 3) for kind in ("logits", "deltas")]


def numpy(values: object) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(values))


def random_image(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return rng.uniform(0, 255, (height, width, 3)).astype(np.float32)


def run(network: keras.Model, *images: np.ndarray, canvas: tuple[int, int]) -> dict:
    """Runs images of any sizes together on a canvas of zeros."""
    pixels = np.zeros((len(images), *canvas, 3), np.float32)
    for row, image in enumerate(images):
        pixels[row, : image.shape[0], : image.shape[1]] = image
    sizes = np.int32([image.shape[:2] for image in images])
    outputs = network({"images": pixels, "sizes": sizes})
    return {name: numpy(values) for name, values in outputs.items()}


def assert_close(received: dict, expected: dict):
    """float32 sums of thousands of products, in any order: 1e-5 of values of order 1 to 10."""
    assert received.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(received[name], values, rtol=1e-5, atol=5e-5, err_msg=name)


@pytest.fixture(scope="module")
def network() -> SSH:
    """Random weights; not to be changed."""
    return small_network()


# Parameters and names


def module_shapes(name: str, inputs: int, width: int) -> dict[str, tuple[int, int, int]]:
    half = width // 2
    return {
        f"{name}_conv3x3": (3, inputs, width),
        f"{name}_context_reduce": (3, inputs, half),
        f"{name}_context_5x5": (3, half, half),
        f"{name}_context_7x7_1": (3, half, half),
        f"{name}_context_7x7_2": (3, half, half),
        f"{name}_cls": (1, 2 * width, 4),
        f"{name}_box": (1, 2 * width, 8),
    }


# Kernel side, inputs, outputs of every layer with trained weights: the checkpoints' contract.
CONVOLUTIONS = {
    "block1_conv1": (3, 3, 64),
    "block1_conv2": (3, 64, 64),
    "block2_conv1": (3, 64, 128),
    "block2_conv2": (3, 128, 128),
    "block3_conv1": (3, 128, 256),
    "block3_conv2": (3, 256, 256),
    "block3_conv3": (3, 256, 256),
    "block4_conv1": (3, 256, 512),
    "block4_conv2": (3, 512, 512),
    "block4_conv3": (3, 512, 512),
    "block5_conv1": (3, 512, 512),
    "block5_conv2": (3, 512, 512),
    "block5_conv3": (3, 512, 512),
    "fuse_conv4_reduce": (1, 512, 128),
    "fuse_conv5_reduce": (1, 512, 128),
    "fuse_conv": (3, 128, 128),
    **module_shapes("m1", 128, 128),
    **module_shapes("m2", 512, 256),
    **module_shapes("m3", 512, 256),
}


def test_names_and_shapes_of_all_weights_are_pinned(network: SSH):
    expected = {"fuse_conv5_upsample/kernel": (2, 2, 128, 4)}
    for name, (side, inputs, outputs) in CONVOLUTIONS.items():
        expected[f"{name}/kernel"] = (side, side, inputs, outputs)
        expected[f"{name}/bias"] = (outputs,)
    assert {weight.path: tuple(weight.shape) for weight in network.weights} == expected


def test_every_layer_has_its_caffe_name():
    assert set(CONVOLUTIONS) == set(KERAS_NAMES.values())


def test_19768420_parameters(network: SSH):
    assert network.count_params() == 19_768_420


@pytest.mark.parametrize(
    ("prefix", "count"),
    # Facts 1.6. Fusion: 2 x 65,664 reductions, 147,584 convolution, 2,048 fixed.
    [
        ("block", 14_714_688),
        ("fuse", 280_960),
        ("m1", 335_244),
        ("m2", 2_218_764),
        ("m3", 2_218_764),
    ],
)
def test_parameters_of_each_part(network: SSH, prefix: str, count: int):
    layers = [layer for layer in network.layers if layer.name.startswith(prefix)]
    assert sum(layer.count_params() for layer in layers) == count


def test_19506212_parameters_are_trained(network: SSH):
    frozen = ("block1_", "block2_")
    trained = [w for w in network.trainable_variables if not w.path.startswith(frozen)]
    assert sum(int(np.prod(weight.shape)) for weight in trained) == 19_506_212


def test_new_layers_start_as_the_official_ones():
    network = SSH(ModelConfig(modules=(M1,)))
    for layer in network.layers:
        if layer.name.startswith(("fuse_conv4", "fuse_conv5_reduce", "m1_conv", "m1_cls")):
            kernel, bias = layer.get_weights()
            assert not bias.any()
            # Deviation 0.01 within four standard errors.
            assert abs(kernel.std() / 0.01 - 1) < 4 / np.sqrt(2 * kernel.size)


# Outputs


@pytest.mark.parametrize("size", [(64, 96), (97, 131), (33, 50), (1, 1), (5, 40)])
def test_outputs_have_one_row_per_anchor(network: SSH, size: tuple[int, int]):
    outputs = run(network, np.zeros((*size, 3), np.float32), canvas=size)
    assert sorted(outputs) == sorted(HEADS)
    for module in network.config.modules:
        cells = grid_size(size[0], module.stride) * grid_size(size[1], module.stride)
        assert outputs[f"{module.name}_logits"].shape == (1, 2 * cells, 2)
        assert outputs[f"{module.name}_deltas"].shape == (1, 2 * cells, 4)


def test_rows_are_cells_then_anchors_and_channels_class_major():
    """Biases tell which channel ends where: Caffe's order is bg a0, bg a1, face a0, face a1."""
    network = SSH(ModelConfig(modules=(M3,), context=False))
    for kind in ("cls", "box"):
        layer = network.get_layer(f"m3_{kind}")
        kernel, bias = layer.get_weights()
        layer.set_weights([np.zeros_like(kernel), np.arange(bias.size, dtype=np.float32)])
    outputs = run(network, np.zeros((32, 64, 3), np.float32), canvas=(32, 64))
    assert outputs["m3_logits"][0].tolist() == [[0, 2], [1, 3]] * 2
    assert outputs["m3_deltas"][0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]] * 2


@pytest.mark.parametrize("size", [(33, 50), (17, 90)])
def test_outputs_agree_with_the_oracle(
    network: SSH, size: tuple[int, int], rng: np.random.Generator
):
    image = random_image(rng, *size)
    weights = {layer.name: layer.get_weights() for layer in network.layers}
    expected = oracle.forward(image[..., ::-1] - np.array(network.means), weights)
    outputs = run(network, image, canvas=size)
    for name in ("m1", "m2", "m3"):
        cells = expected[f"{name}_cls"].reshape(-1, 2, 2)  # class, anchor
        logits = cells.transpose(0, 2, 1).reshape(1, -1, 2)
        np.testing.assert_allclose(outputs[f"{name}_logits"], logits, rtol=1e-4, atol=1e-4)
        deltas = expected[f"{name}_box"].reshape(1, -1, 4)
        np.testing.assert_allclose(outputs[f"{name}_deltas"], deltas, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(64, 96), (97, 131)])
def test_exact_model_gives_the_same_outputs(
    network: SSH, size: tuple[int, int], rng: np.random.Generator
):
    image = random_image(rng, *size)
    exact = {name: numpy(values) for name, values in network.exact()(image[np.newaxis]).items()}
    assert_close(exact, run(network, image, canvas=size))


def test_narrow_image_gives_finite_outputs(network: SSH, rng: np.random.Generator):
    outputs = run(network, random_image(rng, 16, 1000), canvas=(16, 1000))
    assert all(np.isfinite(values).all() for values in outputs.values())


# The canvas


def cut(outputs: dict, row: int, canvas: tuple[int, int], size: tuple[int, int]) -> dict:
    """Takes the cells of one image from the outputs of a canvas."""
    parts = {}
    for name, values in outputs.items():
        stride = {"m1": 8, "m2": 16, "m3": 32}[name[:2]]
        cells = values[row].reshape(
            grid_size(canvas[0], stride), grid_size(canvas[1], stride), 2, -1
        )
        own = cells[: grid_size(size[0], stride), : grid_size(size[1], stride)]
        parts[name] = own.reshape(1, -1, values.shape[-1])
    return parts


def test_outputs_do_not_depend_on_the_canvas(network: SSH, rng: np.random.Generator):
    images = [random_image(rng, *size) for size in [(97, 131), (33, 75), (9, 50), (1, 1)]]
    canvas = (113, 150)
    joined = run(network, *images, canvas=canvas)
    for row, image in enumerate(images):
        size = image.shape[:2]
        assert_close(cut(joined, row, canvas, size), run(network, image, canvas=size))


def test_what_lies_in_the_padding_changes_nothing(network: SSH, rng: np.random.Generator):
    canvas = np.full((1, 80, 96, 3), 200, np.float32)
    canvas[0, :41, :57] = image = random_image(rng, 41, 57)
    outputs = network({"images": canvas, "sizes": np.int32([[41, 57]])})
    outputs = {name: numpy(values) for name, values in outputs.items()}
    found = cut(outputs, 0, (80, 96), (41, 57))
    assert_close(found, run(network, image, canvas=(41, 57)))


# Variants


@pytest.mark.parametrize(
    ("config", "absent"),
    [
        (ModelConfig(context=False), {"m1_context_reduce", "m3_context_7x7_2"}),
        (ModelConfig(fusion=False), {"fuse_conv5_reduce", "fuse_conv5_upsample"}),
        (ModelConfig(modules=(M2, M3)), {"fuse_conv", "m1_cls"}),
    ],
    ids=["context", "fusion", "modules"],
)
def test_variant_has_none_of_the_left_out_layers(config: ModelConfig, absent: set[str]):
    network = SSH(config)
    names = {layer.name for layer in network.layers}
    assert not absent & names
    outputs = run(network, np.zeros((64, 96, 3), np.float32), canvas=(64, 96))
    assert len(outputs) == 2 * len(config.modules)


def test_network_comes_back_from_its_config():
    module = ModuleConfig(
        name="far", stride=16, channels=6, anchor_scales=(3, 5, 7.5), allowed_border=9
    )
    config = ModelConfig(modules=(M1, module), fusion=False, context=False, weights="random")
    network = SSH(config, means=(1.5, 2.5, 3.5), name="other")
    revived = SSH.from_config(network.get_config())
    assert (revived.config, revived.means, revived.name) == (config, (1.5, 2.5, 3.5), "other")
    assert revived.get_layer("preprocess").means == (1.5, 2.5, 3.5)
    shapes = [{w.path: w.shape for w in model.weights} for model in (network, revived)]
    assert shapes[0] == shapes[1]
    assert network.get_layer("far_cls").filters == 6


def test_saved_network_gives_equal_outputs(network: SSH, tmp_path: Path, rng: np.random.Generator):
    path = tmp_path / "model.keras"
    network.save(path)
    revived = keras.saving.load_model(path)
    path.unlink()
    assert isinstance(revived, SSH)
    assert (revived.config, revived.means) == (network.config, network.means)
    image = random_image(rng, 50, 70)
    for name, values in run(network, image, canvas=(50, 70)).items():
        np.testing.assert_array_equal(run(revived, image, canvas=(50, 70))[name], values)
