"""Where a network's weights come from: ImageNet, chance, or a file."""

import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from ssh_tf.config import ModelConfig, validate
from ssh_tf.errors import UserError
from ssh_tf.files import atomic_path, existing_file
from ssh_tf.model.backbones.imagenet import trunk_means, trunk_weights
from ssh_tf.model.caffe.caffemodel import read_caffemodel
from ssh_tf.model.caffe.convert import CAFFE_MEANS, CaffeImport, to_keras
from ssh_tf.model.ssh import SSH

_LOG = logging.getLogger(__name__)

_H5 = ".weights.h5"
# Attribute of such a file: the architecture and the means, as `SSH.get_config` gives them.
_H5_CONFIG = "ssh_tf"

_KERAS_CONFIG = "config.json"
_MOST_CONFIG_BYTES = 1_000_000

# Typical deviation of pixels from the mean, in gray levels: what the first convolution is scaled by
# when it starts from random weights, so that activations are of order 1 in every layer.
PIXEL_DEVIATION = 64.0


def build_network(config: ModelConfig, *, seed: int) -> SSH:
    """Builds the network with the weights that `config.weights` names.

    Args:
        config: The architecture and the origin of the weights.
        seed: Of everything random.

    Returns:
        The network. Its first layer subtracts the means that belong to the weights.

    Raises:
        UserError: If a weights file is not usable.
    """
    keras.utils.set_random_seed(seed)
    network = SSH(config, means_for(config))
    if config.backbone != "vgg16" or config.weights == "random":
        # The official filler, of deviation 0.01, is for maps of 512 channels: in narrower modules
        # the signal would die out.
        initialize(network, seed)
    if is_trunk(config.weights):
        for name, weights in trunk_weights(config, config.weights).items():
            _set_weights(network, name, weights, config.weights)
    elif config.weights != "random":
        load_weights(network, Path(config.weights))
    return network


def is_trunk(weights: str) -> bool:
    """Whether weights of this origin are of a trunk alone, trained on ImageNet."""
    file_of_trunk = weights.endswith((".h5", ".npz")) and not weights.endswith(_H5)
    return weights == "imagenet" or file_of_trunk


def means_for(config: ModelConfig) -> tuple[float, ...]:
    """Returns the pixel means that belong to the weights of the origin `config.weights`.

    Raises:
        UserError: If they are in a file that can't be read.
    """
    if config.weights == "random" or is_trunk(config.weights):
        return trunk_means(config, config.weights)
    is_caffe = config.weights.endswith(".caffemodel")
    return CAFFE_MEANS if is_caffe else load_network(config.weights).means


def _set_weights(network: SSH, name: str, weights: tuple[np.ndarray, ...], origin: str) -> None:
    """Fills one layer.

    Raises:
        UserError: If its weights have other shapes.
    """
    layer = network.get_layer(name)
    shapes = [tuple(variable.shape) for variable in layer.weights]
    if shapes != [each.shape for each in weights]:
        raise UserError(
            f"{origin} is of another network: its {name} has shapes "
            f"{[each.shape for each in weights]}, expected {shapes}."
        )
    layer.set_weights(weights)


def initialize(network: SSH, seed: int) -> None:
    """Draws every weight anew: He normal kernels, zero biases, gaussian 0.01 for the outputs.

    Args:
        network: Changed in place.
        seed: Of the draw; each layer has its own stream.
    """
    for index, layer in enumerate(network.layers):
        if not isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            continue
        shape = layer.kernel.shape
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        inputs = np.prod(shape[:2]) if depthwise else np.prod(shape[:3])
        deviation = np.sqrt(2.0 / inputs)
        if layer.name in ("block1_conv1", "conv1"):
            deviation /= PIXEL_DEVIATION
        elif layer.name.endswith(("_cls", "_box")):
            deviation = 0.01
        draw = np.random.default_rng([seed, index]).standard_normal(shape, dtype=np.float32)
        layer.kernel.assign(draw * np.float32(deviation))
        layer.bias.assign(np.zeros(layer.bias.shape, np.float32))


def load_network(path: str | Path) -> SSH:
    """Loads a network with its architecture and preprocessing.

    Args:
        path: A `.keras`, `.weights.h5` or `.caffemodel` file.

    Returns:
        The network.

    Raises:
        UserError: If `path` is none of these, can't be read, or is a `.caffemodel` of VGG-16 alone.
    """
    file = existing_file(path, "a .keras, .weights.h5 or .caffemodel file")
    if file.suffix == ".caffemodel":
        network = SSH(ModelConfig(), CAFFE_MEANS)
        if _load_caffe(network, file).trunk_only:
            raise UserError(
                f"{file} holds VGG-16's convolutions alone and no detection modules. Expected a "
                "whole detector. To train one from this file, name it as model.weights."
            )
        return network
    return _load_h5(file) if file.name.endswith(_H5) else _load_keras(file)


