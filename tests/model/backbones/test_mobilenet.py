"""Tests of the MobileNet trunk: folding, padding, canvases, ImageNet weights."""

from pathlib import Path

import keras
import numpy as np
import pytest

from ssh_tf.config import ModelConfig
from ssh_tf.errors import UserError
from ssh_tf.geometry.anchors import grid_size
from ssh_tf.model.backbones import imagenet
from ssh_tf.model.backbones.mobilenet import BLOCKS
from ssh_tf.model.ssh import SSH
from ssh_tf.model.weights import build_network

WIDTH = 0.25
LIGHT = ModelConfig.model_validate(
    {
        "backbone": "mobilenet",
        "fuse_channels": 16,
        "weights": "random",
        "modules": [
            {"name": f"m{i}", "stride": s, "channels": 16, "anchor_scales": a, "allowed_border": 0}
            for i, s, a in ((1, 8, [1, 2]), (2, 16, [4, 8]), (3, 32, [16, 32]))
        ],
    }
)


@pytest.fixture(scope="module")
def network() -> SSH:
    """Random weights and biases; not to be changed."""
    built = build_network(LIGHT, seed=0)
    draw = np.random.default_rng(0)
    for variable in built.trainable_variables:
        if variable.path.endswith("bias"):
            variable.assign(draw.normal(0, 0.5, variable.shape))
    return built


def outputs(network: keras.Model, image: np.ndarray, canvas: tuple[int, int]) -> dict:
    pixels = np.full((1, *canvas, 3), 0.0, np.float32)
    pixels[0, : image.shape[0], : image.shape[1]] = image
    found = network({"images": pixels, "sizes": np.int32([image.shape[:2]])})
    return {name: np.asarray(value) for name, value in found.items()}


def image_of(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).uniform(0, 255, (height, width, 3)).astype(np.float32)


def cells(values: np.ndarray, stride: int, canvas: tuple[int, int], size: tuple[int, int]):
    """The rows of an image's own cells, of those of a canvas."""
    rows, columns = (int(grid_size(side, stride)) for side in canvas)
    grid = values.reshape(rows, columns, -1)
    return grid[: int(grid_size(size[0], stride)), : int(grid_size(size[1], stride))].ravel()


@pytest.mark.parametrize("size", [(64, 96), (61, 83), (33, 40), (1, 7)])
def test_result_does_not_depend_on_the_canvas(network: SSH, size: tuple[int, int]):
    image, canvas = image_of(*size), (size[0] + 37, size[1] + 51)
    alone = {name: np.asarray(v) for name, v in network.exact()(image[np.newaxis]).items()}
    padded = outputs(network, image, canvas)
    for module in LIGHT.modules:
        for kind in ("logits", "deltas"):
            name = f"{module.name}_{kind}"
            np.testing.assert_allclose(
                cells(padded[name], module.stride, canvas, size),
                alone[name].ravel(),
                rtol=1e-4,
                atol=1e-5,
            )


@pytest.mark.parametrize("side", [1, 31, 32, 33, 64])
def test_maps_have_the_size_of_the_anchor_grid(network: SSH, side: int):
    found = network.exact()(image_of(side, side)[np.newaxis])
    for module in LIGHT.modules:
        expected = int(grid_size(side, module.stride)) ** 2 * 2
        assert found[f"{module.name}_logits"].shape == (1, expected, 2)


def test_folded_convolution_equals_convolution_and_batch_norm(rng: np.random.Generator):
    x = rng.normal(size=(1, 9, 9, 4)).astype(np.float32)
    for conv in (keras.layers.Conv2D(5, 3, use_bias=False), keras.layers.DepthwiseConv2D(3)):
        norm = keras.layers.BatchNormalization(epsilon=0.01)
        norm(conv(x))
        norm.set_weights([rng.uniform(0.5, 2, w.shape) for w in norm.weights])
        expected = np.asarray(norm(conv(x)))
        kernel, bias = imagenet.fold(conv.get_weights()[0], *norm.get_weights(), epsilon=0.01)
        plain = type(conv)(*((5, 3) if isinstance(conv, keras.layers.Conv2D) else (3,)))
        plain.build(x.shape)
        plain.set_weights([kernel, bias])
        np.testing.assert_allclose(np.asarray(plain(x)), expected, rtol=1e-4, atol=1e-5)


def keras_mobilenet(side: int) -> keras.Model:
    """Random weights and statistics."""
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNet(
        (side, side, 3), alpha=WIDTH, include_top=False, weights=None
    )
    draw = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([draw.uniform(0.5, 1.5, w.shape) for w in layer.weights])
    return model


