"""Tests of the SavedModel: the Python detector's boxes, by every loader, without this package."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import yaml
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from ssh_tf import signature
from ssh_tf.config import EXPORT_ROWS, ExportConfig
from ssh_tf.errors import UserError
from ssh_tf.export.savedmodel import export_savedmodel
from ssh_tf.files import folder_lock
from ssh_tf.imaging.decoder import decode
from ssh_tf.inference.detector import Detector
from ssh_tf.inference.graph import ScoredBoxes
from ssh_tf.model.ssh import SSH
from ssh_tf.model.weights import build_network
from tests.support.small import encode, picture, small_config, small_network

ROWS = EXPORT_ROWS
CONFIG = small_config().detect
# Sizes, formats and channels mixed, as a server meets them. PNG keeps gray and alpha exactly.
IMAGES = {
    "jpeg": encode(picture(64, 96, seed=1)),
    "png": encode(picture(90, 31, seed=2), ".png"),
    "gray": encode(picture(50, 70, seed=3)[..., 0], ".png"),
    "large": encode(picture(200, 150, seed=4)),
}

Outputs = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(small_network(), CONFIG)


@pytest.fixture(scope="module")
def version(small_export: Path) -> Path:
    return small_export / "1"


@pytest.fixture(scope="module")
def loaded(version: Path) -> Any:
    return tf.saved_model.load(str(version))


def serve(loaded: Any, images: list[bytes]) -> Outputs:
    call = loaded.signatures["serving_default"]
    outputs = call(image_bytes=tf.constant(images, tf.string, shape=[len(images)]))
    return {key: value.numpy() for key, value in outputs.items()}


def assert_detected(outputs: Outputs, row: int, detector: Detector, pixels: np.ndarray) -> None:
    """Row `row` of the outputs is what the Python detector finds in `pixels`."""
    expected = detector.detect(pixels)
    count = int(outputs["num_detections"][row])
    assert count == len(expected.scores) > 5
    height, width = pixels.shape[:2]
    normalized = outputs["detection_boxes"][row, :count][:, [1, 0, 3, 2]]  # to x, y order
    boxes = normalized * [width, height, width, height]
    np.testing.assert_allclose(boxes, expected.boxes, atol=0.5)
    np.testing.assert_allclose(outputs["detection_scores"][row, :count], expected.scores, atol=1e-4)
    assert (outputs["detection_classes"][row, :count] == 1).all()


def pixels_of(encoded: bytes) -> np.ndarray:
    return np.asarray(decode(encoded))


def test_mixed_images_in_one_batch_give_the_python_detector_s_boxes(
    loaded: Any, detector: Detector
):
    outputs = serve(loaded, list(IMAGES.values()))
    for row, encoded in enumerate(IMAGES.values()):
        assert_detected(outputs, row, detector, pixels_of(encoded))


def test_pixels_give_the_python_detector_s_boxes(loaded: Any, detector: Detector):
    images = np.stack([picture(70, 80, seed=seed) for seed in range(3)])
    outputs = loaded.signatures["image_tensor"](image_tensor=tf.constant(images))
    outputs = {key: value.numpy() for key, value in outputs.items()}
    for row, pixels in enumerate(images):
        assert_detected(outputs, row, detector, pixels)


def test_no_result_depends_on_its_batch_mates(loaded: Any):
    together = serve(loaded, list(IMAGES.values()))
    for row, encoded in enumerate(IMAGES.values()):
        alone = serve(loaded, [encoded])
        for key, value in alone.items():
            np.testing.assert_array_equal(value[0], together[key][row])


def test_outputs_have_the_documented_shapes_and_types(loaded: Any):
    outputs = serve(loaded, [IMAGES["png"]] * 2)
    described = {key: (value.shape, value.dtype) for key, value in outputs.items()}
    assert described == {
        "detection_boxes": ((2, ROWS, 4), np.float32),
        "detection_scores": ((2, ROWS), np.float32),
        "detection_classes": ((2, ROWS), np.float32),
        "num_detections": ((2,), np.int32),
        "detection_status": ((2,), np.int32),
        "image_size": ((2, 2), np.int32),
    }


def test_rows_beyond_the_last_face_are_zero_and_nothing_is_nan(loaded: Any):
    outputs = serve(loaded, [IMAGES["png"]])
    count = int(outputs["num_detections"][0])
    assert 0 < count < ROWS
    for key in ("detection_boxes", "detection_scores", "detection_classes"):
        assert np.isfinite(outputs[key]).all()
        assert not outputs[key][0, count:].any()


def test_an_empty_batch_gives_empty_outputs(loaded: Any):
    assert {key: value.shape for key, value in serve(loaded, []).items()} == {
        "detection_boxes": (0, ROWS, 4),
        "detection_scores": (0, ROWS),
        "detection_classes": (0, ROWS),
        "num_detections": (0,),
        "detection_status": (0,),
        "image_size": (0, 2),
    }
    none = loaded.signatures["image_tensor"](image_tensor=tf.zeros([0, 8, 8, 3], tf.uint8))
    assert none["detection_boxes"].shape == (0, ROWS, 4)


def test_the_raw_signature_gives_the_network_s_outputs(loaded: Any):
    images = np.stack([picture(64, 96, seed=seed) for seed in range(2)]).astype(np.float32)
    outputs = loaded.signatures["raw"](images=tf.constant(images))
    expected = small_network().exact()(images)
    assert set(outputs) == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(outputs[key], value, atol=1e-4)


def test_a_session_of_tensorflow_1_runs_it_too(version: Path, detector: Detector):
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(version))
        call = meta.signature_def["serving_default"]
        fetches = {key: info.name for key, info in call.outputs.items()}
        feed = {call.inputs["image_bytes"].name: list(IMAGES.values())}
        outputs = session.run(fetches, feed)
    for row, encoded in enumerate(IMAGES.values()):
        assert_detected(outputs, row, detector, pixels_of(encoded))


CLEAN = """
import sys
sys.modules["ssh_tf"] = None  # importing it, by whatever way, is an ImportError from here on
import numpy as np, tensorflow as tf
model, out, *images = sys.argv[1:]
serve = tf.saved_model.load(model).signatures["serving_default"]
outputs = serve(image_bytes=tf.constant([open(image, "rb").read() for image in images]))
np.savez(out, **outputs)
"""


def test_it_runs_where_this_package_is_not_installed(
    version: Path, detector: Detector, tmp_path: Path
):
    for name, encoded in IMAGES.items():
        (tmp_path / name).write_bytes(encoded)
    paths = [str(tmp_path / name) for name in IMAGES]
    command = [sys.executable, "-I", "-c", CLEAN, str(version), str(tmp_path / "out.npz"), *paths]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    outputs = dict(np.load(tmp_path / "out.npz"))
    for row, encoded in enumerate(IMAGES.values()):
        assert_detected(outputs, row, detector, pixels_of(encoded))


@pytest.fixture(scope="module")
def proto(version: Path) -> SavedModel:
    return SavedModel.FromString((version / "saved_model.pb").read_bytes())


def test_the_names_are_those_of_the_signature_module(proto: SavedModel):
    calls = proto.meta_graphs[0].signature_def
    inputs = {
        signature.SERVING_DEFAULT: signature.IMAGE_BYTES,
        signature.IMAGE_TENSOR: signature.IMAGE_TENSOR,
        signature.RAW: signature.IMAGES,
    }
    assert set(calls) - {"__saved_model_init_op"} == set(inputs)
    for name, key in inputs.items():
        assert set(calls[name].inputs) == {key}
    for name in (signature.SERVING_DEFAULT, signature.IMAGE_TENSOR):
        assert set(calls[name].outputs) == {
            signature.DETECTION_BOXES,
            signature.DETECTION_SCORES,
            signature.DETECTION_CLASSES,
            signature.NUM_DETECTIONS,
            signature.STATUS,
            signature.IMAGE_SIZE,
        }


def test_the_inputs_take_any_number_of_images_of_any_size(proto: SavedModel):
    calls = proto.meta_graphs[0].signature_def
    encoded = calls["serving_default"].inputs["image_bytes"]
    pixels = calls["image_tensor"].inputs["image_tensor"]
    assert (encoded.dtype, pixels.dtype) == (tf.string.as_datatype_enum, tf.uint8.as_datatype_enum)
    assert [dim.size for dim in encoded.tensor_shape.dim] == [-1]
    assert [dim.size for dim in pixels.tensor_shape.dim] == [-1, -1, -1, 3]


def nodes(proto: SavedModel) -> Iterator[Any]:
    for meta_graph in proto.meta_graphs:
        yield from meta_graph.graph_def.node
        for function in meta_graph.graph_def.library.function:
            yield from function.node_def


def test_it_needs_no_python_and_no_xla(proto: SavedModel, version: Path):
    operations = {node.op for node in nodes(proto)}
    assert "CombinedNonMaxSuppression" in operations
    assert not [name for name in operations if "PyFunc" in name or "Xla" in name]
    assert b"_XlaMustCompile" not in (version / "saved_model.pb").read_bytes()


def test_weights_are_stored_once(version: Path):
    size = sum(file.stat().st_size for file in version.rglob("*") if file.is_file())
    assert size < 82e6  # 19.8 million float32


def visible(folder: Path) -> list[str]:
    """What is left in a folder but for the file of its lock."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def save_quickly(module: Any, path: str, signatures: Any) -> None:
    """Stands in for `tf.saved_model.save` where only the files around it matter."""
    Path(path, "variables").mkdir()
    Path(path, "saved_model.pb").write_text("whole")


