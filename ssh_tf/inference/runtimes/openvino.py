"""The network in OpenVINO."""

import logging
from pathlib import Path

import numpy as np
import openvino

from ssh_tf.inference.arrays import Forward
from ssh_tf.inference.runtimes.convert import converted, network_function
from ssh_tf.model.ssh import SSH

_LOG = logging.getLogger(__name__)

_MODEL = "network.xml"
# Of a precision: OpenVINO's name for it, and what its CPU plugin calls the ability.
_HINTS = {"float32": ("f32", "FP32"), "bfloat16": ("bf16", "BF16"), "float16": ("f16", "FP16")}


def load(network: SSH, precision: str) -> Forward:
    """Returns the function that runs a network in OpenVINO, on the CPU.

    Args:
        network: Computes in float32.
        precision: `DetectConfig.precision`. Where the CPU lacks it, a warning says that OpenVINO
            computes in float32.
    """
    core = openvino.Core()
    hint, ability = _HINTS[precision]
    if ability not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        _LOG.warning("This CPU has no %s: OpenVINO computes in float32.", precision)
        hint = "f32"

    def convert(folder: Path) -> None:
        function = network_function(network, "float32").get_concrete_function()
        model = openvino.convert_model(function)
        openvino.save_model(model, folder / _MODEL, compress_to_fp16=False)

    with converted(network, f"openvino-{openvino.__version__.split('-')[0]}", convert) as folder:
        model = core.read_model(folder / _MODEL)
    options = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(model, "CPU", options)

    def forward(images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = compiled([images], share_inputs=True)
        return {port.any_name: output for port, output in outputs.items()}

    return forward
