"""Tests of versions that come, go and break while the model is served."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from ssh_tf import signature
from ssh_tf.errors import UserError
from ssh_tf.server.errors import ServingError
from ssh_tf.server.model import Model
from ssh_tf.server.versions import Versions
from tests.support import toy
from tests.support.small import encode, picture


@pytest.fixture
def folder(toy_models: Path, tmp_path: Path) -> Path:
    shutil.copytree(toy_models / "1", tmp_path / "ssh" / "1")
    return tmp_path / "ssh"


def opened(folder: Path) -> Versions:
    return Versions(folder, "ssh", max_images=4)


def states(versions: Versions) -> dict[int, str]:
    return {number: status.state for number, status in versions.status("ssh")}


def test_the_newest_version_replaces_the_old_one(folder: Path):
    versions = opened(folder)
    old = versions.get("ssh")
    toy.write(folder / "12", bias=0.125)
    versions.refresh()
    assert states(versions) == {12: "AVAILABLE", 1: "END"}
    assert list(states(versions)) == [12, 1]  # The newest first.
    pixels = {"image_tensor": picture()[np.newaxis]}
    assert versions.get("ssh").predict("image_tensor", pixels)["detection_scores"][0, 1] == 0.375
    # A request that began on the old version ends on it.
    assert old.predict("image_tensor", pixels)["detection_scores"][0, 1] == 0.25


def test_a_version_that_goes_away_uncovers_the_one_before_it(folder: Path):
    shutil.copytree(folder / "1", folder / "2")
    versions = opened(folder)
    assert versions.get("ssh").version == 2
    shutil.rmtree(folder / "2")
    versions.refresh()
    assert versions.get("ssh").version == 1


def test_the_last_version_stays_when_its_files_are_gone(folder: Path):
    versions = opened(folder)
    shutil.rmtree(folder)
    versions.refresh()
    assert versions.get("ssh").version == 1


@pytest.mark.parametrize("content", [None, b"", b"not a SavedModel"])
def test_a_broken_version_leaves_the_old_one_and_is_reported(folder: Path, content: bytes | None):
    versions = opened(folder)
    (folder / "2").mkdir()
    if content is not None:
        (folder / "2" / "saved_model.pb").write_bytes(content)
    versions.refresh()
    assert versions.get("ssh").version == 1
    assert states(versions) == {2: "END", 1: "AVAILABLE"}
    ((_, status),) = versions.status("ssh", 2)
    assert status.error


def test_a_broken_version_is_tried_again_when_it_has_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    versions = opened(folder)
    (folder / "2").mkdir()
    (folder / "2" / "saved_model.pb").write_bytes(b"half")
    tried: list[str] = []

    def count(path: Path, version: int, max_images: int) -> Model:
        tried.append(path.name)
        return Model(path, version, max_images)

    monkeypatch.setattr("ssh_tf.server.versions.Model", count)
    versions.refresh()
    versions.refresh()
    assert tried == ["2"]
    shutil.copytree(folder / "1", folder / "2", dirs_exist_ok=True)
    versions.refresh()
    assert tried == ["2", "2"]
    assert versions.get("ssh").version == 2


def test_other_names_are_no_versions(folder: Path):
    for name in (".3.tmp", "notes", "3a", "+3", "-3", "³", "9" * 20):
        shutil.copytree(folder / "1", folder / name)
    assert states(opened(folder)) == {1: "AVAILABLE"}


@pytest.mark.parametrize("name", ["0001", "01", "00000123", "0"])
def test_leading_zeros_are_taken(folder: Path, name: str):
    (folder / "1").rename(folder / name)
    assert states(opened(folder)) == {int(name): "AVAILABLE"}


@pytest.mark.parametrize(
    ("wanted", "code", "message"),
    [
        (("other", None, ""), "NOT_FOUND", r"not found for request: Latest\(other\)"),
        (("ssh", 7, ""), "NOT_FOUND", r"not found for request: Specific\(ssh, 7\)"),
        (("ssh", None, "stable"), "INVALID_ARGUMENT", "Unrecognized servable version label"),
        (("", None, ""), "INVALID_ARGUMENT", "no name specified"),
    ],
)
def test_what_is_not_served_is_an_error(
    toy_models: Path, wanted: tuple[str, int | None, str], code: str, message: str
):
    with pytest.raises(ServingError, match=message) as caught:
        opened(toy_models).get(*wanted)
    assert caught.value.code == code


def test_a_folder_without_a_model_is_the_user_s_mistake(folder: Path, tmp_path: Path):
    with pytest.raises(UserError, match="does not exist"):
        opened(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"is itself a SavedModel\. Name the folder that holds it"):
        opened(folder / "1")
    shutil.rmtree(folder / "1")
    with pytest.raises(UserError, match=r"holds no model to serve: it has no version"):
        opened(folder)
    (folder / "1").mkdir()
    with pytest.raises(UserError, match=r"holds no model to serve: version 1: FileNotFoundError"):
        opened(folder)


def write_warm_up(version: Path, image: bytes) -> None:
    log = PredictionLog()
    log.predict_log.request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([image]))
    (version / signature.WARMUP).parent.mkdir()
    with tf.io.TFRecordWriter(str(version / signature.WARMUP)) as writer:
        writer.write(log.SerializeToString())


def test_warm_up_requests_are_run_and_must_succeed(folder: Path):
    shutil.copytree(folder / "1", folder / "2")
    write_warm_up(folder / "1", encode(picture()))
    write_warm_up(folder / "2", b"no picture")
    versions = opened(folder)
    assert states(versions) == {2: "END", 1: "AVAILABLE"}
    ((_, status),) = versions.status("ssh", 2)
    assert "Unknown image file format" in status.error


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"Missing but required: \{image_tensor\}"),
        ({"y": np.zeros(1)}, r"Sent extra: \{y\}"),
        ({"image_tensor": np.zeros([1, 2, 2, 3])}, "must be uint8. Received: float64"),
        ({"image_tensor": np.zeros([1, 2, 2, 4], np.uint8)}, r"must have the shape .*None, 3"),
        ({"image_tensor": np.zeros([5, 2, 2, 3], np.uint8)}, "at most 4 rows. Received: 5"),
    ],
)
def test_inputs_that_do_not_fit_never_reach_the_graph(
    toy_models: Path, inputs: dict[str, np.ndarray], message: str
):
    with pytest.raises(ServingError, match=message):
        Model(toy_models / "1", 1, max_images=4).predict("image_tensor", inputs)
