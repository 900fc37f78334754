"""The network on JAX: the same layers on Keras' other backend, compiled by XLA, without TensorFlow.

    pip install jax          # on a GPU: pip install "jax[cuda12]"
    python benchmarks/jax_core.py
    python benchmarks/jax_core.py --sizes 64x96 --runs 2 --matrix 512        # a quick try on a CPU

From pixels on the device to the logits and deltas of every module, random weights. A row's time is
the median of `--runs` calls, each waited for. GPUs multiply float32 matrices in TensorFloat-32 if
they may: there `float32` forbids it and `tensorfloat32` allows it. `of matrix` is the share of the
rate of a matrix product in the same arithmetic; `difference` is the largest of a face probability
from float32's. Ends with one JSON line.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import keras
import numpy as np

from ssh_tf.config import ModelConfig, load
from ssh_tf.geometry.proposals import face_probability
from ssh_tf.model.ssh import SSH

Array = Any
Row = dict[str, Any]

# Arithmetic: dtype of pixels and weights, and what XLA may do in a float32 product.
PRECISIONS = {
    "float32": (jnp.float32, "highest"),
    "tensorfloat32": (jnp.float32, "default"),
    "bfloat16": (jnp.bfloat16, "default"),
}
MODELS = {"vgg16": ModelConfig(), "light": load("configs/photos_light.yaml").model}
HEADER = (
    "\nmodel     input         precision           ms   images/s    TFLOP/s  of matrix   difference"
)


def random_network(config: ModelConfig, policy: str) -> SSH:
    """Returns a network whose activations are of order 1 in every layer."""
    keras.config.set_dtype_policy(policy)
    network, rng = SSH(config), np.random.default_rng(0)
    keras.config.set_dtype_policy("float32")
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            kernel = rng.standard_normal(layer.kernel.shape, np.float32)
            height, width, channels, _ = kernel.shape
            read = channels if isinstance(layer, keras.layers.Conv2D) else 1
            pixels = 64 if channels == 3 else 1  # They deviate so far from their mean.
            layer.kernel.assign(kernel * np.sqrt(2 / (height * width * read)) / pixels)
    return network


def compiled_network(
    config: ModelConfig, precision: str, shape: tuple[int, ...]
) -> tuple[Callable[[Array], dict[str, Array]], float]:
    """Returns the compiled network and its floating-point operations.

    Args:
        config: The architecture.
        precision: A key of `PRECISIONS`.
        shape: Of the pixels, `(B, H, W, 3)`.
    """
    dtype, matrix_precision = PRECISIONS[precision]
    policy = "mixed_bfloat16" if dtype == jnp.bfloat16 else "float32"
    model = random_network(config, policy).exact()
    # Cast once, here, instead of in each call.
    weights = [
        [jnp.asarray(variable.value, dtype) for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]

    def forward(trainable: Array, others: Array, images: Array) -> dict[str, Array]:
        return model.stateless_call(trainable, others, images)[0]

    with jax.default_matmul_precision(matrix_precision):
        lowered = jax.jit(forward).lower(*weights, jax.ShapeDtypeStruct(shape, jnp.float32))
        flops, run = lowered.cost_analysis()["flops"], lowered.compile()
    return lambda images: run(*weights, images), float(flops)


def median_seconds(call: Callable[[], Array], runs: int) -> float:
    """Calls once to warm up, then `runs` times; each call is waited for."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def matrix_rate(precision: str, side: int, runs: int) -> float:
    """Returns the operations per second of a product of two square matrices."""
    dtype, matrix_precision = PRECISIONS[precision]
    matrix = jax.random.normal(jax.random.key(0), (side, side), dtype)
    with jax.default_matmul_precision(matrix_precision):
        multiply = jax.jit(lambda a: a @ a).lower(matrix).compile()
    return 2.0 * side**3 / median_seconds(lambda: multiply(matrix), runs)


def probabilities(outputs: dict[str, Array]) -> np.ndarray:
    """Returns the face probability of every anchor of every module, flat."""
    logits = [value for name, value in sorted(outputs.items()) if name.endswith("_logits")]
    return np.concatenate([np.ravel(face_probability(value)) for value in logits])


def measure(model: str, shape: tuple[int, ...], rates: dict[str, float], runs: int) -> list[Row]:
    """Returns one row per precision, for one network and one shape of the input."""
    pixels = np.random.default_rng(1).uniform(0, 255, shape).astype(np.float32)
    images, rows, expected = jax.device_put(pixels), [], None
    for precision, rate in rates.items():
        run, flops = compiled_network(MODELS[model], precision, shape)
        found = probabilities(run(images))
        expected = found if expected is None else expected
        seconds = median_seconds(lambda run=run: run(images), runs)
        rows.append(
            {
                "model": model,
                "batch": shape[0],
                "height": shape[1],
                "width": shape[2],
                "precision": precision,
                "ms": 1e3 * seconds,
                "images_per_second": shape[0] / seconds,
                "tflops_per_second": flops / seconds / 1e12,
                "of_matrix": flops / seconds / rate,
                "difference": float(np.abs(found - expected).max()),
            }
        )
    return rows


def show(row: Row) -> None:
    """Prints one line of the table."""
    size = f"{row['batch']}x{row['height']}x{row['width']}"
    print(
        f"{row['model']:10}{size:14}{row['precision']:14}{row['ms']:9.2f}"
        f"{row['images_per_second']:11.1f}{row['tflops_per_second']:11.2f}"
        f"{100 * row['of_matrix']:9.0f} %{row['difference']:13.1e}",
        flush=True,
    )


def peak_memory_mib() -> float | None:
    """Returns the most device memory used so far, MiB, where the device tells."""
    statistics_of_device = jax.devices()[0].memory_stats() or {}
    peak = statistics_of_device.get("peak_bytes_in_use")
    return None if peak is None else peak / 2**20


def main() -> None:
    """Measures every network at every size, batch and precision."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    sizes = ["400x800", "600x1000", "800x1200", "1200x1600"]  # Paper, Table 2.
    parser.add_argument("--sizes", nargs="+", default=sizes, metavar="HxW")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1], metavar="B")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--matrix", type=int, default=8192, help="side of the matrices")
    arguments = parser.parse_args()
    device = jax.devices()[0]
    on_cpu = device.platform == "cpu"
    names = [name for name in PRECISIONS if not (on_cpu and name == "tensorfloat32")]
    rates = {name: matrix_rate(name, arguments.matrix, arguments.runs) for name in names}
    print(f"{device.device_kind}, JAX {jax.__version__}, Keras {keras.__version__}")
    for name, rate in rates.items():
        print(f"{rate / 1e12:8.2f} TFLOP/s in a product of {arguments.matrix}^2 matrices, {name}")
    print(HEADER)
    rows = []
    for model in arguments.models:
        for text in arguments.sizes:
            height, width = map(int, text.split("x"))
            for batch in arguments.batches:
                found = measure(model, (batch, height, width, 3), rates, arguments.runs)
                for row in found:
                    show(row)
                rows += found
    report = {"device": device.device_kind, "jax": jax.__version__, "matrix_flops": rates}
    print(json.dumps(report | {"peak_memory_mib": peak_memory_mib(), "rows": rows}))


if __name__ == "__main__":
    main()
