"""Tests of the exports to ONNX and OpenVINO: they find what the detector finds."""

import importlib
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssh_tf.config import DetectConfig
from ssh_tf.errors import UserError
from ssh_tf.inference.arrays import difference, levels, resize
from ssh_tf.inference.detector import Detector
from tests.support.small import narrow_network, picture

NEEDS = "needs ONNX: pip install 'ssh-tf[onnx]'"
onnx = pytest.importorskip("onnx", reason=NEEDS)
onnxruntime = pytest.importorskip("onnxruntime", reason=NEEDS)
pytest.importorskip("tf2onnx", reason=NEEDS)
export = importlib.import_module("ssh_tf.export.onnx")
scaling = importlib.import_module("ssh_tf.export.onnx_graph").scaling

SETTINGS = DetectConfig(shorter_px=96, longer_px=160, max_detections=40, exact_decode=True)
MEANS = (103.5, 116.25, 123.675)
# Larger and smaller than the network's input, and one cut to a single cell.
SIZES = [(64, 96), (131, 77), (500, 333), (3, 700)]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(narrow_network(), SETTINGS)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export.export_onnx(
        narrow_network(), SETTINGS, tmp_path_factory.mktemp("onnx") / "ssh.onnx"
    )


@pytest.fixture(scope="module")
def session(exported: Path) -> Any:
    return onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])


def assert_same(
    detector: Detector, image: np.ndarray, run: Callable[[np.ndarray], dict[str, np.ndarray]]
) -> None:
    outputs, expected = run(image[np.newaxis]), detector.detect(image)
    count = int(outputs["count"][0])
    assert count == len(expected) > 5
    np.testing.assert_allclose(outputs["boxes"][:count], expected.boxes, rtol=0, atol=0.1)
    np.testing.assert_allclose(outputs["scores"][:count], expected.scores, rtol=0, atol=1e-4)
    assert outputs["boxes"].shape == (40, 4)
    assert not outputs["boxes"][count:].any()
    assert not outputs["scores"][count:].any()


@pytest.mark.parametrize("size", SIZES)
def test_the_onnx_file_finds_what_the_detector_finds(
    session: Any, detector: Detector, size: tuple[int, int]
):
    names = [output.name for output in session.get_outputs()]

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {"image": images}), strict=True))

    assert_same(detector, picture(*size), run)


def test_the_onnx_file_says_what_it_is(exported: Path):
    model = onnx.load(exported)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 17)]
    about = json.loads({one.key: one.value for one in model.metadata_props}["ssh_tf"])
    assert about["channels"] == "RGB"
    assert about["model"]["backbone"] == "mobilenet"
    assert about["detect"]["precision"] == "float32"
    assert len(about["detect"]["weights_sha256"]) == 64


@pytest.mark.parametrize("size", [(40, 60), (133, 100), (7, 2000), (1, 1), (999, 1001), (1, 4001)])
def test_pixels_are_those_of_the_detector(size: tuple[int, int]):
    config = DetectConfig(shorter_px=90, longer_px=150)
    model = onnx.helper.make_model(
        scaling(config, MEANS), opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    image = picture(*size)
    ((scale, _),) = levels(size, narrow_network().config.modules, config)
    (found,) = session.run(["images"], {"image": image[None]})
    expected = resize(difference(image, MEANS), scale)
    assert found.shape == (1, *expected.shape)
    if min(size) * scale > 0.5:  # Else the detector sees zeros: less than a row is left.
        np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-2)


@pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs pip install 'ssh-tf[openvino]'"
)
def test_openvino_files_find_what_the_detector_finds(
    exported: Path, detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import openvino

    from ssh_tf.export.openvino import export_openvino

    def write(
        _: Detector, wanted: DetectConfig, path: Path
    ) -> None:  # Which takes long, and was done.
        shutil.copy(exported, path)

    monkeypatch.setattr("ssh_tf.export.openvino.write_detector", write)
    path = export_openvino(narrow_network(), SETTINGS, tmp_path / "new" / "ssh")
    assert sorted(file.name for file in path.parent.iterdir()) == ["ssh.bin", "ssh.xml"]
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", options)

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        return {port.any_name: value for port, value in compiled(images).items()}

    for size in SIZES:
        assert_same(detector, picture(*size), run)
    with pytest.raises(UserError, match=r"exists. Name a new folder"):
        export_openvino(narrow_network(), SETTINGS, path.parent)
    settings = SETTINGS.model_copy(update={"precision": "float16"})
    half = export_openvino(narrow_network(), settings, tmp_path / "half")
    sizes = [file.with_suffix(".bin").stat().st_size for file in (half, path)]
    assert sizes[0] < 0.7 * sizes[1]
    about = json.loads(openvino.Core().read_model(half).get_rt_info("ssh_tf").astype(str))
    assert about["detect"]["precision"] == "float16"


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("ssh.pb", {}, r"must end in .onnx"),
        ("ssh.onnx", {"pyramid_px": (500, 800)}, r"have one scale"),
        ("ssh.onnx", {"precision": "bfloat16"}, r"not compute in bfloat16.*Choose float32 or int8"),
    ],
)
def test_what_can_t_be_exported_is_refused(
    tmp_path: Path, name: str, settings: dict[str, Any], message: str
):
    with pytest.raises(UserError, match=message):
        export.export_onnx(narrow_network(), DetectConfig(**settings), tmp_path / name)
    assert not list(tmp_path.iterdir())


def outputs(count: int, boxes: np.ndarray, scores: np.ndarray) -> dict[str, np.ndarray]:
    return {"count": np.array([count]), "boxes": boxes, "scores": scores}


@pytest.mark.parametrize("wrong", ["count", "boxes", "scores", None])
def test_an_export_that_finds_others_is_refused(detector: Detector, wrong: str | None):
    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        found = detector.detect(images[0])
        return outputs(
            len(found) - (wrong == "count"),
            found.boxes + 0.2 * (wrong == "boxes"),
            found.scores + 1e-3 * (wrong == "scores"),
        )

    if wrong is None:
        export.check_outputs(run, detector, Path("ssh.onnx"), "float32")
        return
    with pytest.raises(UserError, match=r"ssh.onnx would find \d+ faces .*Nothing was exported"):
        export.check_outputs(run, detector, Path("ssh.onnx"), "float32")


@pytest.mark.parametrize(("moved_px", "refused"), [(0.05, False), (8.0, True), (np.nan, True)])
def test_a_reduced_precision_may_move_faces_a_little(
    detector: Detector, moved_px: float, refused: bool
):
    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        found = detector.detect(images[0])
        return outputs(len(found), found.boxes + np.float32(moved_px), found.scores - 0.01)

    def check() -> None:
        export.check_outputs(run, detector, Path("ssh.onnx"), "int8")

    if refused:
        with pytest.raises(UserError, match="or others"):
            check()
    else:
        check()
    with pytest.raises(UserError):  # Which float32 may not.
        export.check_outputs(run, detector, Path("ssh.onnx"), "float32")


def test_a_file_in_8_bit_passes_its_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ssh_tf.inference.runtimes.quantize._PICTURES", 3)
    settings = SETTINGS.model_copy(update={"precision": "int8"})
    model = onnx.load(export.export_onnx(narrow_network(), settings, tmp_path / "ssh.onnx"))
    assert "QuantizeLinear" in {node.op_type for node in model.graph.node}
    about = json.loads({one.key: one.value for one in model.metadata_props}["ssh_tf"])
    assert about["detect"]["precision"] == "int8"
