"""Tests of what is timed: our networks at a size, public detectors, and their photos."""

from pathlib import Path

import numpy as np
import pytest

from ssh_tf.errors import UserError
from ssh_tf.imaging.files import read_image
from ssh_tf.inference.benchmark import cases
from ssh_tf.inference.benchmark.cases import Spec, count_flops, load_case, specs
from ssh_tf.inference.benchmark.memory import peak_memory, process_peak
from ssh_tf.inference.benchmark.peers import load_peer
from ssh_tf.inference.benchmark.photos import cut_photos
from ssh_tf.inference.detector import Detector
from tests.support.small import encode, narrow_network, picture, small_network


@pytest.mark.parametrize(
    ("size", "multiply_adds"), [((400, 600), 78.3e9), ((640, 640), 133.3e9), ((1200, 1600), 625e9)]
)
def test_operations_are_those_of_the_official_network(size: tuple[int, int], multiply_adds: float):
    # Counted from the official network's layers; the rest is activations and upsampling.
    assert count_flops(small_network(), size) == pytest.approx(2 * multiply_adds, rel=2e-3)


def test_batches_are_timed_where_there_are_any():
    variants = [("tensorflow", "float32"), ("openvino", "int8")]
    assert specs(["a", "b"], variants, [1, 8]) == [
        Spec("a", "tensorflow", "float32", 1),
        Spec("a", "tensorflow", "float32", 8),
        Spec("a", "openvino", "int8", 1),
        Spec("b", "tensorflow", "float32", 1),
        Spec("b", "tensorflow", "float32", 8),
        Spec("b", "openvino", "int8", 1),
    ]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the official network a narrow one."""
    monkeypatch.setattr(cases, "silent_network", narrow_network)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("batch", [1, 2])
def test_our_network_runs_at_the_size_of_the_row(tmp_path: Path, batch: int):
    case = load_case(Spec("vgg16", batch=batch))
    case.resize_to((96, 128))
    (file,) = cut_photos(tmp_path, [], (96, 128))
    assert list(case.stages(file)) == ["decode", "resize", "boxes"]
    for call in case.stages(file).values():
        assert call() is not None
    outputs = case.network(file)()
    assert len(outputs) == batch
    if batch == 1:  # Stride 32: 3 x 4 cells of two anchors.
        assert outputs[0]["m3_logits"].shape == (1, 24, 2)
    image = read_image(file)
    detector = Detector(narrow_network(), case._detector.config)
    assert case.detect(file) == len(detector.detect(image)) > 0


def test_a_random_network_finds_no_face():
    network = cases.silent_network()
    found = Detector(network, cases.DetectConfig(shorter_px=64, longer_px=96)).detect(picture())
    assert len(found) == 0


def test_photos_are_cut_to_the_shape_of_the_input(tmp_path: Path):
    image = picture(100, 120)
    (tmp_path / "a.png").write_bytes(encode(image, ".png"))
    (file,) = cut_photos(tmp_path, [tmp_path / "a.png"], (48, 96))  # twice as wide as high
    cut = read_image(file)
    assert cut.shape == (60, 120, 3)
    assert np.abs(cut.astype(int) - image[20:80]).mean() < 3  # JPEG's loss


def test_a_drawn_picture_is_enlarged_to_the_input(tmp_path: Path):
    (file,) = cut_photos(tmp_path, [], (400, 800))
    assert read_image(file).shape == (256, 512, 3)  # 1.5625 times as small


PEERS = [
    ("face_detection_yunet_2023mar.onnx", "YuNet", "opencv", "float32"),
    ("face_detection_yunet_2023mar_int8.onnx", "YuNet", "opencv", "int8"),
    ("retinaface_mobilenet025.onnx", "RetinaFace", "onnxruntime", "float32"),
    ("version-RFB-320.onnx", "Ultra-Light", "onnxruntime", "float32"),
]


@pytest.mark.parametrize(("name", "kind", "runtime", "precision"), PEERS)
def test_public_detectors_are_recognized_and_find_a_face(
    name: str, kind: str, runtime: str, precision: str, test_data: Path
):
    data = pytest.importorskip("skimage.data")
    pytest.importorskip("onnxruntime")
    peer = load_peer(test_data / "peers" / name, least_score=0.5)
    assert (peer.kind, peer.runtime, peer.precision) == (kind, runtime, precision)
    boxes, scores = peer.find(data.astronaut())
    best = boxes[scores.argmax()]
    # NASA's portrait: the face is some 100 px wide around (225, 120).
    assert best[0] < 225 < best[2]
    assert best[1] < 120 < best[3]
    assert 60 < best[2] - best[0] < 160
    if peer.network is not None:
        assert len(peer.network(data.astronaut())()) >= 2


def test_what_is_no_detector_is_named(tmp_path: Path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(UserError, match=r"none.onnx does not exist"):
        load_peer(tmp_path / "none.onnx", least_score=0.5)
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(UserError, match=r"text.onnx can't be read as ONNX"):
        load_peer(tmp_path / "text.onnx", least_score=0.5)


@pytest.mark.slow  # starts a process that imports TensorFlow
def test_memory_is_that_of_a_process_of_its_own():
    ballast = np.ones(2**26, np.float64)  # 512 MiB, which are not the other process's
    case = load_case(Spec("light"))
    peaks = peak_memory(case, Spec("light"), [(480, 640), (64, 96)])
    assert 100 < peaks[64, 96] <= peaks[480, 640] < process_peak()
    assert ballast[-1] == 1
