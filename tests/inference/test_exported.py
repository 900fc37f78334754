"""Tests of SavedModels that are damaged: one line says so, whatever TensorFlow raises."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ssh_tf.errors import UserError
from ssh_tf.inference.exported import ExportedDetector, find_saved_model
from tests.support import toy

DATA = "variables/variables.data-00000-of-00001"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write(tmp_path_factory.mktemp("toy") / "1")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("saved_model.pb", lambda data: b""),
        ("saved_model.pb", lambda data: b"hello"),
        ("saved_model.pb", lambda data: data[: len(data) // 2]),
        ("saved_model.pb", lambda data: data[:200] + bytes(200) + data[400:]),
        ("variables/variables.index", lambda data: data[:-50]),
        (DATA, lambda data: b""),
        (DATA, lambda data: data[: len(data) // 2]),
        (DATA, lambda data: bytes(len(data))),
    ],
)
def test_a_damaged_file_is_one_line(
    whole: Path, tmp_path: Path, name: str, damage: Callable[[bytes], bytes]
):
    folder = shutil.copytree(whole, tmp_path / "1")
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    with pytest.raises(UserError, match=r"can't be used as a detector \(.+\)\. Export") as caught:
        ExportedDetector(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "newest"),
    [(["1", "2"], "2"), (["0009", "10"], "10"), (["0001"], "0001"), (["1", "notes", "³"], "1")],
)
def test_the_newest_version_is_found(tmp_path: Path, names: list[str], newest: str):
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    (tmp_path / "77").mkdir()  # No SavedModel: another program may be writing it.
    assert find_saved_model(tmp_path) == tmp_path / newest
    assert find_saved_model(tmp_path / newest) == tmp_path / newest
    assert find_saved_model(tmp_path / "missing") is None
