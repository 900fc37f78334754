"""Tests of the origins of weights: files, ImageNet, chance."""

import json
import logging
import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from ssh_tf.config import M2, ModelConfig
from ssh_tf.errors import UserError
from ssh_tf.model.backbones.vgg16 import KERAS_MEANS
from ssh_tf.model.caffe.convert import CAFFE_MEANS, KERAS_NAMES
from ssh_tf.model.ssh import SSH
from ssh_tf.model.weights import build_network, initialize, load_network, save_network
from tests.support.caffe_writer import random_layers, write_caffemodel
from tests.support.small import narrow_network

Layers = dict[str, list[np.ndarray]]


def convolutions(network: keras.Model) -> dict[str, list[np.ndarray]]:
    """Layer name -> kernel and bias."""
    return {
        layer.name: layer.get_weights()
        for layer in network.layers
        if isinstance(layer, keras.layers.Conv2D)
    }


def in_trunk(name: str) -> bool:
    return name.startswith("block")


def assert_equal(received: dict[str, list[np.ndarray]], expected: dict[str, list[np.ndarray]]):
    assert received.keys() == expected.keys()
    for name, arrays in expected.items():
        for ours, theirs in zip(received[name], arrays, strict=True):
            np.testing.assert_array_equal(ours, theirs, name)


@pytest.fixture(scope="module")
def network() -> SSH:
    return SSH(ModelConfig())


@pytest.fixture(scope="module")
def layers(network: SSH) -> Layers:
    """Caffe's layers of the full network."""
    shapes = {name: (k.shape, b.shape) for name, (k, b) in convolutions(network).items()}
    return random_layers(shapes, np.random.default_rng(0))