def load_weights(network: SSH, path: Path) -> None:
    """Fills a network from a file, as far as the file goes.

    Args:
        network: Changed in place. Its means must be those of the file's origin.
        path: A `.caffemodel` (all of SSH, or the VGG-16 trunk alone), `.keras` or `.weights.h5`
            file.

    Raises:
        UserError: If the file can't be read or does not fit the network.
    """
    file = existing_file(path, "a .keras, .weights.h5 or .caffemodel file")
    if file.suffix != ".caffemodel":
        _copy(load_network(file), network, file)
        return
    imported = _load_caffe(network, file)
    if imported.trunk_only:
        skipped = ", ".join(imported.skipped) or "none"
        _LOG.info("%s: VGG-16 trunk alone, its other layers skipped: %s", file, skipped)


def _load_caffe(network: SSH, file: Path) -> CaffeImport:
    """Fills a network from a `.caffemodel`, as far as the file goes."""
    layers = {
        layer.name: layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)
    }
    shapes = {name: (tuple(a.kernel.shape), tuple(a.bias.shape)) for name, a in layers.items()}
    imported = to_keras(read_caffemodel(file), shapes, file)
    for name, (kernel, bias) in imported.weights.items():
        layers[name].set_weights([kernel, bias])
    return imported


def save_network(network: SSH, path: str | Path, *, float16: bool = False) -> None:
    """Writes a network with its architecture and preprocessing, whole or not at all.

    Args:
        network: What to write.
        path: A `.keras` or a `.weights.h5` file; its folder must exist.
        float16: Whether a `.weights.h5` file holds half precision, compressed: half the size.

    Raises:
        UserError: For another suffix, or a `.keras` file in half precision.
    """
    path = Path(path)
    if not path.name.endswith((".keras", _H5)):
        raise UserError(f"{path} must end in .keras or {_H5}.")
    if float16 and path.suffix == ".keras":
        raise UserError(f"{path} must end in {_H5}: a .keras file has no half precision.")
    with atomic_path(path) as temporary:
        if path.suffix == ".keras":
            network.save(temporary)
            return
        network.save_weights(temporary)
        if float16:
            _halve(temporary)
        with h5py.File(temporary, "a") as file:
            file.attrs[_H5_CONFIG] = json.dumps(network.get_config())


def _halve(path: Path) -> None:
    """Replaces the arrays of an HDF5 file by half-precision ones, compressed."""
    arrays: dict[str, np.ndarray] = {}

    def keep(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[...].astype(np.float16)

    with h5py.File(path) as file:
        file.visititems(keep)
    with h5py.File(path, "w", libver="latest") as file:
        for name, array in arrays.items():
            file.create_dataset(
                name, data=array, compression="gzip", compression_opts=9, shuffle=True
            )


def _load_h5(file: Path) -> SSH:
    try:
        with h5py.File(file) as content:
            described = content.attrs.get(_H5_CONFIG)
        if described is None:
            raise UserError(
                f"{file} does not say what network and preprocessing its weights belong to. "
                "Use a file that this package wrote."
            )
        return _filled(_network_of_config(json.loads(described), file), file)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{file} is not a whole {_H5} file of ssh_tf ({reason}).") from error


def _load_keras(file: Path) -> SSH:
    """Loads a `.keras` file; unlike Keras, it builds nothing but what this package wrote."""
    if not zipfile.is_zipfile(file):
        raise UserError(f"{file} is not a .keras file of ssh_tf (no whole archive). Copy it again.")
    try:
        with zipfile.ZipFile(file) as archive:
            if archive.getinfo(_KERAS_CONFIG).file_size > _MOST_CONFIG_BYTES:
                raise ValueError(f"its {_KERAS_CONFIG} is too large")
            described = json.loads(archive.read(_KERAS_CONFIG))
        if (name := described["class_name"]) != SSH.__name__:
            raise UserError(f"{file} holds a {name}, not an SSH network.")
        return _filled(_network_of_config(described["config"], file), file)
    except (OSError, ValueError, TypeError, KeyError, RecursionError, zipfile.BadZipFile) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"{file} is not a .keras file of ssh_tf ({reason}).") from error


def _network_of_config(described: Any, file: Path) -> SSH:
    """Builds the network that `SSH.get_config` described, within the limits of `ModelConfig`."""
    means = described["means"]
    if len(means) != 3 or not np.isfinite(np.asarray(means, np.float32)).all():
        raise UserError(f"{file}: expected three finite pixel means. Received: {means}.")
    config = validate({"model": described["config"]}, origin=str(file)).model
    return SSH(config, means, name=described["name"])


def _filled(network: SSH, file: Path) -> SSH:
    """Loads a network's weights and checks that they are numbers."""
    network.load_weights(file)
    for variable in network.weights:
        if not np.isfinite(variable).all():
            raise UserError(f"{file}: weight {variable.path} is not finite. Use another file.")
    return network


def _copy(source: SSH, target: SSH, file: Path) -> None:
    theirs = {variable.path: variable for variable in source.weights}
    shapes = {path: tuple(variable.shape) for path, variable in theirs.items()}
    for variable in target.weights:
        if shapes.pop(variable.path, None) != tuple(variable.shape):
            raise UserError(f"{file} has another architecture: it differs in {variable.path}.")
    if shapes:
        raise UserError(f"{file} has another architecture: it also has {min(shapes)}.")
    for variable in target.weights:
        variable.assign(theirs[variable.path])
