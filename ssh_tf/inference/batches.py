"""Several images in one call of the network, each in the upper left of a common canvas.

Masks keep what is beyond an image out of its result (docs/decisions/0006), which is the same as
alone.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ssh_tf.errors import UserError
from ssh_tf.geometry.anchors import grid_size
from ssh_tf.inference.ahead import Later, attempt
from ssh_tf.inference.arrays import Level, Outputs
from ssh_tf.inference.memory import within_memory
from ssh_tf.inference.runtimes.tensorflow import load_masked
from ssh_tf.model.ssh import SSH

# Sides of canvases are multiples of it, the stride of the coarsest module: of images of one scale,
# only one side varies.
_STEP_PX = 32
# Images that are looked through for those of one canvas, as a multiple of the batch.
_WINDOW = 4


class Batches:
    """Runs the network on batches of images whose canvases are of one size.

    Args:
        network: Computes in float32.
        precision: `DetectConfig.precision`.
        size: Most images of a batch.

    Attributes:
        window: How many images `run` should be given.
    """

    def __init__(self, network: SSH, precision: str, size: int) -> None:
        self._forward, self._size = load_masked(network, precision), size
        self.window = _WINDOW * size

    def run(
        self,
        images: Sequence[list[Level]],
        alone: Callable[[list[Level]], list[Outputs]],
    ) -> list[Later[list[Outputs]]]:
        """Returns what gives the outputs of each level of each image, or raises an image's error.

        Args:
            images: Each at its scales.
            alone: Runs the network on one image: where there is no other of its size, or where
                memory does not hold a batch.
        """
        found: dict[int, Later[list[Outputs]]] = {}
        for rows in _groups(images, self._size):
            group = [images[row] for row in rows]
            found |= zip(rows, self._run_group(group, alone), strict=True)
        return [found[row] for row in range(len(images))]

    def _run_group(
        self, group: Sequence[list[Level]], alone: Callable[[list[Level]], list[Outputs]]
    ) -> list[Later[list[Outputs]]]:
        if len(group) > 1:
            with contextlib.suppress(UserError):  # Memory may hold each alone.
                return [functools.partial(_same, outputs) for outputs in self._together(group)]
        return [attempt(functools.partial(alone, image)) for image in group]

    def _together(self, group: Sequence[list[Level]]) -> list[list[Outputs]]:
        """Returns the outputs of images of equal canvases: of each image, at each level."""
        by_level = [self._run_level(levels) for levels in zip(*group, strict=True)]
        return [list(outputs) for outputs in zip(*by_level, strict=True)]

    def _run_level(self, levels: Sequence[Level]) -> list[Outputs]:
        canvas = _canvas(levels[0])
        images = np.zeros((len(levels), *canvas, 3), np.float32)
        sizes = np.array([level.pixels.shape[:2] for level in levels], np.int32)  # [B, 2]
        for image, (height, width), level in zip(images, sizes, levels, strict=True):
            image[:height, :width] = level.pixels
        with within_memory(images[0]):
            outputs = self._forward(images, sizes)
        return [_cut(outputs, i, level, canvas) for i, level in enumerate(levels)]


def _canvas(level: Level) -> tuple[int, int]:
    height, width = (-(-side // _STEP_PX) * _STEP_PX for side in level.pixels.shape[:2])
    return height, width


def _groups(images: Sequence[list[Level]], size: int) -> Iterator[list[int]]:
    """Yields the rows of images whose canvases are equal, at most `size` at a time."""
    same: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for row, levels in enumerate(images):
        same.setdefault(tuple(map(_canvas, levels)), []).append(row)
    for rows in same.values():
        yield from (rows[i : i + size] for i in range(0, len(rows), size))


def _cut(outputs: Outputs, row: int, level: Level, canvas: tuple[int, int]) -> Outputs:
    """Returns what the network's outputs on a canvas say of one image: `[1, N, ...]` of its cells.

    Args:
        outputs: Of all images on the canvas.
        row: Which of them.
        level: The image.
        canvas: Height and width, px.
    """
    cut = {}
    for module in level.modules:
        rows, columns = (grid_size(side, module.stride) for side in canvas)
        height, width = (grid_size(side, module.stride) for side in level.pixels.shape[:2])
        for name in (f"{module.name}_logits", f"{module.name}_deltas"):
            values = outputs[name][row]  # [rows * columns * A, values]
            cells = values.reshape(rows, columns, -1, values.shape[-1])[:height, :width]
            cut[name] = cells.reshape(1, -1, values.shape[-1])
    return cut


def _same(outputs: list[Outputs]) -> list[Outputs]:
    return outputs
