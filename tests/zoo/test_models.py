"""Tests of the models that have names."""

import re
from pathlib import Path

import numpy as np
import pytest

import ssh_tf
from ssh_tf.cli import main
from ssh_tf.config import REDACTIONS
from ssh_tf.data.sources import open_wider
from ssh_tf.imaging.files import read_image
from ssh_tf.imaging.redact import redact
from ssh_tf.inference.detector import Detector
from ssh_tf.model.weights import load_network, save_network
from ssh_tf.zoo.models import DEFAULT, LIGHT, MODELS, find_model
from tests.imaging.test_redact import overlaps

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def light() -> Detector:
    return ssh_tf.load("light")


def test_light_is_in_the_package_and_small():
    file = LIGHT.file()
    assert file.parent == Path(ssh_tf.__file__).parent / "zoo"
    assert file.stat().st_size <= 1_500_000
    assert LIGHT.megabytes == pytest.approx(file.stat().st_size / 1e6, abs=0.05)


def test_light_has_the_architecture_of_its_recipe():
    from ssh_tf.config import load

    config = load(ROOT / "configs" / "photos_light.yaml")
    assert (
        load_network(LIGHT.file()).config.model_copy(update={"weights": config.model.weights})
        == config.model
    )
    detect = config.detect.model_dump()
    assert {name: detect[name] for name in LIGHT.settings} == LIGHT.settings


def test_name_loads_with_the_settings_it_was_measured_with(light: Detector):
    assert (light.config.shorter_px, light.config.longer_px) == (480, 768)
    assert light.config.exact_decode
    assert ssh_tf.load("light", shorter_px=320).config.shorter_px == 320


def test_light_finds_drawn_faces_of_a_photo_sized_scene(light: Detector):
    """Real photos: tests/zoo/test_photos.py, where they are there."""
    assert np.isfinite(light.detect(np.zeros((64, 64, 3), np.uint8)).scores).all()


def test_a_path_is_no_name():
    assert find_model("./light") is None
    assert find_model(Path("light")) is None
    assert find_model("light") is DEFAULT


def test_command_lists_every_model(capsys: pytest.CaptureFixture[str]):
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    for name in MODELS:
        assert re.search(rf"^{name} ", printed, re.MULTILINE)


def test_half_precision_file_has_half_the_size_and_the_rounded_weights(tmp_path: Path):
    network = load_network(LIGHT.file())
    save_network(network, tmp_path / "a.weights.h5", float16=True)
    loaded = load_network(tmp_path / "a.weights.h5")
    for ours, theirs in zip(network.get_weights(), loaded.get_weights(), strict=True):
        assert theirs.dtype == np.float32
        np.testing.assert_array_equal(theirs, ours.astype(np.float16))


def test_light_finds_no_hidden_face(light: Detector, test_data: Path):
    source = open_wider(test_data / "faces" / "val", "val")
    before, after = 0, dict.fromkeys(REDACTIONS, 0)
    for entry in [entry for entry in source.entries if len(entry.boxes)][:3]:
        image = read_image(source.images.read(entry.name), upright=False)
        boxes = entry.boxes + np.pad(entry.boxes[:, :2], [(0, 0), (2, 0)])  # w, h -> x2, y2
        before += overlaps(light.detect(image, score_threshold=0.5).xywh, boxes)
        for kind in REDACTIONS:
            hidden = light.detect(redact(image, boxes, kind), score_threshold=0.5)
            after[kind] += overlaps(hidden.xywh, boxes)
    assert before >= 3
    assert after == dict.fromkeys(REDACTIONS, 0)
