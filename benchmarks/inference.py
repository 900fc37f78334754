"""The network in TensorFlow, with the settings that change its speed, and in other runtimes.

    pip install -e ".[openvino,onnx]"
    python benchmarks/inference.py --sizes 400x800 1200x1600 --runs 3

Batch 1, float32 unless a row says otherwise, the same random weights in every row. The rows of one
size take turns, so that a busy moment slows them all; medians are shown. Every output is
computed; `difference` is their largest from TensorFlow's. For the time from a file to its boxes see
`ssh-tf benchmark`. Runtimes that are not installed are left out. Ends with one JSON line.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from ssh_tf.config import ModelConfig
from ssh_tf.inference.timing import count_flops, matrix_flops_per_second
from ssh_tf.model.precision import precision
from ssh_tf.model.ssh import SSH
from ssh_tf.model.weights import build_network

OUTPUT = "outputs"
Run = Callable[[np.ndarray], np.ndarray]


def joined(outputs: dict[str, tf.Tensor]) -> tf.Tensor:
    """Flattens all outputs into one, so that no runtime can leave a part of the network out."""
    return tf.concat([tf.reshape(output, [-1]) for output in outputs.values()], axis=0)


def tensorflow_rows(network: SSH) -> dict[str, Run]:
    """Returns TensorFlow as `Detector` runs it, and with other settings."""
    exact = network.exact()
    spec = [tf.TensorSpec([1, None, None, 3], tf.float32)]
    plain = tf.function(lambda images: joined(exact(images)), input_signature=spec)
    frozen = convert_variables_to_constants_v2(plain.get_concrete_function())
    compiled = tf.function(lambda images: joined(exact(images)), jit_compile=True)
    with precision("bfloat16"):
        half = SSH(network.config, network.means)
    half.set_weights(network.get_weights())
    half_exact = half.exact()
    bfloat16 = tf.function(lambda images: joined(half_exact(images)), input_signature=spec)
    return {
        "TensorFlow": lambda image: plain(image).numpy(),
        "TensorFlow, frozen weights": lambda image: frozen(tf.constant(image))[0].numpy(),
        "TensorFlow, XLA": lambda image: compiled(image).numpy(),
        "TensorFlow, bfloat16": lambda image: bfloat16(image).numpy(),
    }


def openvino_rows(network: SSH, folder: Path) -> dict[str, Run]:
    """Returns OpenVINO in float32 and in bfloat16."""
    try:
        import openvino
    except ImportError:
        return {}
    converted = openvino.convert_model(save_raw(network, folder), input=[-1, -1, -1, 3])
    core = openvino.Core()

    def runner(kind: str) -> Run:
        hints = {"INFERENCE_PRECISION_HINT": kind, "PERFORMANCE_HINT": "LATENCY"}
        compiled = core.compile_model(converted, "CPU", hints)
        return lambda image: next(iter(compiled([image]).values()))

    return {"OpenVINO": runner("f32"), "OpenVINO, bfloat16": runner("bf16")}


def onnxruntime_rows(network: SSH, folder: Path) -> dict[str, Run]:
    """Returns ONNX Runtime on the CPU."""
    try:
        import onnxruntime
        import tf2onnx
    except ImportError:
        return {}
    exact, path = network.exact(), folder / "network.onnx"
    function = tf.function(lambda images: joined(exact(images)))
    spec = [tf.TensorSpec([1, None, None, 3], tf.float32, name="images")]
    tf2onnx.convert.from_function(function, input_signature=spec, opset=17, output_path=str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (feed,) = session.get_inputs()
    return {"ONNX Runtime": lambda image: session.run(None, {feed.name: image})[0]}


def save_raw(network: SSH, folder: Path) -> str:
    """Saves the bare network and returns the SavedModel's path."""
    exact, module = network.exact(), tf.Module()
    module.weights = [variable.value for variable in network.variables]
    spec = [tf.TensorSpec([1, None, None, 3], tf.float32, name="images")]
    function = tf.function(lambda images: {OUTPUT: joined(exact(images))}, input_signature=spec)
    tf.saved_model.save(module, str(folder / "raw"), function)
    return str(folder / "raw")


def measure(rows: dict[str, Run], size: tuple[int, int], runs: int) -> dict[str, list[float]]:
    """Returns row to `[median seconds, largest difference of an output]`."""
    image = np.random.default_rng(0).uniform(0, 255, (1, *size, 3)).astype(np.float32)
    first = {name: run(image) for name, run in rows.items()}
    turns = []
    for _ in range(runs):
        turn = {}
        for name, run in rows.items():
            started = time.perf_counter()
            run(image)
            turn[name] = time.perf_counter() - started
        turns.append(turn)
    expected = first["TensorFlow"]
    return {
        name: [
            statistics.median(turn[name] for turn in turns),
            float(np.abs(first[name].astype(np.float32) - expected).max()),
        ]
        for name in rows
    }


def main() -> None:
    """Measures all rows at all sizes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=["400x800", "1200x1600"], metavar="HxW")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    network = build_network(ModelConfig(weights="random"), seed=0)
    rate = matrix_flops_per_second()
    print(f"{rate / 1e9:,.0f} GFLOP/s in a matrix product of 2048 x 2048, float32")
    report = {}
    with tempfile.TemporaryDirectory() as folder:
        rows = tensorflow_rows(network)
        rows |= openvino_rows(network, Path(folder))
        rows |= onnxruntime_rows(network, Path(folder))
        for text in arguments.sizes:
            height, width = map(int, text.split("x"))
            flops = count_flops(network, (height, width))
            report[text] = measure(rows, (height, width), arguments.runs)
            own = report[text]["TensorFlow"][0]
            print(f"\n{text:28}      ms   GFLOP/s   of matrix   TensorFlow's time   difference")
            for name, (seconds, difference) in report[text].items():
                speed = flops / seconds
                print(
                    f"{name:28}{1e3 * seconds:8.0f}{speed / 1e9:10,.0f}{100 * speed / rate:10.0f} %"
                    f"{seconds / own:18.2f} x{difference:14.1e}"
                )
    print(json.dumps({"matrix_gflops": rate / 1e9, "sizes": report}))


if __name__ == "__main__":
    main()
