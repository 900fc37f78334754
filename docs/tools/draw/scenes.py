"""Drawn scenes with their faces as the training step has them, and a module's anchors on them."""

from dataclasses import dataclass

import numpy as np
from keras import ops

from ssh_tf.config import ModuleConfig
from ssh_tf.data.synthetic import draw_image
from ssh_tf.geometry.anchors import anchor_grid, grid_size


@dataclass(frozen=True)
class Scene:
    """A drawn picture.

    Attributes:
        pixels: `[H, W, 3]` uint8 RGB.
        faces: `[F, 4]` float32, official corners, px.
    """

    pixels: np.ndarray
    faces: np.ndarray


def draw_scene(seed: int, height: int = 480, width: int = 640) -> Scene:
    """Draws a scene with people from 14 px on."""
    pixels, boxes, _ = draw_image(np.random.default_rng(seed), height, width, smallest_px=14)
    faces = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return Scene(pixels, faces)


def anchors_of(module: ModuleConfig, pixels: np.ndarray) -> np.ndarray:
    """Returns a module's anchors on a picture: `[N, 4]` float32, half-open, px."""
    rows, columns = (grid_size(side, module.stride) for side in pixels.shape[:2])
    scales = module.anchor_scales
    return ops.convert_to_numpy(anchor_grid(rows, columns, stride=module.stride, scales=scales))
