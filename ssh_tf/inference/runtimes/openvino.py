"""The network in OpenVINO."""

import functools
import logging
import tempfile
from pathlib import Path

import numpy as np
import openvino
import tensorflow as tf

from ssh_tf.config import DetectConfig
from ssh_tf.inference.arrays import Forward
from ssh_tf.inference.runtimes.convert import (
    OPSET,
    converted_file,
    network_function,
    weights_module,
)
from ssh_tf.model.ssh import SSH

_LOG = logging.getLogger(__name__)

# Of a precision: OpenVINO's name for it, and what its CPU plugin calls the ability. Of int8: for
# the layers that stay out of it.
_HINTS = {
    "float32": ("f32", "FP32"),
    "bfloat16": ("bf16", "BF16"),
    "float16": ("f16", "FP16"),
    "int8": ("bf16", "BF16"),
}


def load(network: SSH, config: DetectConfig) -> Forward:
    """Returns the function that runs a network in OpenVINO, on the CPU.

    Args:
        network: Computes in float32.
        config: Says in which precision. Where the CPU lacks it, a warning says that OpenVINO
            computes in float32.
    """
    core = openvino.Core()
    model = _int8(core, network, config) if config.precision == "int8" else _float(core, network)
    options = {
        "INFERENCE_PRECISION_HINT": precision_hint(core, config.precision),
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(model, "CPU", options)

    def forward(images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = compiled([images], share_inputs=True)
        return {port.any_name: output for port, output in outputs.items()}

    return forward


def precision_hint(core: openvino.Core, precision: str) -> str:
    """Returns OpenVINO's name of the arithmetic to ask for on this CPU.

    Without it, OpenVINO takes bfloat16 of itself on the CPUs that have it.

    Args:
        core: Knows the CPU.
        precision: `DetectConfig.precision`.
    """
    hint, ability = _HINTS[precision]
    if ability in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return hint
    if precision != "int8":
        _LOG.warning("This CPU has no %s: OpenVINO computes in float32.", precision)
    return "f32"


def _float(core: openvino.Core, network: SSH) -> openvino.Model:
    form = f"openvino-{openvino.__version__.split('-')[0]}-prepared"
    with converted_file(network, form, "network.xml", _write_float) as file:
        return core.read_model(file)


def _write_float(network: SSH, path: Path) -> None:
    function = network_function(network, prepared=True).get_concrete_function()
    with tempfile.TemporaryDirectory() as folder:
        # By way of files: `convert_model` of a function fails on Python 3.13 (OpenVINO 2026.4).
        tf.saved_model.save(weights_module(network), folder, signatures=function)
        openvino.save_model(openvino.Core().read_model(folder), path, compress_to_fp16=False)


def _int8(core: openvino.Core, network: SSH, config: DetectConfig) -> openvino.Model:
    # Not before it is needed: it brings ONNX.
    from ssh_tf.inference.runtimes import quantize

    images = quantize.calibration_images(config.calibration)
    form = f"int8-onnx-{OPSET}-prepared-{quantize.images_hash(images)[:20]}"
    write = functools.partial(quantize.write_int8, images=images)
    with converted_file(network, form, "network_int8.onnx", write) as file:
        return core.read_model(file)
