"""Every block of Python in the documents runs, one after the other, as in a reader's session."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import ssh_tf
from ssh_tf.data.builder import build_records
from ssh_tf.data.sources import open_wider
from ssh_tf.inference.contract import FaceDetector
from tests.server.conftest import server, toy_models
from tests.support.documents import ROOT, Block, blocks, write_world
from tests.support.small import picture

__all__ = ["server", "toy_models"]

BLOCKS = blocks("python")
# Libraries that show how results reach them; their blocks run where they are installed.
OTHERS = ("pandas", "supervision", "fiftyone")


class Halves(FaceDetector):
    """Finds the whole image, and its left half with a lower score."""

    def find(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = pixels.shape[:2]
        boxes = np.array([[0, 0, width, height], [0, 0, width / 2, height]], np.float32)
        return boxes, np.array([0.75, 0.25], np.float32)

    def fingerprint(self) -> str:
        return "halves"

    def __repr__(self) -> str:
        return "Halves()"


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the blocks of a document share, in a folder with what they name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ssh_tf, "load", lambda *_, **__: Halves())
    write_world(tmp_path)
    return {"ssh_tf": ssh_tf, "Tensor": Any}


def needs(block: Block) -> set[str]:
    """The libraries of `OTHERS` that a block needs."""
    return {name for name in OTHERS if re.search(rf"import {name}|to_{name}", block.text)}


def run(block: Block, names: dict[str, Any]) -> None:
    exec(compile(block.text, block.document, "exec"), names)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_is_python(block: Block):
    compile(block.text, block.document, "exec")


def documents(*, served: bool) -> list[str]:
    """The documents whose Python asks a server, or does not."""
    asking = {block.document for block in BLOCKS if ":8501" in block.text and not block.reason}
    return sorted(asking if served else {block.document for block in BLOCKS} - asking)


@pytest.mark.parametrize("document", documents(served=False))
def test_a_document_s_blocks_run(
    document: str, names: dict[str, Any], capsys: pytest.CaptureFixture[str]
):
    if document == "tfrecords/README.md":
        build_records(open_wider(Path("WIDER"), "train"), "tfrecords/wider_train", shards=1)
    if "heic" in (ROOT / document).read_text() and document == "README.md":
        pytest.importorskip("pillow_heif").register_heif_opener()
        PIL.Image.fromarray(picture()).save("b.heic")
    for block in (block for block in BLOCKS if block.document == document and not block.reason):
        if not needs(block):
            run(block, names)
    if document == "docs/python.md":
        printed = capsys.readouterr().out.splitlines()
        assert f"print(faces)  # {printed[0]}" in (ROOT / document).read_text(encoding="utf-8")
        assert Path("faces.png").is_file()
        assert [crop.shape for crop in names["crops"]] == [(64, 96, 3), (64, 58, 3)]


@pytest.mark.parametrize("document", documents(served=True))
def test_a_document_s_blocks_ask_a_server(
    document: str, names: dict[str, Any], server: Any, capsys: pytest.CaptureFixture[str]
):
    for block in (block for block in BLOCKS if block.document == document):
        text = block.text.replace("127.0.0.1:8501", f"127.0.0.1:{server.rest_port}")
        exec(compile(text, document, "exec"), names)
    assert capsys.readouterr().out


@pytest.mark.parametrize("library", OTHERS)
def test_results_become_those_of(library: str, names: dict[str, Any]):
    pytest.importorskip(library)
    faces = Halves().detect("photo.jpg")
    names |= {"faces": faces, "np": np}
    (block,) = (block for block in BLOCKS if library in needs(block))
    run(block, names)
    converted = names["table" if library == "pandas" else "detections"]
    if library == "supervision":
        np.testing.assert_array_equal(converted.xyxy, faces.boxes)
        np.testing.assert_array_equal(converted.confidence, faces.scores)
    elif library == "fiftyone":
        assert converted.detections[1].bounding_box == [0, 0, 0.5, 1]
        assert converted.detections[1].confidence == 0.25
    else:
        assert converted.iloc[1].tolist() == [0, 0, 48, 64, 0.25]
