"""The network in ONNX Runtime."""

import numpy as np
import onnxruntime

from ssh_tf.config import DetectConfig
from ssh_tf.inference.arrays import Forward
from ssh_tf.inference.runtimes.convert import (
    INPUT,
    OPSET,
    converted_file,
    require_float32,
    write_onnx,
)
from ssh_tf.model.ssh import SSH

_MODEL = "network.onnx"


def load(network: SSH, config: DetectConfig) -> Forward:
    """Returns the function that runs a network in ONNX Runtime, on the CPU.

    Args:
        network: Computes in float32.
        config: Says in which precision.

    Raises:
        UserError: For another precision than float32: its CPU kernels have no
            other, and 8 bit makes `light` slower (docs/decisions/0032).
    """
    require_float32("onnxruntime", config)

    with converted_file(network, f"onnx-{OPSET}-prepared", _MODEL, write_onnx) as file:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def forward(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {INPUT: images}), strict=True))

    return forward
