"""Tests of the runtimes: equal results, what is missing, and the cache of converted networks."""

import importlib.util
import logging
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ssh_tf.config import DetectConfig
from ssh_tf.errors import UserError
from ssh_tf.inference.detector import Detector
from ssh_tf.inference.graph import detection_function
from ssh_tf.inference.runtimes import RUNTIMES, choice, convert
from ssh_tf.inference.runtimes.choice import choose_runtime, fastest_runtime, load_runtime
from ssh_tf.model.layers import BilinearUpsample
from ssh_tf.model.ssh import SSH
from tests.support.small import encode, narrow_network, picture

SETTINGS = DetectConfig(shorter_px=96, longer_px=160)


def needs(runtime: str) -> None:
    if not choice._installed(runtime):
        pytest.skip(f"needs {runtime}, which is not installed")


@pytest.fixture(scope="module")
def network() -> SSH:
    return narrow_network()


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One cache for all tests of this file that do not name another."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("SSH_TF_HOME", str(folder))
    return folder


@pytest.mark.parametrize("size", [(64, 96), (131, 77)])
@pytest.mark.parametrize("runtime", RUNTIMES[1:])
def test_every_runtime_finds_the_same_faces(network: SSH, runtime: str, size: tuple[int, int]):
    needs(runtime)
    image = picture(*size)
    expected = detection_function(network, SETTINGS)(tf.constant(image))
    found = Detector(network, SETTINGS, runtime=runtime).detect(image)
    assert len(found.scores) == len(expected.scores) > 10
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=0, atol=0.1)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4)])
@pytest.mark.parametrize("cropped", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_maps_are_doubled_as_in_the_network(size: tuple[int, int], cropped: tuple[int, int]):
    features = np.random.default_rng(0).normal(size=(1, *size, 3)).astype(np.float32)
    rows, columns = (2 * side - less for side, less in zip(size, cropped, strict=True))
    like = np.zeros((1, rows, columns, 3), np.float32)
    found, expected = convert.Doubled()(features, like), BilinearUpsample()(features, like)
    assert found.shape == (1, rows, columns, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("runtime", "precision"),
    [("tensorflow", "bfloat16"), ("tensorflow", "float16"), ("openvino", "bfloat16")],
)
def test_reduced_precision_moves_outputs_a_little(network: SSH, runtime: str, precision: str):
    needs(runtime)
    images = picture(64, 96)[np.newaxis].astype(np.float32)
    exact = load_runtime("tensorflow", network, DetectConfig())(images)
    rounded = load_runtime(runtime, network, DetectConfig(precision=precision))(images)
    for name, expected in exact.items():
        assert rounded[name].dtype == np.float32
        assert rounded[name].shape == expected.shape
        assert np.abs(rounded[name] - expected).mean() < 0.05 * expected.std()
    if runtime == "tensorflow":  # OpenVINO computes in float32 on a CPU without the precision.
        assert any((rounded[name] != exact[name]).any() for name in exact)


@pytest.mark.parametrize(
    ("runtime", "precision", "message"),
    [
        ("onnxruntime", "bfloat16", r"float32 on CPUs, not in bfloat16. Choose .* tensorflow"),
        ("litert", "int8", r"float32 on CPUs, not in int8. Choose the runtime openvino\."),
        ("tensorflow", "int8", r"not compute in int8. Choose the runtime openvino,"),
    ],
)
def test_a_runtime_without_the_precision_says_who_has_it(
    network: SSH, runtime: str, precision: str, message: str
):
    needs(runtime)
    with pytest.raises(UserError, match=message):
        Detector(network, DetectConfig(precision=precision), runtime=runtime)


def test_a_detector_names_its_runtime_and_precision(network: SSH, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(choice, "fastest_runtime", lambda precision: "tensorflow")
    detector = Detector(network, DetectConfig(precision="bfloat16"), runtime="auto")
    assert detector.runtime == "tensorflow"
    assert "runtime='tensorflow'" in repr(detector)
    assert "precision='bfloat16'" in repr(detector)


# 8 bit


@pytest.fixture
def quantize(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, with few pictures."""
    needs("openvino")
    needs("int8")
    from ssh_tf.inference.runtimes import quantize

    monkeypatch.setattr(quantize, "_PICTURES", 3)
    return quantize


def test_int8_moves_outputs_a_little_and_spares_narrow_layers(
    network: SSH, quantize: Any, cache: Path
):
    import onnx

    images = picture(64, 96)[np.newaxis].astype(np.float32) - 120
    exact = load_runtime("tensorflow", network, DetectConfig())(images)
    rounded = load_runtime("openvino", network, DetectConfig(precision="int8"))(images)
    for name, expected in exact.items():
        assert rounded[name].dtype == np.float32
        assert 0 < np.abs(rounded[name] - expected).mean() < 0.2 * expected.std()
    (file,) = cache.rglob("network_int8.onnx")
    graph = onnx.load(file).graph
    made_from = {name: node.input[0] for node in graph.node for name in node.output}
    dims = {tensor.name: tensor.dims for tensor in graph.initializer}
    for kernel in (node.input[1] for node in graph.node if node.op_type == "Conv"):
        outputs, inputs, *sides = dims[made_from.get(kernel, kernel)]
        width = outputs if inputs == 1 else inputs * math.prod(sides)  # Channels if depthwise.
        assert (kernel in made_from) == (width >= 64)


def test_int8_is_calibrated_on_the_photos_that_are_named(
    quantize: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for i in range(7):
        (tmp_path / f"{i}.png").write_bytes(encode(picture(8 + i, 9, seed=i), ".png"))
    images = quantize.calibration_images(str(tmp_path))
    assert [len(image) for image in images] == [8, 10, 12]  # Every other of seven.
    drawn = quantize.calibration_images(None)
    assert len(drawn) == 3
    assert quantize.images_hash(drawn) == quantize.images_hash(quantize.calibration_images(None))
    assert quantize.images_hash(drawn) != quantize.images_hash(images)
    assert quantize.images_hash(images) != quantize.images_hash(images[::-1])


def test_calibration_without_photos_is_the_user_s_error(quantize: Any, tmp_path: Path):
    config = DetectConfig(precision="int8", calibration=str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"none does not exist"):
        Detector(narrow_network(), config, runtime="auto")


@pytest.mark.parametrize(
    ("runtime", "extra"), [("openvino", "openvino"), ("onnxruntime", "onnx"), ("litert", "litert")]
)
def test_a_missing_runtime_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, runtime: str, extra: str
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=rf"{runtime} needs \w+.*Install it: pip install 'ssh-tf\[{extra}\]'"
    ):
        choose_runtime(runtime, "float32")


def test_an_unknown_runtime_is_refused():
    with pytest.raises(ValueError, match=r"one of auto, tensorflow.*Received: 'caffe'"):
        choose_runtime("caffe", "float32")


@pytest.mark.parametrize(
    ("installed", "precision", "expected"),
    [
        (("openvino", "onnxruntime"), "float32", "openvino"),
        (("onnxruntime",), "float32", "onnxruntime"),
        (("onnxruntime",), "bfloat16", "tensorflow"),
        ((), "float32", "tensorflow"),
        ((), "int8", "openvino"),
    ],
)
def test_auto_takes_the_fastest_installed(
    monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], precision: str, expected: str
):
    monkeypatch.setattr(choice, "_installed", lambda name: name in installed)
    assert fastest_runtime(precision) == expected


def test_auto_takes_tensorflow_on_a_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    assert fastest_runtime("float32") == "tensorflow"


def test_a_new_size_does_not_compile_anew(network: SSH):
    run = convert.network_function(network)
    for size in ((40, 41), (42, 43), (1, 5)):
        run(tf.zeros([1, *size, 3]))
    assert run.experimental_get_tracing_count() == 1


# The cache


def writer(calls: list[Path]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        calls.append(folder)
        (folder / "network").write_text("converted")

    return write


def test_a_network_is_converted_once(network: SSH, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SSH_TF_HOME", str(tmp_path))
    calls: list[Path] = []
    for form in ("a-1", "a-1", "a-2"):
        with convert.converted(network, form, writer(calls)) as folder:
            assert (folder / "network").read_text() == "converted"
            assert folder.is_relative_to(tmp_path)
    assert len(calls) == 2


def test_other_weights_are_another_network(network: SSH):
    before = convert.network_hash(network)
    bias = network.get_layer("m3_box").bias
    value = bias.numpy()
    bias.assign(value + 1e-6)
    changed = convert.network_hash(network)
    bias.assign(value)
    assert changed != before == convert.network_hash(network)


def test_a_failed_conversion_leaves_nothing(
    network: SSH, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SSH_TF_HOME", str(tmp_path))

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError(28, "No space left on device")

    with (
        pytest.raises(UserError, match=r"No space left.*SSH_TF_HOME"),
        convert.converted(network, "a", fail),
    ):
        pass
    assert list(tmp_path.rglob("*")) == [tmp_path / "networks"]


def test_without_a_writable_cache_the_network_is_converted_aside(
    network: SSH, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SSH_TF_HOME", str(tmp_path / "file"))
    calls: list[Path] = []
    with (
        caplog.at_level(logging.WARNING, logger="ssh_tf"),
        convert.converted(network, "a", writer(calls)) as folder,
    ):
        assert (folder / "network").is_file()
    assert not folder.exists()
    assert "converted anew each time" in caplog.text


def test_log_lines_go_on_after_openvino_is_imported():
    """It removes absl's handler from the root logger, with which `ssh-tf` writes its lines."""
    code = (
        "import logging, sys, ssh_tf\n"
        "from absl import logging as absl_logging\n"
        "absl_logging.use_absl_handler()\n"
        "ssh_tf.load('light', runtime='openvino')\n"
        "assert absl_logging.get_absl_handler() in logging.root.handlers\n"
        "assert 'openvino.tools.ovc' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
