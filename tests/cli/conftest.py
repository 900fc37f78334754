"""Fixtures of the command line's tests: a folder of good and bad inputs, a stubbed detector."""

from pathlib import Path
from typing import Any

import pytest

from ssh_tf.data.builder import build_records
from ssh_tf.data.sources import open_wider
from ssh_tf.inference.detector import Detector
from tests.support.commands import Stub
from tests.support.small import encode, picture, write_wider


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """Makes every model load as `Stub`; lists what was asked for."""
    calls: list[tuple[Any, dict[str, Any]]] = []

    def load(path: Any, *, progress: Any = None, **settings: Any) -> Stub:
        del progress
        calls.append((path, settings))
        return Stub()

    monkeypatch.setattr(Detector, "load", load)
    return calls


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the commands below are given, good and bad."""
    world = tmp_path_factory.mktemp("world")
    for name in ("empty", "unfinished", "images", "other_run"):
        (world / name).mkdir()
    (world / "file").write_text("hello")
    (world / "unknown.yaml").write_text("train: {stpes: 1}")
    modules = "[{name: m9, stride: 8, channels: 4, anchor_scales: [1], allowed_border: 0}]"
    (world / "other_run" / "config.yaml").write_text(f"model: {{modules: {modules}}}")
    (world / "good.yaml").write_text(
        f"model: {{weights: random}}\ndata: {{records: {world}/records}}"
    )
    (world / "images" / "good.jpg").write_bytes(encode(picture()))
    for name in ("wider", "wider_text", "wider_truncated", "wider_missing"):
        write_wider(world / name)
    image = "WIDER_train/images/0--Parade/a.jpg"
    (world / "wider_text" / image).write_text("hello")
    (world / "wider_truncated" / image).write_bytes(encode(picture())[:-300])
    (world / "wider_missing" / image).unlink()
    build_records(open_wider(world / "wider", "train"), world / "records", shards=1)
    return world
