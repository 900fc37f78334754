"""Inputs of the official code's golden data, made anew by the rules of its README.

Each is checked against the stored digest: if one differs, NumPy's random stream does, not our code.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from keras import backend

from ssh_tf.config import ModelConfig

Array = npt.NDArray[Any]
Golden = Mapping[str, Array]

MODULES = ModelConfig().modules

_VGG = [
    ("conv1_1", 64, 3, 3), ("conv1_2", 64, 64, 3),
    ("conv2_1", 128, 64, 3), ("conv2_2", 128, 128, 3),
    ("conv3_1", 256, 128, 3), ("conv3_2", 256, 256, 3), ("conv3_3", 256, 256, 3),
    ("conv4_1", 512, 256, 3), ("conv4_2", 512, 512, 3), ("conv4_3", 512, 512, 3),
    ("conv5_1", 512, 512, 3), ("conv5_2", 512, 512, 3), ("conv5_3", 512, 512, 3),
]  # fmt: skip
_FUSION = [
    ("conv5_128", 128, 512, 1),
    ("conv4_128", 128, 512, 1),
    ("conv4_fuse_final", 128, 128, 3),
]


def read(path: Path) -> dict[str, Array]:
    """Reads all arrays of an `.npz`."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def sha256(array: Array) -> str:
    """Returns the digest of an array's bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def cells(golden: Golden, key: str) -> tuple[int, int]:
    """Returns the rows and columns of a feature map."""
    rows, columns = golden[key]
    return int(rows), int(columns)


def target_inputs(golden: Golden, number: int) -> tuple[Array, Array, Array]:
    """Makes a module's face probabilities `[N]`, logits `[N, 2]` and deltas `[N, 4]`."""
    rows, columns = cells(golden, f"m{number}_hw")
    count, seed = 2 * rows * columns, int(golden["seed"]) * 10
    order = np.random.default_rng(seed + number).permutation(count)
    probability = ((order + 0.5) / count).astype(np.float32)
    assert sha256(probability) == str(golden[f"m{number}_fg_sha256"])
    logits = _normal(seed + 3 + number, (count, 2)) * np.float32(2)
    return probability, logits, _normal(seed + 6 + number, (count, 4)) * np.float32(0.5)


def proposal_inputs(golden: Golden, key: str) -> tuple[Array, Array]:
    """Makes the scores `[N]` and deltas `[N, 4]` of a level and module (`l0m1`)."""
    rows, columns = cells(golden, f"{key}_hw")
    count, seed, high = 2 * rows * columns, int(golden[f"{key}_seed"]), int(golden[f"{key}_m"])
    order = (np.random.default_rng(seed).permutation(count) + 0.5) / count
    x = np.interp(order, [0, 1 - high / count, 1], [0, 0.05, 0.995])
    scores = ((np.floor(x * 2**20) * 16 + golden[f"{key}_slot"]) / 2**24).astype(np.float32)
    deltas = _normal(seed + 500_000, (count, 4)) * np.array([0.3, 0.3, 0.2, 0.2], np.float32)
    assert sha256(scores) == str(golden[f"{key}_fg_sha256"])
    assert sha256(deltas) == str(golden[f"{key}_deltas_sha256"])
    return scores, deltas


def network_input(golden: Golden) -> Array:
    """Makes the network's input `[H, W, 3]`: BGR, mean already subtracted."""
    height, width = cells(golden, "input_hw")
    rng = np.random.default_rng(int(golden["input_seed"]))
    base = rng.standard_normal((-(-height // 16), -(-width // 16), 3), dtype=np.float32)
    noise = rng.standard_normal((height, width, 3), dtype=np.float32)
    large = np.repeat(np.repeat(base, 16, 0), 16, 1)[:height, :width]
    image = large * np.float32(2) + noise
    assert sha256(image) == str(golden["input_sha256"])
    return image


def network_weights(golden: Golden) -> dict[str, list[Array]]:
    """Makes the Caffe layers, kernel OIHW and bias, by name."""
    rng = np.random.default_rng(int(golden["weight_seed"]))
    layers = {}
    for name, outputs, inputs, size in _caffe_layers():
        kind = name.rpartition("ssh_")[2]
        gain = {"cls_score": 0.15, "bbox_pred": 0.2}.get(kind, 1.0)
        kernel = rng.standard_normal((outputs, inputs, size, size), dtype=np.float32)
        kernel *= np.float32(gain * np.sqrt(2.0 / (inputs * size * size)))
        layers[name] = [
            kernel,
            rng.standard_normal((outputs,), dtype=np.float32) * np.float32(0.1),
        ]
    digests = [f"{name}:W:{sha256(kernel)}" for name, (kernel, _) in layers.items()]
    digests += [f"{name}:b:{sha256(bias)}" for name, (_, bias) in layers.items()]
    assert digests == golden["weight_sha256"].tolist()
    return layers


def _caffe_layers() -> list[tuple[str, int, int, int]]:
    """Lists (name, outputs, inputs, kernel size) in the order of the random stream."""
    layers = _VGG + _FUSION
    for number, inputs, width in [(1, 128, 128), (2, 512, 256), (3, 512, 256)]:
        half = width // 2
        shapes = [("3x3", width, inputs, 3), ("dimred", half, inputs, 3)]
        shapes += [(name, half, half, 3) for name in ("5x5", "7x7-1", "7x7")]
        shapes += [("cls_score", 4, 2 * width, 1), ("bbox_pred", 8, 2 * width, 1)]
        layers = layers + [(f"m{number}@ssh_{name}", *shape) for name, *shape in shapes]
    return layers


def _normal(seed: int, shape: tuple[int, int]) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function of arrays where running it step by step would be slow (JAX)."""
    if backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


def value_and_gradients(
    function: Callable[..., tuple[Any, Any]], *arguments: Array
) -> tuple[Any, list[Array]]:
    """Differentiates on whatever backend Keras runs on.

    Args:
        function: Returns a scalar and anything else.
        *arguments: It is differentiated by the first two.

    Returns:
        That anything else, and the scalar's gradients.
    """
    if backend.backend() == "jax":
        import jax

        differentiated = jax.jit(jax.grad(function, argnums=(0, 1), has_aux=True))
        gradients, value = differentiated(*arguments)
    else:
        import tensorflow as tf

        tensors = [tf.convert_to_tensor(argument) for argument in arguments]
        with tf.GradientTape() as tape:
            tape.watch(tensors[:2])
            scalar, value = function(*tensors)
        gradients = tape.gradient(scalar, tensors[:2])
    return value, [np.asarray(gradient) for gradient in gradients]
