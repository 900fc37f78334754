"""Writes one ONNX file: pixels in, boxes out, scaling and NMS inside."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from ssh_tf.config import EXPORT_ROWS, DetectConfig
from ssh_tf.errors import UserError
from ssh_tf.export.onnx_graph import (
    BOXES,
    COUNT,
    IMAGE,
    SCORES,
    proposals,
    scaling,
    suppression,
)
from ssh_tf.export.verify import BOX_TOLERANCE_PX, SCORE_TOLERANCE, example_image
from ssh_tf.files import atomic_path, output_file
from ssh_tf.inference.arrays import found_again
from ssh_tf.inference.detector import Detector
from ssh_tf.inference.results import Detections
from ssh_tf.inference.runtimes.convert import OPSET, write_onnx
from ssh_tf.inference.runtimes.quantize import calibration_images, write_int8
from ssh_tf.model.ssh import SSH
from ssh_tf.version import __version__

Outputs = Mapping[str, np.ndarray]

# In a reduced precision: whether the file works, not how well. IoU and share of the faces.
_LEAST_IOU, _LEAST_RECALL = 0.5, 0.5


def export_onnx(network: SSH, config: DetectConfig, out: str | Path) -> Path:
    """Writes a detector as an ONNX file and proves that it works.

    Its input is `image`, `[1, H, W, 3]` uint8 RGB of any size. Its outputs are `boxes`, `[R, 4]`
    float32 `x1, y1, x2, y2` in px of that image, and `scores`, `[R]` float32, best first, filled up
    with zeros to R rows, and `count`, `[1]` int64, how many rows are faces.

    Args:
        network: The detector's network.
        config: One scale, thresholds and precision. `max_detections` is R, by default 750.
        out: The file, `.onnx`.

    Returns:
        `out` as a path.

    Raises:
        UserError: If `out` can't be written or has another suffix, for a pyramid or
            16 bit, or if the file does not find what the detector finds; it is deleted then.
    """
    path = Path(out)
    if path.suffix != ".onnx":
        raise UserError(f"{path} must end in .onnx.")
    if config.precision in ("bfloat16", "float16"):
        raise UserError(
            f"ONNX Runtime does not compute in {config.precision} on CPUs: such a file can't be "
            "checked. Choose float32 or int8, or the format openvino."
        )
    output_file(path)
    detector = exported_detector(network, config)
    with atomic_path(path) as temporary:
        write_detector(detector, config, temporary)
        session = onnxruntime.InferenceSession(temporary, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]

        def run(images: np.ndarray) -> Outputs:
            return dict(zip(names, session.run(names, {IMAGE: images}), strict=True))

        check_outputs(run, detector, path, config.precision)
    return path


def exported_detector(network: SSH, config: DetectConfig) -> Detector:
    """Returns the detector, in float32, that an export has to equal.

    Raises:
        UserError: If its settings can't be exported to ONNX's operators.
    """
    if config.pyramid_px:
        raise UserError("ONNX and OpenVINO files have one scale. Export a pyramid as savedmodel.")
    rows = config.max_detections or EXPORT_ROWS
    exact = {"max_detections": rows, "precision": "float32", "calibration": None}
    return Detector(network, config.model_copy(update=exact))


def write_detector(detector: Detector, wanted: DetectConfig, path: Path) -> None:
    """Writes an ONNX file with the scaling before the network, proposals and NMS behind it.

    Args:
        detector: What it has to equal.
        wanted: Its precision: that of the network in the file.
        path: The file.
    """
    modules, config = detector.network.config.modules, detector.config
    network = _written_network(detector.network, wanted, path)
    parts = [
        scaling(config, detector.network.means),
        network.graph,
        *(proposals(module, config) for module in modules),
        suppression(modules, config),
    ]
    graph = onnx.helper.make_graph(
        [node for part in parts for node in part.node],
        "ssh",
        parts[0].input,
        parts[-1].output,
        [tensor for part in parts for tensor in part.initializer],
    )
    model = onnx.helper.make_model(
        graph,
        ir_version=network.ir_version,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        producer_name="ssh_tf",
        producer_version=__version__,
    )
    onnx.helper.set_model_props(model, {"ssh_tf": about(detector, wanted.precision)})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _written_network(network: SSH, wanted: DetectConfig, path: Path) -> onnx.ModelProto:
    """Returns the network as ONNX in a precision; `path` is where it may lie meanwhile."""
    if wanted.precision == "int8":
        write_int8(network, path, calibration_images(wanted.calibration))
    else:
        write_onnx(network, path)
    return onnx.load(path)


def about(detector: Detector, precision: str) -> str:
    """Returns what an export says of itself: architecture, settings and weights, as JSON."""
    settings = {"model": detector.network.config.model_dump(mode="json"), "channels": "RGB"}
    detect = {**json.loads(detector.fingerprint()), "precision": precision}
    return json.dumps(settings | {"detect": detect})


def check_outputs(
    run: Callable[[np.ndarray], Outputs], detector: Detector, path: Path, precision: str
) -> None:
    """Compares an export with the detector that it was made from.

    Args:
        run: Runs the export on `[1, H, W, 3]` uint8.
        detector: Finds the same faces, in float32.
        path: Of the export, for the error.
        precision: Of the export.

    Raises:
        UserError: If boxes differ by more than 0.1 px or scores by more than 1e-4; in a reduced
            precision, if more than half of the faces above 0.5 is missing (IoU 0.5).
    """
    image = example_image()
    outputs, expected = run(image[np.newaxis]), detector.detect(image)
    count = int(outputs[COUNT][0])
    found = Detections(outputs[BOXES][:count], outputs[SCORES][:count], image.shape[:2])
    same = _equal(found, expected) if precision == "float32" else _alike(found, expected)
    if not same:
        raise UserError(
            f"{path} would find {count} faces where the detector finds {len(expected)}, or others. "
            "Nothing was exported. Report this with the output of `ssh-tf --version`."
        )


def _equal(found: Detections, expected: Detections) -> bool:
    return (
        len(found) == len(expected)
        and np.allclose(found.boxes, expected.boxes, rtol=0, atol=BOX_TOLERANCE_PX)
        and np.allclose(found.scores, expected.scores, rtol=0, atol=SCORE_TOLERANCE)
    )


def _alike(found: Detections, expected: Detections) -> bool:
    again = found_again(found.boxes, expected.filter(score=0.5).boxes, _LEAST_IOU)
    return bool(np.isfinite(found.boxes).all() and again.sum() >= _LEAST_RECALL * len(again))
