"""Runs the code of docs/python.md: what it shows works."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ssh_tf
from ssh_tf.inference.contract import FaceDetector
from tests.support.small import encode, picture

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "python.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)


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
    """What the blocks share, in a folder with two photos."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ssh_tf, "load", lambda path: Halves())
    for suffix in (".jpg", ".png"):
        Path(f"photo{suffix}").write_bytes(encode(picture(), suffix))
    return {}


def imported(block: str) -> list[str]:
    return re.findall(r"^import (pandas|supervision|fiftyone)", block, flags=re.MULTILINE)


def test_the_guide_s_code_runs(names: dict[str, Any], capsys: pytest.CaptureFixture[str]):
    for block in BLOCKS:
        if not imported(block) and "to_pandas" not in block:
            exec(compile(block, str(GUIDE), "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert f"print(faces)  # {printed[0]}" in GUIDE.read_text(encoding="utf-8")
    assert Path("faces.png").is_file()
    assert [crop.shape for crop in names["crops"]] == [(64, 96, 3), (64, 58, 3)]


@pytest.mark.parametrize("library", ["pandas", "supervision", "fiftyone"])
def test_the_guide_s_conversions_run(names: dict[str, Any], library: str):
    pytest.importorskip(library)
    faces = Halves().detect("photo.jpg")
    names |= {"faces": faces, "np": np}
    (block,) = (b for b in BLOCKS if library in imported(b) or f"to_{library}" in b)
    exec(compile(block, str(GUIDE), "exec"), names)
    converted = names["table" if library == "pandas" else "detections"]
    if library == "supervision":
        np.testing.assert_array_equal(converted.xyxy, faces.boxes)
        np.testing.assert_array_equal(converted.confidence, faces.scores)
    elif library == "fiftyone":
        assert converted.detections[1].bounding_box == [0, 0, 0.5, 1]
        assert converted.detections[1].confidence == 0.25
    else:
        assert converted.iloc[1].tolist() == [0, 0, 48, 64, 0.25]