@pytest.fixture(scope="module")
def caffemodel(layers: Layers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("caffe") / "SSH.caffemodel"
    write_caffemodel(path, layers.items())
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def trunk_only(layers: Layers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An ImageNet network: VGG16's convolutions and a fully connected layer."""
    path = tmp_path_factory.mktemp("caffe") / "VGG16.caffemodel"
    trunk = {name: arrays for name, arrays in layers.items() if in_trunk(KERAS_NAMES[name])}
    trunk["fc6"] = [np.ones((3, 4), np.float32), np.ones(3, np.float32)]
    write_caffemodel(path, trunk.items(), legacy=True)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the narrow network."""
    path = tmp_path_factory.mktemp("keras") / "model.keras"
    narrow_network().save(path)
    return path


def as_keras(layers: Layers) -> dict[str, list[np.ndarray]]:
    return {KERAS_NAMES[name]: [k.transpose(2, 3, 1, 0), b] for name, (k, b) in layers.items()}


# Caffe files


def test_caffe_detector_is_loaded_with_its_means(caffemodel: Path, layers: Layers):
    detector = load_network(caffemodel)
    assert detector.means == CAFFE_MEANS
    assert_equal(convolutions(detector), as_keras(layers))


def test_caffe_trunk_is_no_detector(trunk_only: Path):
    with pytest.raises(UserError) as error:
        load_network(trunk_only)
    assert str(error.value) == (
        f"{trunk_only} holds VGG-16's convolutions alone and no detection modules. Expected a whole"
        " detector. To train one from this file, name it as model.weights."
    )


def test_training_from_a_caffe_trunk_draws_new_layers_by_the_official_filler(
    trunk_only: Path, layers: Layers
):
    network = build_network(ModelConfig(weights=str(trunk_only)), seed=1)
    assert network.means == CAFFE_MEANS
    weights, expected = convolutions(network), as_keras(layers)
    trunk = [name for name in weights if in_trunk(name)]
    assert_equal({n: weights[n] for n in trunk}, {n: expected[n] for n in trunk})
    for name in weights.keys() - set(trunk):
        kernel, bias = weights[name]
        # The smallest kernel has 1024 weights: their deviation is within 2.2 % in 2 of 3 draws.
        assert kernel.std() == pytest.approx(0.01, rel=0.1)
        assert abs(kernel.mean()) < 0.002
        assert not bias.any()


def test_training_from_a_caffe_trunk_says_what_was_skipped(
    trunk_only: Path, caplog: pytest.LogCaptureFixture
):
    config = ModelConfig(weights=str(trunk_only), modules=(M2,))
    with caplog.at_level(logging.INFO, logger="ssh_tf"):
        build_network(config, seed=1)
    assert "VGG16.caffemodel: VGG-16 trunk alone, its other layers skipped: fc6" in caplog.text


def test_new_layers_depend_on_the_seed_alone(trunk_only: Path):
    config = ModelConfig(weights=str(trunk_only), modules=(M2,))
    first, same, other = (convolutions(build_network(config, seed=seed)) for seed in (1, 1, 2))
    assert_equal(same, first)
    assert (other["m2_conv3x3"][0] != first["m2_conv3x3"][0]).mean() > 0.99


def test_caffe_file_of_another_network_is_named(tmp_path: Path):
    path = tmp_path / "lenet.caffemodel"
    write_caffemodel(path, [("conv1", [np.ones((2, 1, 5, 5), np.float32)])])
    with pytest.raises(UserError, match=r"lenet\.caffemodel doesn't fit the network: missing: 'co"):
        load_network(path)


# Files and folders of Keras


def test_keras_file_gives_the_same_network(saved: Path):
    network = narrow_network()
    loaded = load_network(saved)
    assert (loaded.config, loaded.means) == (network.config, network.means)
    assert_equal(convolutions(loaded), convolutions(network))


@pytest.mark.parametrize("name", ["absent", "absent.keras", "absent.caffemodel"])
def test_missing_model_is_named(tmp_path: Path, name: str):
    with pytest.raises(UserError, match=f"{name} does not exist. Expected a .keras"):
        load_network(tmp_path / name)


def test_missing_weights_are_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"absent\.keras does not exist\. Expected a \.keras"):
        build_network(ModelConfig(weights=str(tmp_path / "absent.keras")), seed=0)


@pytest.mark.parametrize("kept", [0, 1000, -10])
def test_truncated_keras_file_is_named_in_one_line(saved: Path, tmp_path: Path, kept: int):
    path = tmp_path / "x.keras"
    path.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"x\.keras is not a \.keras file of ssh_tf") as error:
        load_network(path)
    path.unlink()
    assert "\n" not in str(error.value)


def test_text_file_named_keras_is_an_error(tmp_path: Path):
    path = tmp_path / "x.keras"
    path.write_text("Quota exceeded")
    with pytest.raises(UserError, match=r"x\.keras is not a \.keras file of ssh_tf"):
        load_network(path)


def test_keras_file_of_another_model_is_an_error(tmp_path: Path):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "x.keras")
    with pytest.raises(UserError, match=r"x\.keras holds a Sequential, not an SSH network"):
        load_network(tmp_path / "x.keras")


def rewritten(saved: Path, target: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Another description than that of a `.keras` file, and nothing else of it."""
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(target, "w") as new:
        new.writestr("config.json", json.dumps(change(json.loads(old.read("config.json")))))
    return target


def with_value(*keys: Any, value: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(config: dict[str, Any]) -> dict[str, Any]:
        inner = config
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        return config

    return change


MODULE = {"class_name": "TorchModuleWrapper", "config": {"module": {}}}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (with_value("config", "config", "modules", 0, "channels", value=10**6), "equal to 1024"),
        (with_value("config", "config", "fuse_channels", value=10**6), "equal to 1024"),
        (with_value("config", "config", "layers", value=3), "unknown key"),
        (with_value("config", "config", value=MODULE), "unknown key"),
        (with_value("config", "means", value=[1, 2, math.nan]), "three finite pixel means"),
        (with_value("config", "means", value=[1, 2]), "three finite pixel means"),
        (with_value("config", "means", value="abc"), "is not a .keras file"),
        (with_value("config", value=[]), "is not a .keras file"),
        (lambda config: MODULE, "holds a TorchModuleWrapper, not an SSH network"),
        (lambda config: [config], "is not a .keras file"),
        (lambda config: "x" * 1_000_001, "its config.json is too large"),
    ],
)
def test_a_keras_file_with_a_hostile_description_is_refused_before_its_weights_are_read(
    saved: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any], says: str
):
    file = rewritten(saved, tmp_path / "x.keras", change)
    with pytest.raises(UserError, match=r"x\.keras") as error:
        load_network(file)
    file.unlink()
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, suffix: str):
    config = ModelConfig(backbone="mobilenet", fuse_channels=8, modules=(M2,))
    broken = SSH(config)
    kernel = broken.get_layer("m2_cls").kernel
    kernel.assign(np.full(kernel.shape, np.nan, np.float32))
    save_network(broken, tmp_path / f"x{suffix}")
    with pytest.raises(UserError, match=r"weight .*m2_cls/kernel is not finite"):
        load_network(tmp_path / f"x{suffix}")


