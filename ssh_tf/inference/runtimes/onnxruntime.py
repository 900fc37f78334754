"""The network in ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnxruntime

from ssh_tf.errors import UserError
from ssh_tf.inference.arrays import Forward
from ssh_tf.inference.runtimes.convert import INPUT, OPSET, converted, write_onnx
from ssh_tf.model.ssh import SSH

_MODEL = "network.onnx"


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
        write_onnx(network, folder / _MODEL)

    with converted(network, f"onnx-{OPSET}", convert) as folder:
        session = onnxruntime.InferenceSession(
            str(folder / _MODEL), providers=["CPUExecutionProvider"]
        )
    names = [output.name for output in session.get_outputs()]

    def forward(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {INPUT: images}), strict=True))

    return forward
