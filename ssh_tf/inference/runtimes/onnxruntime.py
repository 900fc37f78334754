"""The network in ONNX Runtime."""

import logging
from pathlib import Path

import numpy as np
import onnxruntime
import tf2onnx

from ssh_tf.errors import UserError
from ssh_tf.inference.arrays import Forward
from ssh_tf.inference.runtimes.convert import INPUT, converted, network_function
from ssh_tf.model.ssh import SSH

_MODEL = "network.onnx"
# The version of ONNX's operators. ONNX Runtime has known 17 since 1.12, of 2022.
OPSET = 17


def load(network: SSH, precision: str) -> Forward:
    """Returns the function that runs a network in ONNX Runtime, on the CPU.

    Args:
        network: Computes in float32.
        precision: `DetectConfig.precision`.

    Raises:
        UserError: For another precision than float32: its CPU kernels have no other.
    """
    if precision != "float32":
        raise UserError(
            f"onnxruntime computes in float32 on CPUs, not in {precision}. Choose the runtime "
            "openvino or tensorflow."
        )

    def convert(folder: Path) -> None:
        logging.getLogger("tf2onnx").setLevel(logging.WARNING)
        function = network_function(network, "float32")
        tf2onnx.convert.from_function(
            function, function.input_signature, opset=OPSET, output_path=str(folder / _MODEL)
        )

    with converted(network, f"onnx-{OPSET}-{tf2onnx.__version__}", convert) as folder:
        session = onnxruntime.InferenceSession(
            str(folder / _MODEL), providers=["CPUExecutionProvider"]
        )
    names = [output.name for output in session.get_outputs()]

    def forward(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {INPUT: images}), strict=True))

    return forward
