"""Which program runs the network."""

import importlib
import importlib.util
import logging

import tensorflow as tf

from ssh_tf.config import DetectConfig
from ssh_tf.errors import UserError
from ssh_tf.inference.arrays import Forward
from ssh_tf.inference.quiet import with_log_handlers
from ssh_tf.inference.runtimes import RUNTIMES
from ssh_tf.model.ssh import SSH

_LOG = logging.getLogger(__name__)

# What each needs, and the extra that installs it.
_PACKAGES = {
    "tensorflow": (("tensorflow",), ""),
    "openvino": (("openvino",), "openvino"),
    "onnxruntime": (("onnxruntime", "onnx", "tf2onnx"), "onnx"),
    "litert": (("ai_edge_litert",), "litert"),
    # No runtime: what turns a network into it.
    "int8": (("onnxruntime", "onnx", "tf2onnx"), "onnx"),
}

# TensorFlow also has float16, which pays on GPUs only.
_PRECISIONS = {
    "tensorflow": ("float32", "bfloat16"),
    "openvino": ("float32", "bfloat16", "int8"),
    "onnxruntime": ("float32",),
    "litert": ("float32",),
}


def choose_runtime(name: str, precision: str) -> str:
    """Returns the runtime that one of `RUNTIMES` stands for.

    Args:
        name: `auto` takes the fastest that is installed, and logs which.
        precision: `DetectConfig.precision`.

    Raises:
        UserError: If the runtime, or what makes `int8`, is not installed.
        ValueError: For another name.
    """
    if name not in RUNTIMES:
        raise ValueError(f"`runtime` must be one of {', '.join(RUNTIMES)}. Received: {name!r}")
    if name == "auto":
        name = fastest_runtime(precision)
        _LOG.info("Runtime: %s, the fastest that is installed", name)
    require_runtime(name)
    if precision == "int8" and name == "openvino":
        require_runtime("int8")
    return name


def load_runtime(name: str, network: SSH, config: DetectConfig) -> Forward:
    """Returns the function that runs a network.

    Args:
        name: What `choose_runtime` returned.
        network: Computes in float32.
        config: Its `precision` and `calibration`.

    Raises:
        UserError: If the runtime has not that precision.
    """
    with with_log_handlers():
        module = importlib.import_module(f"ssh_tf.inference.runtimes.{name}")
    forward: Forward = module.load(network, config)
    return forward


def require_runtime(name: str) -> None:
    """Refuses a runtime, or `int8`, that is not installed.

    Raises:
        UserError: Naming what is missing and how to install it.
    """
    packages, extra = _PACKAGES[name]
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(
            f"{name} needs {', '.join(missing)}. Install it: pip install 'ssh-tf[{extra}]'"
        )


def fastest_runtime(precision: str) -> str:
    """Returns the fastest runtime that is installed for this machine (docs/runtimes.md)."""
    if precision == "int8":
        return "openvino"  # No other has it.
    if tf.config.list_physical_devices("GPU"):
        return "tensorflow"
    if _installed("openvino"):
        return "openvino"
    return "onnxruntime" if precision == "float32" and _installed("onnxruntime") else "tensorflow"


def installed_variants() -> list[tuple[str, str]]:
    """Returns the installed runtimes, each with the precisions that it has on most machines."""
    return [
        (runtime, precision)
        for runtime, precisions in _PRECISIONS.items()
        if _installed(runtime)
        for precision in precisions
        if precision != "int8" or _installed("int8")
    ]


def _installed(name: str) -> bool:
    return all(importlib.util.find_spec(package) for package in _PACKAGES[name][0])