def test_keras_file_with_other_modules_is_an_error(saved: Path):
    narrow = narrow_network().config
    change = {"weights": str(saved), "modules": narrow.modules[1:2]}
    config = narrow.model_copy(update=change)
    with pytest.raises(UserError, match=r"another architecture: it also has conv_dw_12/bias"):
        build_network(config, seed=0)


def test_fine_tuning_may_change_what_is_no_weight(saved: Path):
    narrow = narrow_network().config
    first, second, third = narrow.modules
    border = second.model_copy(update={"allowed_border": 64})
    config = narrow.model_copy(update={"weights": str(saved), "modules": (first, border, third)})
    weights = load_network(saved).get_weights()
    for ours, theirs in zip(build_network(config, seed=0).get_weights(), weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_file_keeps_architecture_and_preprocessing(tmp_path: Path):
    network = narrow_network()
    save_network(network, tmp_path / "x.weights.h5")
    loaded = load_network(tmp_path / "x.weights.h5")
    assert (loaded.config, loaded.means) == (network.config, network.means)
    for ours, theirs in zip(loaded.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_file_without_preprocessing_is_an_error(tmp_path: Path):
    network = narrow_network()
    network.save_weights(tmp_path / "x.weights.h5")
    with pytest.raises(UserError, match="does not say what network and preprocessing"):
        load_network(tmp_path / "x.weights.h5")


def test_cut_weights_file_is_an_error(tmp_path: Path):
    network = narrow_network()
    path = tmp_path / "x.weights.h5"
    save_network(network, path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(UserError, match=r"is not a whole \.weights\.h5 file"):
        load_network(path)


def test_another_suffix_is_refused_before_anything_is_written(tmp_path: Path):
    network = narrow_network()
    with pytest.raises(UserError, match="must end in"):
        save_network(network, tmp_path / "x.pb")
    assert list(tmp_path.iterdir()) == []


# Chance and ImageNet


def test_he_initialization_has_the_deviation_of_each_layer(network: SSH):
    initialize(network, 5)
    for name, (kernel, bias) in convolutions(network).items():
        expected = math.sqrt(2 / math.prod(kernel.shape[:3]))
        if name == "block1_conv1":
            expected /= 64  # Pixels deviate by about 64 gray levels, later maps by about 1.
        elif name.endswith(("_cls", "_box")):
            expected = 0.01
        assert kernel.std() == pytest.approx(expected, rel=0.1), name
        assert abs(kernel.mean()) < 0.15 * expected, name
        assert not bias.any(), name


def test_random_weights_are_he_and_depend_on_the_seed_alone(network: SSH):
    initialize(network, 5)
    drawn = convolutions(network)
    built = build_network(ModelConfig(weights="random"), seed=5)
    assert built.means == KERAS_MEANS
    assert_equal(convolutions(built), drawn)
    initialize(network, 6)
    assert (convolutions(network)["m1_conv3x3"][0] != drawn["m1_conv3x3"][0]).mean() > 0.99


def test_he_initialization_draws_layers_of_one_shape_apart(network: SSH):
    initialize(network, 5)
    weights = convolutions(network)
    assert (weights["m1_context_7x7_1"][0] != weights["m1_context_7x7_2"][0]).mean() > 0.99


def replace_imagenet(monkeypatch: pytest.MonkeyPatch, answer: keras.Model | Exception) -> None:
    """Makes the download of ImageNet weights give a model or fail."""
    original = keras.applications.VGG16

    def vgg16(*, weights: str | None, **kwargs):
        if weights != "imagenet":
            return original(weights=weights, **kwargs)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(keras.applications, "VGG16", vgg16)


def test_imagenet_weights_fill_the_trunk(monkeypatch: pytest.MonkeyPatch):
    source = keras.applications.VGG16(include_top=False, weights=None)
    replace_imagenet(monkeypatch, source)
    built = build_network(ModelConfig(modules=(M2,)), seed=7)
    assert built.means == KERAS_MEANS
    trunk = {name: arrays for name, arrays in convolutions(built).items() if in_trunk(name)}
    assert_equal(trunk, convolutions(source))


def test_failing_download_stops_the_run(monkeypatch: pytest.MonkeyPatch):
    replace_imagenet(monkeypatch, Exception("URL fetch failure: no route to host"))
    with pytest.raises(UserError, match=r"no route to host.*model.weights to a downloaded file"):
        build_network(ModelConfig(), seed=7)
