"""Trunks trained on ImageNet: Keras' own files, and PyTorch's arrays of a MobileNet 0.25.

Batch norms are folded into the convolution before them: `gamma (x - mean) / sqrt(var + epsilon) +
beta` is a scale of its kernel and a bias.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from ssh_tf.config import ModelConfig
from ssh_tf.errors import UserError
from ssh_tf.model.backbones import KERAS_MEANS, mobilenet

Array = np.ndarray
# Layer name -> kernel, bias.
Weights = dict[str, tuple[Array, Array]]

# torchvision's normalization of ImageNet in gray levels, blue, green and red.
TORCH_MEANS = (103.53, 116.28, 123.675)
TORCH_DEVIATIONS = (57.375, 57.12, 58.395)
_TORCH_EPSILON = 1e-5
# Blocks of stage1, stage2 and stage3: `conv_dw_1` is stage1.1, `conv_dw_6` stage2.0, ...
_TORCH_STAGES = (("stage1", 1, 5), ("stage2", 0, 6), ("stage3", 0, 2))


def trunk_weights(config: ModelConfig, weights: str) -> Weights:
    """Returns a trunk's kernels and biases, by the names of our layers.

    Args:
        config: Which trunk.
        weights: `imagenet`, which Keras downloads; a file like those it downloads (`.h5`); an
            `.npz` of PyTorch's arrays.

    Raises:
        UserError: If they can't be had or are of another network.
    """
    if weights.endswith(".npz"):
        return _torch_trunk(Path(weights))
    return _keras_trunk(config, weights)


def trunk_means(config: ModelConfig, weights: str) -> tuple[float, ...]:
    """Returns the mean blue, green and red that belong to `trunk_weights`."""
    return TORCH_MEANS if weights.endswith(".npz") else KERAS_MEANS[config.backbone]


def _keras_trunk(config: ModelConfig, weights: str) -> Weights:
    """Returns a trunk of `keras.applications`."""
    try:
        if config.backbone == "vgg16":
            trunk = keras.applications.VGG16(include_top=False, weights=weights)
            return {
                layer.name: tuple(layer.get_weights()) for layer in trunk.layers if layer.weights
            }
        trunk = keras.applications.MobileNet(
            alpha=config.width, include_top=False, weights=weights, input_shape=(224, 224, 3)
        )
    # keras.utils.get_file raises bare Exception for any network failure.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"model.weights: Keras can't give {config.backbone}'s ImageNet weights from {weights} "
            f"({reason}). Set model.weights to a downloaded file, or to random."
        ) from error
    return _folded(trunk)


def _folded(trunk: keras.Model) -> Weights:
    """Folds the batch norms of Keras' MobileNet."""
    weights = {}
    for layer in trunk.layers:
        if not isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            continue
        norm = trunk.get_layer(f"{layer.name}_bn")
        statistics = (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
        (kernel,) = layer.get_weights()
        weights[layer.name] = fold(
            kernel, *(np.asarray(each) for each in statistics), epsilon=norm.epsilon
        )
    return _normalized(weights, mobilenet.KERAS_DEVIATIONS)


def _torch_trunk(file: Path) -> Weights:
    """Returns the MobileNet 0.25 whose arrays have PyTorch's names: `stage1.0.0.weight`, ...

    Its strided layers read one cell beyond each border, as ours do.

    References:
        The start of RetinaFace's MobileNet-0.25 (biubug6/Pytorch_Retinaface).
    """
    try:
        with np.load(file) as archive:
            arrays = {name: archive[name] for name in archive.files}
            weights = _torch_layers(arrays)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{file} is not an .npz file with PyTorch's arrays of a MobileNet 0.25 ({error})."
        ) from error
    return _normalized(weights, TORCH_DEVIATIONS)


def _torch_layers(arrays: Mapping[str, Array]) -> Weights:
    """Kernels from OIHW, and depthwise ones from `[C, 1, h, w]`, folded."""

    def layer(conv: str, norm: str, axes: tuple[int, ...]) -> tuple[Array, Array]:
        names = ("weight", "bias", "running_mean", "running_var")
        statistics = (arrays[f"{norm}.{name}"] for name in names)
        kernel = arrays[f"{conv}.weight"].transpose(axes)
        return fold(kernel, *statistics, epsilon=_TORCH_EPSILON)

    weights = {"conv1": layer("stage1.0.0", "stage1.0.1", (2, 3, 1, 0))}
    places = (f"{stage}.{first + i}" for stage, first, n in _TORCH_STAGES for i in range(n))
    for i, place in enumerate(places, start=1):
        weights[f"conv_dw_{i}"] = layer(f"{place}.0", f"{place}.1", (2, 3, 0, 1))
        weights[f"conv_pw_{i}"] = layer(f"{place}.3", f"{place}.4", (2, 3, 1, 0))
    return weights


def fold(
    kernel: Array, gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: float
) -> tuple[Array, Array]:
    """Folds a batch norm into the convolution before it.

    Args:
        kernel: `[h, w, in, out]`, or `[h, w, C, 1]` of a depthwise convolution.
        gamma: `[out]` scale.
        beta: `[out]` shift.
        mean: `[out]` moving mean.
        variance: `[out]` moving variance.
        epsilon: What is added to the variance.

    Returns:
        `(kernel, bias)` of the convolution that does both.
    """
    scale = gamma / np.sqrt(variance + epsilon)  # [out]
    depthwise = kernel.shape[-1] == 1 and kernel.shape[-2] == len(scale)
    factor = scale[:, np.newaxis] if depthwise else scale
    return kernel * factor, beta - mean * scale


def _normalized(weights: Weights, deviations: tuple[float, ...]) -> Weights:
    """Makes the first convolution, of RGB in deviations, one of BGR in gray levels."""
    kernel, bias = weights["conv1"]  # [3, 3, RGB, out]
    kernel = kernel[:, :, ::-1] / np.array(deviations, np.float32)[:, np.newaxis]
    return weights | {"conv1": (kernel, bias)}
