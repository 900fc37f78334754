"""Draws which anchor fits each face of a scene best, and all anchors' sizes."""

import numpy as np
from keras import ops

from docs.tools.draw.scenes import anchors_of, draw_scene
from docs.tools.draw.svg import MODULES, document, outline, photo, words
from ssh_tf.config import LossConfig, ModelConfig
from ssh_tf.geometry.anchors import BASE_PX
from ssh_tf.geometry.boxes import include_last_pixel, pairwise_iou

# Ten faces of 15 to 170 px.
_SEED = 9
_KEY_HIGH, _KEY_WIDE, _KEY_SCALE = 196, 210, 0.25


def draw_anchors(config: ModelConfig, loss: LossConfig) -> str:
    """Returns a scene with each face's best anchor as SVG, and the sizes of all anchors below.

    Args:
        config: The modules and their anchors.
        loss: From which IoU on an anchor is positive.
    """
    scene = draw_scene(_SEED)
    height, width = scene.pixels.shape[:2]
    anchors = [anchors_of(module, scene.pixels) for module in config.modules]
    owner = np.repeat(np.arange(len(anchors)), [len(each) for each in anchors])
    every = np.concatenate(anchors)  # [N, 4]
    faces = include_last_pixel(scene.faces)
    iou = ops.convert_to_numpy(pairwise_iou(every, faces))  # [N, F]
    drawn = [photo(scene.pixels, 0, 0)]
    for face, best in zip(scene.faces, iou.argmax(axis=0), strict=True):
        overlap = iou[best].max()
        color = MODULES[owner[best]]
        dashes = {} if overlap >= loss.positive_iou else {"stroke_dasharray": "3 3"}
        drawn.append(outline(face, stroke="#fff", stroke_width=1.5))
        drawn.append(outline(every[best], stroke=color, stroke_width=3, **dashes))
        x, y = every[best, 0], every[best, 1] - 5
        label = {"text_anchor": "start", "fill": "#fff", "font_size": 14, "font_weight": "bold"}
        halo = {"stroke": "#000", "stroke_width": 3, "paint_order": "stroke"}
        drawn.append(words(max(x, 2), max(y, 12), f"{overlap:.2f}", **label, **halo))
    for index, module in enumerate(config.modules):
        x, y = 12 + index * _KEY_WIDE, height + 24
        sides = [scale * BASE_PX for scale in module.anchor_scales]
        name = f"{module.name.upper()}: {len(anchors[index]):,} anchors"
        sizes = " and ".join(f"{side:g}" for side in sides) + " px"
        drawn.append(words(x, y, name, text_anchor="start", font_weight="bold"))
        drawn.append(words(x, y + 20, sizes, text_anchor="start"))
        for side in sides:
            box = np.array([x, y + 32, x, y + 32]) + np.array([0, 0, 1, 1]) * side * _KEY_SCALE
            drawn.append(outline(box, stroke=MODULES[index], stroke_width=2))
    label = "Faces of a drawn scene and the anchor that overlaps each most"
    return document(width, height + _KEY_HIGH, label, drawn)
