"""Tests of the export to LiteRT: the network alone, at any size."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssh_tf.config import DetectConfig
from ssh_tf.errors import UserError
from tests.support.small import narrow_network, picture

pytest.importorskip("ai_edge_litert", reason="needs LiteRT: pip install 'ssh-tf[litert]'")
export = importlib.import_module("ssh_tf.export.litert")


def test_the_file_computes_what_the_network_computes(tmp_path: Path):
    from ai_edge_litert.interpreter import Interpreter

    path = export.export_litert(narrow_network(), DetectConfig(), tmp_path / "ssh.tflite")
    run = Interpreter(str(path)).get_signature_runner("serving_default")
    for size in ((64, 96), (33, 50)):
        images = picture(*size)[np.newaxis].astype(np.float32)
        found, expected = run(images=images), narrow_network().exact()(images)
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("ssh.onnx", {}, r"must end in .tflite"),
        ("ssh.tflite", {"precision": "int8"}, r"float32 on CPUs, not in int8"),
    ],
)
def test_what_can_t_be_exported_is_refused(
    tmp_path: Path, name: str, settings: dict[str, Any], message: str
):
    with pytest.raises(UserError, match=message):
        export.export_litert(narrow_network(), DetectConfig(**settings), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_file_that_computes_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def write(network: Any, path: Path) -> None:
        path.write_bytes(b"file")

    def run(model: bytes) -> Any:
        return lambda images: {
            name: values + 0.1 for name, values in narrow_network().exact()(images).items()
        }

    monkeypatch.setattr(export, "write_litert", write)
    monkeypatch.setattr(export, "run_litert", run)
    with pytest.raises(UserError, match=r"would compute other m1_\w+ than the network"):
        export.export_litert(narrow_network(), DetectConfig(), tmp_path / "ssh.tflite")
    assert not list(tmp_path.iterdir())
