"""The pictures of docs/pictures are what the model, the anchors and the loss give today."""

import re
from pathlib import Path

import pytest

from docs.tools.draw.__main__ import PICTURES
from docs.tools.draw.graph import steps
from docs.tools.draw.network import draw_module, draw_network
from docs.tools.outside import DOCS
from ssh_tf.config import ModelConfig

FOLDER = DOCS / "pictures"


def without_photos(text: str) -> str:
    """Leaves out photos, whose bytes are the JPEG encoder's."""
    return re.sub(r"data:image/jpeg;base64,[\w+/=]+", "", text)


# `light` on random weights' hard choices: which anchors tie depends on the processor's last bits.
@pytest.mark.parametrize("name", sorted(PICTURES.keys() - {"mining.svg"}))
def test_a_picture_is_as_it_is_drawn(name: str):
    committed = (FOLDER / name).read_text(encoding="utf-8")
    assert without_photos(committed) == without_photos(PICTURES[name]())


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_a_picture_is_small_and_fetches_nothing(path: Path):
    assert path.stat().st_size <= 300_000
    addresses = re.findall(r'(?:href|src)="(?!data:|#)', path.read_text(encoding="utf-8"))
    assert addresses == []


def test_every_convolution_of_the_network_is_drawn():
    config = ModelConfig()
    drawn = draw_network(config) + "".join(draw_module(config, m.name) for m in config.modules)
    texts = {step.text for step in steps(config).values() if step.kind == "Conv2D"}
    assert len(texts) == 7
    assert {text for text in texts if text not in drawn} == set()


def test_a_network_without_context_is_drawn_without():
    drawn = draw_module(ModelConfig(context=False), "m2")
    assert "7×7" not in drawn
    assert "3×3" in drawn
