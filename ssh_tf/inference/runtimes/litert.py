"""The network in LiteRT, which was TensorFlow Lite."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from ssh_tf.config import DetectConfig
from ssh_tf.inference.arrays import Forward
from ssh_tf.inference.runtimes.convert import INPUT, converted, require_float32, write_litert
from ssh_tf.model.ssh import SSH

_MODEL = "network.tflite"


def load(network: SSH, config: DetectConfig) -> Forward:
    """Returns the function that runs a network in LiteRT, on the CPU.

    Args:
        network: Computes in float32.
        config: Says in which precision.

    Raises:
        UserError: For another precision than float32.
    """
    require_float32("litert", config)

    def convert(folder: Path) -> None:
        write_litert(network, folder / _MODEL, prepared=True)

    with converted(network, f"litert-{tf.__version__}-prepared", convert) as folder:
        return run_litert((folder / _MODEL).read_bytes())


def run_litert(model: bytes) -> Forward:
    """Returns the function that runs the bytes of a file of `write_litert`."""
    interpreter = Interpreter(model_content=model, num_threads=os.cpu_count())
    run = interpreter.get_signature_runner()

    def forward(images: np.ndarray) -> dict[str, np.ndarray]:
        outputs: dict[str, np.ndarray] = run(**{INPUT: images})
        return outputs

    return forward