def test_keras_file_gives_keras_features(tmp_path: Path):
    """Keras' three layers of stride 2 before this tap see 1, 2 and 4 px further right and below."""
    source = keras_mobilenet(160)
    file = tmp_path / "mobilenet_2_5_224_tf_no_top.h5"
    source.save(file)  # the format that Keras hosts
    built = build_network(LIGHT.model_copy(update={"weights": str(file)}), seed=0)
    assert built.means == (127.5, 127.5, 127.5)
    pixels = image_of(160, 160)
    tapped = keras.Model(source.input, source.get_layer("conv_pw_5_relu").output)
    expected = np.asarray(tapped(pixels[np.newaxis] / 127.5 - 1.0))  # [1, 20, 20, 64]
    images = keras.Input((None, None, 3))
    taps = built.parts.backbone(built.parts.preprocess(images), lambda x, stride: x)
    received = np.asarray(keras.Model(images, taps[8])(pixels[np.newaxis, 7:, 7:]))
    inner = (0, slice(4, 15), slice(4, 15))  # 43 px are seen: away from the borders
    np.testing.assert_allclose(received[inner], expected[inner], rtol=1e-3, atol=1e-3)


def torch_arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Arrays by PyTorch's names, of random values."""
    arrays = {}

    def add(conv: str, norm: str, shape: tuple[int, ...]) -> None:
        arrays[f"{conv}.weight"] = rng.normal(0, 0.1, shape).astype(np.float32)
        for name in ("weight", "bias", "running_mean", "running_var"):
            arrays[f"{norm}.{name}"] = rng.uniform(0.5, 1.5, shape[0]).astype(np.float32)

    add("stage1.0.0", "stage1.0.1", (8, 3, 3, 3))
    places = [f"stage1.{i}" for i in range(1, 6)] + [f"stage2.{i}" for i in range(6)]
    channels = 8
    for place, (filters, _) in zip([*places, "stage3.0", "stage3.1"], BLOCKS, strict=True):
        add(f"{place}.0", f"{place}.1", (channels, 1, 3, 3))
        add(f"{place}.3", f"{place}.4", (int(filters * WIDTH), channels, 1, 1))
        channels = int(filters * WIDTH)
    return arrays


def test_first_two_layers_of_a_torch_archive_by_hand(tmp_path: Path, rng: np.random.Generator):
    arrays = torch_arrays(rng)
    np.savez(tmp_path / "trunk.npz", **arrays)
    config = LIGHT.model_copy(update={"weights": str(tmp_path / "trunk.npz")})
    built = build_network(config, seed=0)
    image = image_of(6, 6)
    # PyTorch: normalized RGB, one zero around, stride 2, batch norm; cell (1, 1) sees px 1 to 3.
    mean, deviation = np.array(imagenet.TORCH_MEANS), np.array(imagenet.TORCH_DEVIATIONS)
    patch = ((image - mean[::-1]) / deviation[::-1])[1:4, 1:4]  # [3, 3, RGB]
    value = np.einsum("hwi,oihw->o", patch, arrays["stage1.0.0.weight"])
    norm = [arrays[f"stage1.0.1.{n}"] for n in ("weight", "bias", "running_mean", "running_var")]
    value = norm[0] * (value - norm[2]) / np.sqrt(norm[3] + 1e-5) + norm[1]
    conv1 = built.get_layer("conv1")
    pixels = image[..., ::-1] - mean  # BGR
    received = np.einsum("hwi,hwio->o", pixels[1:4, 1:4], conv1.get_weights()[0])
    np.testing.assert_allclose(received + conv1.get_weights()[1], value, rtol=1e-4, atol=1e-4)
    kernel, _ = built.get_layer("conv_dw_1").get_weights()
    norm = [arrays[f"stage1.1.1.{n}"] for n in ("weight", "running_var")]
    expected = arrays["stage1.1.0.weight"][3, 0, 2, 1] * norm[0][3] / np.sqrt(norm[1][3] + 1e-5)
    assert kernel[2, 1, 3, 0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["cut.npz", "absent.h5", "other.h5"])
def test_weights_that_do_not_fit_are_one_line(tmp_path: Path, name: str):
    if name == "cut.npz":
        np.savez(tmp_path / name, **{"stage1.0.0.weight": np.zeros((8, 3, 3, 3))})
    if name == "other.h5":
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / name)
    config = LIGHT.model_copy(update={"weights": str(tmp_path / name)})
    with pytest.raises(UserError, match=name):
        build_network(config, seed=0)
