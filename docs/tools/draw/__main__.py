"""Draws the pictures of `docs/pictures/` again: `python -m docs.tools.draw`."""

from collections.abc import Callable
from pathlib import Path

from docs.tools.draw.anchors import draw_anchors
from docs.tools.draw.mining import draw_mining
from docs.tools.draw.network import draw_module, draw_network
from docs.tools.outside import DOCS
from ssh_tf.config import LossConfig, ModelConfig

PICTURES: dict[str, Callable[[], str]] = {
    "network.svg": lambda: draw_network(ModelConfig()),
    "anchors.svg": lambda: draw_anchors(ModelConfig(), LossConfig()),
    "mining.svg": lambda: draw_mining(LossConfig()),
    "module.svg": lambda: draw_module(ModelConfig(), "m2"),
}


def main(folder: Path = DOCS / "pictures") -> None:
    """Writes all pictures."""
    for name, draw in PICTURES.items():
        (folder / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
