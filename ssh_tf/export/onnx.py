"""Writes one ONNX file: pixels in, boxes out, scaling and NMS inside."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from ssh_tf.config import DetectConfig, ExportConfig, ModuleConfig
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


def export_onnx(
    network: SSH, config: DetectConfig, out: str | Path, options: ExportConfig | None = None
) -> Path:
    """Writes a detector as an ONNX file and proves that it works.

    Its input is `image`, `[1, H, W, 3]` uint8 RGB of any size. Its outputs are `boxes`, `[R, 4]`
    float32 `x1, y1, x2, y2` in px of that image, and `scores`, `[R]` float32, best first, filled up
    with zeros to R rows, and `count`, `[1]` int64, how many rows are faces.

    Args:
        network: The detector's network.
        config: Scale and thresholds; one scale and float32.
        out: The file, `.onnx`.
        options: Rows.

    Returns:
        `out` as a path.

    Raises:
        UserError: If `out` can't be written or has another suffix, for a pyramid or a reduced
            precision, or if the file does not find what the detector finds; it is deleted then.
    """
    path = _checked(Path(out), ".onnx", config)
    rows = (options or ExportConfig()).max_detections
    config = config.model_copy(update={"max_detections": rows})
    with atomic_path(path) as temporary:
        write_onnx(network, temporary)
        model = _complete(onnx.load(temporary), network.config.modules, config)
        onnx.checker.check_model(model)
        onnx.save(model, temporary)
        session = onnxruntime.InferenceSession(temporary, providers=["CPUExecutionProvider"])

        def run(image: np.ndarray) -> Outputs:
            values = session.run(None, {IMAGE: image})
            names = [output.name for output in session.get_outputs()]
            return dict(zip(names, values, strict=True))

        check_outputs(run, Detector(network, config), path)
    return path


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


def _checked(path: Path, suffix: str, config: DetectConfig) -> Path:
    if path.suffix != suffix:
        raise UserError(f"{path} must end in {suffix}.")
    if config.pyramid_px:
        raise UserError(f"{suffix} files have one scale. Export a SavedModel for a pyramid.")
    if config.precision != "float32":
        raise UserError(
            f"{suffix} files are exported in float32, not {config.precision}. What runs them can "
            "be told to compute in less."
        )
    return output_file(path)


def _complete(
    model: onnx.ModelProto, modules: Sequence[ModuleConfig], config: DetectConfig
) -> onnx.ModelProto:
    """Returns the network with the scaling before it and proposals and NMS behind it."""
    parts = [
        scaling(config),
        model.graph,
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
    complete = onnx.helper.make_model(
        graph,
        ir_version=model.ir_version,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        producer_name="ssh_tf",
        producer_version=__version__,
    )
    about = {"detect": config.model_dump(mode="json"), "channels": "RGB"}
    onnx.helper.set_model_props(complete, {"ssh_tf": json.dumps(about)})
    return complete
