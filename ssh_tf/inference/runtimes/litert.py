"""The network in LiteRT, which was TensorFlow Lite."""

import functools
import os

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from ssh_tf.config import DetectConfig
from ssh_tf.inference.arrays import Forward
from ssh_tf.inference.runtimes.convert import (
    INPUT,
    converted_file,
    require_float32,
    write_litert,
)
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

    write = functools.partial(write_litert, prepared=True)
    with converted_file(network, f"litert-{tf.__version__}-prepared", _MODEL, write) as file:
        return run_litert(file.read_bytes())


def run_litert(model: bytes) -> Forward:
    """Returns the function that runs the bytes of a file of `write_litert`."""
    interpreter = Interpreter(model_content=model, num_threads=os.cpu_count())
    run = interpreter.get_signature_runner()

    def forward(images: np.ndarray) -> dict[str, np.ndarray]:
        outputs: dict[str, np.ndarray] = run(**{INPUT: images})
        return outputs

    return forward
