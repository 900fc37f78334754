"""Draws which anchors a training step learns from: before any training, and with `light`."""

import keras
import numpy as np
from keras import ops

import ssh_tf
from docs.tools.draw.scenes import Scene, anchors_of, draw_scene
from docs.tools.draw.svg import document, outline, photo, words
from ssh_tf.config import LossConfig, ModuleConfig
from ssh_tf.geometry.proposals import face_probability
from ssh_tf.geometry.targets import NEGATIVE, POSITIVE
from ssh_tf.model.ohem import assign
from ssh_tf.model.ssh import SSH
from ssh_tf.model.weights import build_network

# Two faces, and a clock, a balloon and sockets that look a bit like some.
_SEED = 8
_KEPT, _MISTAKEN = "#00e08a", "#ff5a36"
_ROW_HIGH, _TEXT_HIGH, _GAP = 240, 74, 8
_LEFT = {"text_anchor": "start"}
_FAINTEST = 0.05


def draw_mining(loss: LossConfig) -> str:
    """Returns four panels as SVG: the first two modules, with random weights and with `light`.

    Args:
        loss: The rules of a step.
    """
    light = ssh_tf.load().network
    random = build_network(light.config.model_copy(update={"weights": "random"}), seed=0)
    scene = draw_scene(_SEED)
    half = np.ascontiguousarray(scene.pixels[::2, ::2])
    drawn = [f"<defs><g id='scene'>{photo(half, 0, 0, quality=85)}</g></defs>"]
    for column, (network, name) in enumerate(((random, "untrained"), (light, "light"))):
        for row, module in enumerate(light.config.modules[:2]):
            x = _GAP + column * (half.shape[1] + _GAP)
            y = _GAP + row * (_ROW_HIGH + _TEXT_HIGH)
            panel = _panel(network, scene, module, loss, name)
            drawn.append(f'<g transform="translate({x} {y})">{panel}</g>')
    label = "Anchors that one training step learns from"
    size = 2 * half.shape[1] + 3 * _GAP, 2 * (_ROW_HIGH + _TEXT_HIGH) + _GAP
    return document(*size, label, drawn)


def _panel(network: SSH, scene: Scene, module: ModuleConfig, loss: LossConfig, name: str) -> str:
    """Draws what a step keeps of one module's anchors, with a line or two below."""
    probability = _probability(network, scene, module)
    anchors = anchors_of(module, scene.pixels)
    sizes = np.array([scene.pixels.shape[:2]], np.int32)
    labels, _ = assign(
        probability[np.newaxis], anchors, sizes, scene.faces[np.newaxis], module=module, loss=loss
    )
    labels = ops.convert_to_numpy(labels)[0]
    parts = ["<use href='#scene'/>"]
    for kind, color, width in ((NEGATIVE, _MISTAKEN, 1), (POSITIVE, _KEPT, 2)):
        for anchor, face in zip(anchors[labels == kind], probability[labels == kind], strict=True):
            # A mistake is as opaque as the network is sure of it.
            opacity = 1.0 if kind == POSITIVE else max(float(face), _FAINTEST)
            style = {"stroke": color, "stroke_width": width, "stroke_opacity": f"{opacity:.2g}"}
            parts.append(outline(anchor / 2, **style))
    positives, negatives = int((labels == POSITIVE).sum()), probability[labels == NEGATIVE]
    parts.append(
        words(0, _ROW_HIGH + 20, f"{module.name.upper()}, {name}", **_LEFT, font_weight="bold")
    )
    lines = [
        f"{positives} on faces, {len(negatives)} hardest others of {len(anchors):,}",
        f"their face probability: {negatives.min():.2f} to {negatives.max():.2f}",
    ]
    for i, line in enumerate(lines):
        parts.append(words(0, _ROW_HIGH + 39 + 19 * i, line, **_LEFT))
    return "".join(parts)


def _probability(network: keras.Model, scene: Scene, module: ModuleConfig) -> np.ndarray:
    """Returns what the network thinks of a module's anchors, `[N]` float32."""
    images = scene.pixels[np.newaxis].astype(np.float32)
    logits = network.exact()(images)[f"{module.name}_logits"]
    return ops.convert_to_numpy(face_probability(logits))[0]
