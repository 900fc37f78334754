"""Tests of the detector: models from files, images in, boxes out."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ssh_tf import signature
from ssh_tf.config import PRESETS, to_yaml
from ssh_tf.errors import UserError
from ssh_tf.inference.detector import Detector
from ssh_tf.inference.exported import ExportedDetector, find_saved_model
from ssh_tf.inference.results import Detections
from tests.support.small import encode, narrow_network, picture, small_config, small_network


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(small_network(), small_config().detect)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run: settings unlike the defaults, and the network."""
    folder = tmp_path_factory.mktemp("run")
    config = small_config(detect={"nms_iou": 0.4, "score_threshold": 0.6})
    (folder / "config.yaml").write_text(to_yaml(config))
    small_network().save(folder / "model.keras")
    return folder


def assert_equal(left: Detections, right: Detections) -> None:
    np.testing.assert_array_equal(left.boxes, right.boxes)
    np.testing.assert_array_equal(left.scores, right.scores)


@pytest.mark.parametrize("size", [(1, 1), (20, 20), (300, 30), (30, 300), (64, 96), (1, 200)])
def test_boxes_lie_in_the_image_best_first_whatever_its_size(
    detector: Detector, size: tuple[int, int]
):
    found = detector.detect(picture(*size))
    height, width = size
    assert len(found.boxes) == len(found.scores) > 0
    assert (found.boxes.dtype, found.scores.dtype) == (np.float32, np.float32)
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [width, height, width, height]).all()
    assert (np.diff(found.scores) <= 0).all()
    assert ((found.scores > 0.05) & (found.scores <= 1)).all()


def test_no_result_depends_on_images_seen_before(detector: Detector):
    images = [picture(64, 96, seed=1), picture(200, 90, seed=2), picture(30, 31, seed=3)]
    first = [detector.detect(image) for image in images]
    fresh = Detector(small_network(), small_config().detect)
    for image, found in reversed(list(zip(images, first, strict=True))):
        assert_equal(detector.detect(image), found)
        assert_equal(fresh.detect(image), found)


def test_a_run_is_loaded_with_its_own_settings(run: Path):
    loaded = Detector.load(run)
    config = small_config(detect={"nms_iou": 0.4, "score_threshold": 0.6}).detect
    assert loaded.config == config
    assert_equal(loaded.detect(picture()), Detector(small_network(), config).detect(picture()))


def test_the_fingerprint_tells_weights_and_settings_apart(run: Path, detector: Detector):
    loaded = Detector(Detector.load(run).network, detector.config)
    assert loaded.fingerprint() == detector.fingerprint()
    assert "\n" not in detector.fingerprint()
    other_settings = Detector(loaded.network, small_config(detect={"nms_iou": 0.31}).detect)
    assert other_settings.fingerprint() != detector.fingerprint()
    bias = loaded.network.get_layer("m3_box").bias
    bias.assign(bias + 1e-6)
    assert loaded.fingerprint() != detector.fingerprint()


def test_a_model_file_has_the_official_settings_but_for_those_given(run: Path, tmp_path: Path):
    (tmp_path / "x.keras").symlink_to(run / "model.keras")
    loaded = Detector.load(tmp_path / "x.keras", shorter_px=400, longer_px=800)
    assert (loaded.config.shorter_px, loaded.config.longer_px) == (400, 800)
    assert loaded.config.nms_iou == 0.3


def test_only_a_run_has_a_best_network(run: Path):
    for path in (run / "model.keras", "light"):
        with pytest.raises(UserError, match="is not a run folder: there is no best network"):
            Detector.load(path, which="best")
    with pytest.raises(UserError, match=r"has no best\.keras"):
        Detector.load(run, which="best")


@pytest.mark.parametrize("settings", [{"shorter_px": 0}, {"longer_px": -5}, {"top_k": 0}])
def test_a_setting_out_of_range_is_refused(run: Path, settings: dict[str, int]):
    (key, value) = next(iter(settings.items()))
    with pytest.raises(UserError, match=rf"`detect\.{key}`: .*greater than 0. Received: {value}"):
        Detector.load(run, **settings)


