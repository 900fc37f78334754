"""Writes OpenVINO's two files: the same detector as the ONNX file, in the other's words."""

import tempfile
from pathlib import Path

import numpy as np
import openvino

from ssh_tf.config import DetectConfig
from ssh_tf.errors import UserError
from ssh_tf.export.onnx import Outputs, about, check_outputs, exported_detector, write_detector
from ssh_tf.files import atomic_folder, output_folder
from ssh_tf.model.ssh import SSH


def export_openvino(network: SSH, config: DetectConfig, out: str | Path) -> Path:
    """Writes a folder with `ssh.xml` and `ssh.bin`, and proves that they work.

    Input and outputs are those of `export_onnx`.

    Args:
        network: The detector's network.
        config: Scale and thresholds: one scale and float32. `max_detections` is the number of rows.
        out: The folder, which must not exist.

    Returns:
        `ssh.xml` in it.

    Raises:
        UserError: If `out` exists or can't be written, for a pyramid or a reduced precision, or if
            the files do not find what the detector finds; nothing is left of them then.
    """
    folder = Path(out)
    if folder.exists():
        raise UserError(f"{folder} exists. Name a new folder.")
    output_folder(folder.parent)
    detector = exported_detector(network, config)
    with tempfile.TemporaryDirectory() as scratch:
        write_detector(detector, Path(scratch) / "ssh.onnx")
        model = openvino.convert_model(Path(scratch) / "ssh.onnx")
    model.set_rt_info(about(detector), "ssh_tf")
    with atomic_folder(folder) as temporary:
        openvino.save_model(model, temporary / "ssh.xml", compress_to_fp16=False)
        # Of itself OpenVINO takes bfloat16 on the CPUs that have it.
        exact = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(temporary / "ssh.xml", "CPU", exact)

        def run(images: np.ndarray) -> Outputs:
            return {port.any_name: value for port, value in compiled(images).items()}

        check_outputs(run, detector, folder)
    return folder / "ssh.xml"
