"""The gallery: its page shows its pictures, and those of faces are what the program draws today."""

import importlib
import re
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

import ssh_tf

for needed in ("skimage", "selenium", "tensorflow_serving"):
    pytest.importorskip(needed)

GALLERY = Path(__file__).parents[2] / "docs" / "gallery"


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script, which writes into a folder of its own."""
    monkeypatch.syspath_prepend(GALLERY)
    script = importlib.import_module("make")
    monkeypatch.setattr(script, "HERE", tmp_path)
    monkeypatch.setattr(script, "SAMPLE", tmp_path / "sample.jpg")
    return script


def test_the_page_shows_every_picture():
    shown = re.findall(r"!\[[^\]]+\]\(([\w.-]+)\)", (GALLERY / "index.md").read_text())
    there = [path.name for path in GALLERY.iterdir() if path.suffix in (".jpg", ".png")]
    assert sorted(shown) == sorted(there)


def test_pictures_of_faces_are_those_of_today(make: ModuleType, tmp_path: Path):
    sample = make.ROOT / "ssh_tf" / "server" / "web" / "sample.jpg"
    make.draw_detections(ssh_tf.load())
    for path in tmp_path.iterdir():
        old = cv2.imread(str(sample if path.name == sample.name else GALLERY / path.name))
        # Machines round scores and JPEGs differently; another look, or scene, changes more.
        assert np.abs(cv2.imread(str(path)).astype(int) - old).mean() < 0.25, path.name
    assert (tmp_path / sample.name).stat().st_size <= 60_000