def test_a_missing_model_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"absent.keras does not exist"):
        Detector.load(tmp_path / "absent.keras")


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating"),
        MemoryError("Unable to allocate"),
        RuntimeError("Exception from node.cpp:794:\nFailed to allocate 144000000 bytes of memory"),
    ],
    ids=["tensorflow", "numpy", "openvino"],
)
def test_exhausted_memory_is_the_user_s_error(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def exhausted(_: np.ndarray) -> None:
        raise error

    monkeypatch.setattr(detector, "forward", exhausted)
    with pytest.raises(UserError, match=r"An image of 96 x 64 px needs more memory .* Lower `sho"):
        detector.detect(picture(64, 96))


def test_another_error_of_a_runtime_stays_what_it_is(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
):
    def broken(_: np.ndarray) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(detector, "forward", broken)
    with pytest.raises(RuntimeError, match="no kernel"):
        detector.detect(picture(64, 96))


def test_a_saved_model_has_no_other_runtime(small_export: Path):
    with pytest.raises(UserError, match=r"is a SavedModel, which TensorFlow runs, not openvino"):
        Detector.load(small_export, runtime="openvino")


@pytest.fixture(scope="module")
def served(small_export: Path) -> ExportedDetector:
    """The exported network, loaded from the folder of its versions."""
    loaded = Detector.load(small_export)
    assert isinstance(loaded, ExportedDetector)
    return loaded


def test_a_saved_model_finds_what_its_network_finds(served: ExportedDetector, detector: Detector):
    for image in (picture(), picture(200, 90, seed=2)):
        ours, theirs = detector.detect(image), served.detect(image)
        assert 0 < len(ours.scores) <= 300
        # OpenCV scales here, TensorFlow's kernel there: see test_arrays.
        np.testing.assert_allclose(theirs.boxes, ours.boxes, atol=1e-3)
        np.testing.assert_allclose(theirs.scores, ours.scores, atol=2e-5)


def test_the_newest_version_is_taken(tmp_path: Path):
    for version in ("2", "10", "9", "tmp"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").touch()
    (tmp_path / "11").mkdir()
    assert find_saved_model(tmp_path) == tmp_path / "10"
    assert find_saved_model(tmp_path / "9") == tmp_path / "9"
    assert find_saved_model(tmp_path / "11") is None


@pytest.mark.parametrize(("status", "reason"), [(2, "too large"), (9, "status 9")])
def test_an_image_that_an_export_refuses_is_an_error(
    served: ExportedDetector, monkeypatch: pytest.MonkeyPatch, status: int, reason: str
):
    outputs = served._detect(tf.constant(picture()[np.newaxis]))
    refused = outputs | {signature.STATUS: tf.constant([status])}
    monkeypatch.setattr(served, "_detect", lambda _: refused)
    with pytest.raises(UserError, match=rf"1 refuses an image of 96 x 64 px: {reason}\.$"):
        served.detect(picture())


def test_detectors_say_what_they_are(
    detector: Detector, served: ExportedDetector, small_export: Path
):
    start = "Detector(ssh, runtime='tensorflow', DetectConfig(shorter_px=64, longer_px=96"
    assert repr(detector).startswith(start)
    assert repr(served) == f"ExportedDetector({str(small_export / '1')!r})"


def test_a_saved_model_takes_no_settings(small_export: Path):
    with pytest.raises(UserError, match=r"1 is a SavedModel, whose shorter_px was fixed"):
        Detector.load(small_export, shorter_px=400)


def test_a_damaged_saved_model_is_named(tmp_path: Path):
    (tmp_path / "saved_model.pb").write_bytes(b"no protocol buffer")
    with pytest.raises(UserError, match=r"can't be used as a detector \(.*Export it again"):
        Detector.load(tmp_path)


def test_two_exports_have_two_fingerprints(
    small_export: Path, served: ExportedDetector, tmp_path: Path
):
    folder = shutil.copytree(small_export / "1", tmp_path / "1")
    other = ExportedDetector(folder)
    assert other.fingerprint() == served.fingerprint()
    (folder / "note").write_text("another")
    assert other.fingerprint() != served.fingerprint()


def test_a_path_gives_what_its_pixels_give(detector: Detector, tmp_path: Path):
    (tmp_path / "a.png").write_bytes(encode(picture(), ".png"))
    assert_equal(detector.detect(tmp_path / "a.png"), detector.detect(picture()))
    assert_equal(detector.detect(str(tmp_path / "a.png")), detector.detect(picture()))


def test_a_batch_of_mixed_sizes_gives_what_each_image_gives(
    detector: Detector, served: ExportedDetector
):
    images = [picture(64, 96, seed=1), picture(200, 90, seed=2), picture(20, 20, seed=3)]
    for finder in (detector, served):
        batch = finder.detect_batch(images)
        assert len(batch) == 3
        for found, image in zip(batch, images, strict=True):
            assert_equal(found, finder.detect(image))
        assert finder.detect_batch([]) == []


@pytest.mark.parametrize("kind", [("run", "run folder"), ("run/model.keras", ".keras file")])
def test_the_log_says_what_was_loaded(
    run: Path, kind: tuple[str, str], caplog: pytest.LogCaptureFixture
):
    with caplog.at_level("INFO", logger="ssh_tf"):
        Detector.load(run.parent / run.name / kind[0].partition("/")[2])
    assert f"Model: {kind[1]} " in caplog.text


def test_presets_are_valid_settings(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ssh_tf.inference.detector.load_run", lambda *names: narrow_network())
    for preset in PRESETS.values():
        config = Detector.load(run, **preset).config
        assert preset.items() <= config.model_dump().items()
    fddb = Detector.load(run, **PRESETS["fddb"]).config
    assert (fddb.shorter_px, fddb.longer_px, fddb.pyramid_px) == (400, 800, ())
