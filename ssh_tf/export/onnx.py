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
from ssh_tf.inference.detector import Detector
from ssh_tf.inference.runtimes.convert import OPSET, write_onnx
from ssh_tf.model.ssh import SSH
from ssh_tf.version import __version__

Outputs = Mapping[str, np.ndarray]


def export_onnx(network: SSH, config: DetectConfig, out: str | Path) -> Path:
    """Writes a detector as an ONNX file and proves that it works.

    Its input is `image`, `[1, H, W, 3]` uint8 RGB of any size. Its outputs are `boxes`, `[R, 4]`
    float32 `x1, y1, x2, y2` in px of that image, and `scores`, `[R]` float32, best first, filled up
    with zeros to R rows, and `count`, `[1]` int64, how many rows are faces.

    Args:
        network: The detector's network.
        config: Scale and thresholds: one scale and float32. `max_detections` is R, by default 750.
        out: The file, `.onnx`.

    Returns:
        `out` as a path.

    Raises:
        UserError: If `out` can't be written or has another suffix, for a pyramid or a reduced
            precision, or if the file does not find what the detector finds; it is deleted then.
    """
    path = Path(out)
    if path.suffix != ".onnx":
        raise UserError(f"{path} must end in .onnx.")
    output_file(path)
    detector = exported_detector(network, config)
    with atomic_path(path) as temporary:
        write_detector(detector, temporary)
        session = onnxruntime.InferenceSession(temporary, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]

        def run(images: np.ndarray) -> Outputs:
            return dict(zip(names, session.run(names, {IMAGE: images}), strict=True))

        check_outputs(run, detector, path)
    return path


def exported_detector(network: SSH, config: DetectConfig) -> Detector:
    """Returns the detector that an export has to equal.

    Raises:
        UserError: If its settings can't be exported to ONNX's operators.
    """
    if config.pyramid_px:
        raise UserError("ONNX and OpenVINO files have one scale. Export a pyramid as savedmodel.")
    if config.precision != "float32":
        raise UserError(
            f"ONNX and OpenVINO files are exported in float32. Received: {config.precision}. The "
            "program that runs them may compute in less."
        )
    rows = config.max_detections or EXPORT_ROWS
    return Detector(network, config.model_copy(update={"max_detections": rows}))


def write_detector(detector: Detector, path: Path) -> None:
    """Writes an ONNX file with the scaling before the network, proposals and NMS behind it."""
    modules, config = detector.network.config.modules, detector.config
    write_onnx(detector.network, path)
    network = onnx.load(path)
    parts = [
        scaling(config),
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
    onnx.helper.set_model_props(model, {"ssh_tf": about(detector)})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def about(detector: Detector) -> str:
    """Returns what an export says of itself: architecture, settings and weights, as JSON."""
    settings = {"model": detector.network.config.model_dump(mode="json"), "channels": "RGB"}
    return json.dumps(settings | {"detect": json.loads(detector.fingerprint())})


def check_outputs(run: Callable[[np.ndarray], Outputs], detector: Detector, path: Path) -> None:
    """Compares an export with the detector that it was made from.

    Args:
        run: Runs the export on `[1, H, W, 3]` uint8.
        detector: Finds the same faces.
        path: Of the export, for the error.

    Raises:
        UserError: If boxes differ by more than 0.1 px or scores by more than 1e-4.
    """
    image = example_image()
    outputs, expected = run(image[np.newaxis]), detector.detect(image)
    count = int(outputs[COUNT][0])
    same = (
        count == len(expected)
        and np.allclose(outputs[BOXES][:count], expected.boxes, rtol=0, atol=BOX_TOLERANCE_PX)
        and np.allclose(outputs[SCORES][:count], expected.scores, rtol=0, atol=SCORE_TOLERANCE)
    )
    if not same:
        raise UserError(
            f"{path} would find {count} faces where the detector finds {len(expected)}, or others. "
            "Nothing was exported. Report this with the output of `ssh-tf --version`."
        )
