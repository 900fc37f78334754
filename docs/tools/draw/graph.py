"""The network's graph as Keras has it, reduced to what a reader wants to see."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ssh_tf.config import ModelConfig
from ssh_tf.model.ssh import SSH

# Operations that only change how numbers are laid out or read.
_LAYOUT = ("Reshape", "Permute", "InputLayer", "Preprocess", "ZeroPadding2D")


@dataclass
class Step:
    """An operation of the network.

    Attributes:
        name: The layer's.
        kind: Its class, as `Conv2D`.
        settings: What it was made with.
        inputs: Names of the steps before it.
    """

    name: str
    kind: str
    settings: dict[str, Any]
    inputs: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What it does, in words."""
        if self.kind == "Conv2D":
            rows, columns = self.settings["kernel_size"]
            return f"conv {rows}×{columns}, {self.settings['filters']}"
        return {"MaxPooling2D": "max pool 2×2", "Add": "sum", "Concatenate": "join"}.get(
            self.kind, self.kind
        )


@functools.cache
def steps(config: ModelConfig) -> dict[str, Step]:
    """Returns the network's operations in order, without those that only move numbers.

    Args:
        config: The architecture.
    """
    network = SSH(config).exact()
    found: dict[str, Step] = {}
    replaced: dict[str, list[str]] = {}
    for layer in network.get_config()["layers"]:
        name, kind = layer["name"], layer["class_name"]
        before = [source for call in layer["inbound_nodes"] for source in _tensors(call)]
        if kind == "BilinearUpsample":  # Of the second input it takes the size only.
            before = before[:1]
        inputs = [each for source in before for each in replaced.get(source, [source])]
        if kind in _LAYOUT:
            replaced[name] = inputs
        else:
            found[name] = Step(name, kind, layer["config"], inputs)
    return found


def _tensors(call: Any) -> Iterator[str]:
    """Yields the layers whose outputs a call takes."""
    if isinstance(call, dict) and call.get("class_name") == "__keras_tensor__":
        yield call["config"]["keras_history"][0]
    elif isinstance(call, dict | list | tuple):
        for each in call.values() if isinstance(call, dict) else call:
            yield from _tensors(each)
