"""Writes OpenVINO's two files: the same detector as the ONNX file, in the other's words."""

import tempfile
from pathlib import Path

import numpy as np
import openvino

from ssh_tf.config import DetectConfig
from ssh_tf.errors import UserError
from ssh_tf.export.onnx import Outputs, about, check_outputs, exported_detector, write_detector
from ssh_tf.files import atomic_folder, output_folder
from ssh_tf.inference.runtimes.openvino import precision_hint
from ssh_tf.model.ssh import SSH


def export_openvino(network: SSH, config: DetectConfig, out: str | Path) -> Path:
    """Writes a folder with `ssh.xml` and `ssh.bin`, and proves that they work.

    Input and outputs are those of `export_onnx`.

    Args:
        network: The detector's network.
        config: One scale, thresholds and precision. `max_detections` is the number of rows.
        out: The folder, which must not exist.

    Returns:
        `ssh.xml` in it.

    Raises:
        UserError: If `out` exists or can't be written, for a pyramid, or if the
            files do not find what the detector finds; nothing is left of them then.
    """
    folder = Path(out)
    if folder.exists():
        raise UserError(f"{folder} exists. Name a new folder.")
    output_folder(folder.parent)
    detector = exported_detector(network, config)
    with tempfile.TemporaryDirectory() as scratch:
        # Rounded to 16 bit by whoever runs it; only the rounding to 8 bit is in the operators.
        written = config if config.precision == "int8" else detector.config
        write_detector(detector, written, Path(scratch) / "ssh.onnx")
        model = openvino.convert_model(Path(scratch) / "ssh.onnx")
    model.set_rt_info(about(detector, config.precision), "ssh_tf")
    with atomic_folder(folder) as temporary:
        half = config.precision == "float16"
        openvino.save_model(model, temporary / "ssh.xml", compress_to_fp16=half)
        core = openvino.Core()
        options = {"INFERENCE_PRECISION_HINT": precision_hint(core, config.precision)}
        compiled = core.compile_model(temporary / "ssh.xml", "CPU", options)

        def run(images: np.ndarray) -> Outputs:
            return {port.any_name: value for port, value in compiled(images).items()}

        check_outputs(run, detector, folder, config.precision)
    return folder / "ssh.xml"
