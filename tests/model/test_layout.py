"""Files of earlier versions load: the names and shapes in them are those of `layout_0_1.json`.

The lists were read off files that version 0.1 wrote (a `.keras`, a `.weights.h5`, a checkpoint of a
training run with gradients accumulated and weights averaged); the files themselves have 60 MB.
"""

import io
import json
import zipfile
from pathlib import Path

import h5py
import pytest
import tensorflow as tf

from ssh_tf.config import Config, validate
from ssh_tf.model.weights import save_network
from ssh_tf.training.checkpoints import Checkpoints
from ssh_tf.training.state import State, build_state

LAYOUT = json.loads((Path(__file__).parent / "layout_0_1.json").read_text())


@pytest.fixture(scope="module")
def state() -> State:
    anchors = {"m1": (8, [1, 2]), "m2": (16, [4, 8]), "m3": (32, [16, 32])}
    modules = [
        {"name": name, "stride": s, "channels": 8, "anchor_scales": a, "allowed_border": 512}
        for name, (s, a) in anchors.items()
    ]
    config: Config = validate(
        {
            "model": {"weights": "random", "modules": modules},
            "train": {"ema_decay": 0.9, "images_per_update": 2},
        },
        origin="test",
    )
    return build_state(config, tf.distribute.get_strategy())


def shapes(file: h5py.File) -> dict[str, list[int]]:
    found = {}

    def note(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = list(item.shape)

    file.visititems(note)
    return found


def test_weight_files(state: State, tmp_path: Path):
    save_network(state.network, tmp_path / "n.weights.h5")
    with h5py.File(tmp_path / "n.weights.h5") as file:
        assert shapes(file) == LAYOUT["weights_h5"]
    save_network(state.network, tmp_path / "n.keras")
    inner = zipfile.ZipFile(tmp_path / "n.keras").read("model.weights.h5")
    with h5py.File(io.BytesIO(inner)) as file:
        assert shapes(file) == LAYOUT["keras"]


def test_checkpoints(state: State, tmp_path: Path):
    parts = {"network": state.network, "optimizer": state.optimizer, "averages": state.averages}
    Checkpoints(tmp_path, **parts).save(3)
    names = dict(tf.train.list_variables(str(tmp_path / "ckpt-3")))
    # Checkpoints of 0.1 also hold a counter, which `tf.train.Checkpoint.save` added.
    counter = "save_counter/.ATTRIBUTES/VARIABLE_VALUE"
    assert names == {name: s for name, s in LAYOUT["checkpoint"].items() if name != counter}