@pytest.fixture
def untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector without a graph, where only the files around it matter."""
    nothing = ScoredBoxes(tf.zeros([0, 4]), tf.zeros([0]))
    detect = "ssh_tf.export.savedmodel.detection_function"
    monkeypatch.setattr(detect, lambda *_, **__: lambda image: nothing)


@pytest.fixture
def quick(untraced: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.saved_model, "save", save_quickly)
    monkeypatch.setattr("ssh_tf.export.savedmodel.check_export", lambda folder, detect: None)


@pytest.mark.usefixtures("quick")
def test_versions_count_up_from_1_and_old_ones_stay(tmp_path: Path):
    out = tmp_path / "models" / "ssh"
    first = export_savedmodel(small_network(), CONFIG, out)
    assert first == out / "1"
    (out / "12").mkdir()
    (out / "notes").mkdir()
    assert export_savedmodel(small_network(), CONFIG, str(out)) == out / "13"
    assert visible(out) == ["1", "12", "13", "notes"]
    assert (first / "saved_model.pb").read_text() == "whole"


@pytest.mark.usefixtures("untraced")
def test_a_full_disk_leaves_the_old_versions_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(module: Any, path: str, signatures: Any) -> None:
        Path(path, "saved_model.pb").write_text("half")
        # What TensorFlow raises; its Python has no part in writing variables.
        raise tf.errors.ResourceExhaustedError(None, None, f"{path}; No space left on device")

    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_text("old")
    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(UserError, match=r"Nothing was exported to .*; No space left .*Free some"):
        export_savedmodel(small_network(), CONFIG, tmp_path)
    assert visible(tmp_path) == ["1"]
    assert (tmp_path / "1" / "saved_model.pb").read_text() == "old"


@pytest.mark.parametrize(
    ("value", "half", "dtype"),
    [(np.nan, False, "float32"), (np.inf, False, "float32"), (1e5, True, "float16")],
)
def test_weights_that_are_not_finite_are_refused(
    tmp_path: Path, value: float, half: bool, dtype: str
):
    network = build_network(small_config().model, seed=0)
    bias = network.get_layer("m2_cls").bias
    bias.assign(tf.tensor_scatter_nd_update(bias.value, [[1]], [value]))
    with pytest.raises(UserError, match=rf"Weight m2_cls/bias is not finite in {dtype}"):
        export_savedmodel(network, CONFIG, tmp_path, ExportConfig(float16=half))
    assert visible(tmp_path) == []


@pytest.mark.usefixtures("untraced")
def test_a_version_appears_only_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[str] = []
    monkeypatch.setattr(tf.saved_model, "save", lambda *_: seen.extend(visible(tmp_path)))
    with pytest.raises(UserError, match="SavedModel file does not exist"):  # nothing wrote one
        export_savedmodel(small_network(), CONFIG, tmp_path)
    # TensorFlow Serving takes folders whose names are numbers for versions.
    assert len(seen) == 1
    assert not seen[0].isdecimal()


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, UserError])
def test_a_folder_that_was_made_for_an_export_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
):
    def fail(*_: Any) -> None:
        raise error

    (tmp_path / "kept").mkdir()
    monkeypatch.setattr(tf.saved_model, "save", fail)
    for out in (tmp_path / "new", tmp_path / "a" / "b" / "ssh", tmp_path / "kept" / "c"):
        with pytest.raises(error):
            export_savedmodel(small_network(), CONFIG, out)
    with pytest.raises(error):
        export_savedmodel(small_network(), CONFIG, tmp_path / "kept")
    assert visible(tmp_path) == ["kept"]
    assert visible(tmp_path / "kept") == []


@pytest.mark.usefixtures("quick")
def test_one_process_at_a_time_exports_into_a_folder(tmp_path: Path):
    # The kernel knows two containers apart, whose processes have the same number.
    with (
        folder_lock(tmp_path, "model"),
        pytest.raises(UserError, match="another process works on this model"),
    ):
        export_savedmodel(small_network(), CONFIG, tmp_path)
    assert export_savedmodel(small_network(), CONFIG, tmp_path).name == "1"


@pytest.mark.usefixtures("quick")
def test_what_a_killed_export_left_is_removed_by_the_next(tmp_path: Path):
    left = tmp_path / ".tmp-dead"
    (left / "new" / "variables").mkdir(parents=True)
    (left / ".lock").touch()  # The kernel's lock on it ended with its process.
    os.utime(left, (0, 0))
    assert export_savedmodel(small_network(), CONFIG, tmp_path).name == "1"
    assert visible(tmp_path) == ["1"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("there", "next_one"), [("0001", "2"), ("007", "8"), ("0", "1")])
def test_leading_zeros_count_as_versions(tmp_path: Path, there: str, next_one: str):
    (tmp_path / there).mkdir()
    assert export_savedmodel(small_network(), CONFIG, tmp_path).name == next_one
    with pytest.raises(UserError, match=f"Version {int(next_one)} is in"):
        export_savedmodel(small_network(), CONFIG, tmp_path, ExportConfig(version=int(next_one)))


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({}, {"max_pixels": 10_000}, "`max_pixels` is 10000, below the picture .*: 12288"),
        ({}, {"max_pixels": 1}, "`max_pixels` is 1, below"),
        ({}, {"max_bytes": 1000}, "`max_bytes` is 1000, below"),
        ({"max_detections": 10**6}, {}, "`max_detections` is 1000000. .* at most 100000"),
    ],
)
def test_limits_that_no_export_can_keep_are_refused_before_the_work(
    tmp_path: Path, settings: dict[str, int], options: dict[str, int], message: str
):
    config = CONFIG.model_copy(update=settings)
    with pytest.raises(UserError, match=message):
        export_savedmodel(small_network(), config, tmp_path / "new", ExportConfig(**options))
    assert visible(tmp_path) == []


def test_a_folder_that_is_itself_a_savedmodel_is_refused(version: Path):
    with pytest.raises(UserError, match=r"is itself a SavedModel. Expected a folder of numbered"):
        export_savedmodel(small_network(), CONFIG, version)
    assert not (version / ".lock").exists()


def test_an_output_that_is_a_file_is_refused(tmp_path: Path):
    (tmp_path / "ssh").touch()
    with pytest.raises(UserError, match=r"Output folder .*ssh is not writable"):
        export_savedmodel(small_network(), CONFIG, tmp_path / "ssh")


@pytest.mark.usefixtures("quick")
def test_a_version_can_be_named_once(tmp_path: Path):
    options = ExportConfig(version=7)
    assert export_savedmodel(small_network(), CONFIG, tmp_path, options) == tmp_path / "7"
    with pytest.raises(UserError, match=r"Version 7 is in .* already\. Its newest is 7"):
        export_savedmodel(small_network(), CONFIG, tmp_path, options)
    assert export_savedmodel(small_network(), CONFIG, tmp_path) == tmp_path / "8"


def test_an_export_that_differs_from_the_detector_is_deleted(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def other(module: Any, path: str, signatures: Any) -> None:
        shutil.copytree(version, path, dirs_exist_ok=True)  # a model of other thresholds

    monkeypatch.setattr(tf.saved_model, "save", other)
    config = CONFIG.model_copy(update={"score_threshold": 0.6})
    with pytest.raises(UserError, match=r"default finds \d+ faces where the detector finds \d+"):
        export_savedmodel(small_network(), config, tmp_path)
    assert visible(tmp_path) == []


def test_an_export_that_does_not_run_is_deleted(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def damaged(module: Any, path: str, signatures: Any) -> None:
        shutil.copytree(version, path, dirs_exist_ok=True)
        (Path(path) / "variables" / "variables.index").write_bytes(b"")

    monkeypatch.setattr(tf.saved_model, "save", damaged)
    with pytest.raises(UserError, match=r"The export fails its warm-up \(.*It was deleted"):
        export_savedmodel(small_network(), CONFIG, tmp_path)
    assert visible(tmp_path) == []


def test_warm_up_has_a_request_for_each_signature(version: Path):
    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    records = tf.data.TFRecordDataset(str(version / signature.WARMUP)).as_numpy_iterator()
    sent = [
        prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        for record in records
    ]
    assert [request.model_spec.signature_name for request in sent] == [
        "serving_default",
        "image_tensor",
        "raw",
    ]
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(version))
        for request in sent:
            call = meta.signature_def[request.model_spec.signature_name]
            feed = {
                call.inputs[key].name: tf.make_ndarray(value)
                for key, value in request.inputs.items()
            }
            fetches = {key: info.name for key, info in call.outputs.items()}
            assert all(len(value) == 1 for value in session.run(fetches, feed).values())


def test_the_assets_say_what_it_is_and_where_it_comes_from(version: Path):
    assets = version / "assets"
    assert (assets / "labels.txt").read_text() == "1 face\n"
    settings = yaml.safe_load((assets / "config.yaml").read_text())
    assert settings["detect"] == {**CONFIG.model_dump(mode="json"), "max_detections": ROWS}
    assert settings["export"] == ExportConfig().model_dump(mode="json")
    origin = json.loads((assets / "origin.json").read_text())
    assert origin["channels"] == "RGB"
    assert len(origin["network"]) == 64
    np.testing.assert_allclose(origin["pixel_means"], small_network().means, rtol=1e-6)


def rounded_network() -> SSH:
    """`small_network` with the weights that float16 has."""
    network = build_network(small_config().model, seed=0)
    for ours, theirs in zip(network.variables, small_network().variables, strict=True):
        ours.assign(tf.cast(tf.cast(theirs.value, tf.float16), tf.float32))
    return network


def test_half_weights_take_half_the_space_and_a_pyramid_is_exported_too(tmp_path: Path):
    pyramid = {"pyramid_px": (32, 64), "pyramid_base_px": (64, 96)}
    config = CONFIG.model_copy(update=pyramid)
    half = export_savedmodel(small_network(), config, tmp_path, ExportConfig(float16=True))
    size = sum(file.stat().st_size for file in half.rglob("*") if file.is_file())
    assert size < 42e6
    outputs = serve(tf.saved_model.load(str(half)), [IMAGES["png"]])
    assert_detected(outputs, 0, Detector(rounded_network(), config), pixels_of(IMAGES["png"]))


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_c_plus_plus_loader_of_tensorflow_serving_runs_it(
    version: Path, detector: Detector, tmp_path: Path
):
    program, image, none = (tmp_path / name for name in ("load_savedmodel", "a.jpg", "no_image"))
    image.write_bytes(IMAGES["jpeg"])
    none.write_text("no image")
    build = Path(__file__).parents[2] / "export" / "cpp" / "build.sh"
    environment = {**os.environ, "PYTHON": sys.executable}
    subprocess.run([build, program], check=True, env=environment, capture_output=True)
    run = [program, version, none, image]
    found = subprocess.run(run, check=True, capture_output=True, text=True).stdout.splitlines()
    pixels = pixels_of(IMAGES["jpeg"])
    expected = detector.detect(pixels)
    no_image, summary, *rows = found
    assert no_image == f"{signature.STATUS_NOT_AN_IMAGE} 0"
    assert summary == f"{signature.STATUS_OK} {len(expected.scores)}"
    table = np.array([row.split() for row in rows], np.float64)
    height, width = pixels.shape[:2]
    boxes = table[:, [1, 0, 3, 2]] * [width, height, width, height]
    np.testing.assert_allclose(boxes, expected.boxes, atol=0.1)
    np.testing.assert_allclose(table[:, 4], expected.scores, atol=1e-4)
