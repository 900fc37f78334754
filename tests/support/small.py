"""Small inputs that several test modules need: settings, pictures, a data set, one network."""

import functools
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from ssh_tf.config import Config, ModelConfig, validate
from ssh_tf.data.annotations import AnnotatedImage
from ssh_tf.data.readers.wider import split_layout, write_annotations
from ssh_tf.model.ssh import SSH
from ssh_tf.model.weights import build_network

HEIGHT, WIDTH = 64, 96

# The faces of `write_wider`: WIDER's `x, y, w, h`. The picture without a face, a PNG, a box that
# crosses the border and one without width stand for what a reader meets.
WIDER_BOXES: dict[str, list[list[float]]] = {
    "0--Parade/a.jpg": [[10, 12, 20, 24], [50, 30, 16, 18]],
    "0--Parade/b.png": [[8, 8, 30, 32]],
    "1--Empty/c.jpg": [],
    "1--Empty/d.jpg": [[5, 5, 20, 20], [30, 40, 0, 10], [-3, 40, 20, 60]],
}
WIDER_FACES = 5  # The box without width is no face to train on.


def small_config(**groups: dict[str, Any]) -> Config:
    """Settings for 64 x 96 px: `small_config(data={"records": "..."}, train={"steps": 2})`."""
    sizes = {"shorter_px": HEIGHT, "longer_px": WIDTH}
    data: dict[str, dict[str, Any]] = {
        "model": {"weights": "random"},
        "data": dict(sizes),
        "train": {"steps": 1, "images_per_update": 1, "log_every": 1},
        "detect": dict(sizes),
    }
    for group, values in groups.items():
        data.setdefault(group, {}).update(values)
    return validate(data, origin="small_config")


def picture(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    """Smooth random colors, `[height, width, 3]` uint8 RGB; JPEG keeps them nearly as they are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def encode(image: np.ndarray, suffix: str = ".jpg", *options: int) -> bytes:
    """Encodes RGB (or gray, or RGBA) pixels; `options` are OpenCV's."""
    channels = image.shape[2] if image.ndim == 3 else 1
    order = {1: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[channels]
    pixels = image if order is None else cv2.cvtColor(image, order)
    return cv2.imencode(suffix, pixels, options)[1].tobytes()


def exif_block(orientation: int, *, order: str = "<", tag: int = 0x0112, kind: int = 3) -> bytes:
    """A block of EXIF with one entry, in little (`<`) or big (`>`) order of bytes."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return mark + struct.pack(f"{order}IHHHIHHI", 8, 1, tag, kind, 1, orientation, 0, 0)


def with_exif(encoded: bytes, exif: bytes) -> bytes:
    """Puts a block of EXIF into a JPEG (APP1) or a PNG (eXIf)."""
    if encoded.startswith(b"\xff\xd8"):
        segment = struct.pack(">BBH", 0xFF, 0xE1, 8 + len(exif)) + b"Exif\0\0" + exif
        return encoded[:2] + segment + encoded[2:]
    chunk = b"eXIf" + exif
    chunk = struct.pack(">I", len(exif)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return encoded[:33] + chunk + encoded[33:]  # 33: signature and IHDR.


def write_wider(root: Path, split: str = "train") -> list[AnnotatedImage]:
    """Writes a split of four pictures, `WIDER_BOXES`, in WIDER's layout; returns its entries."""
    layout = split_layout(root, split)
    layout.annotations.parent.mkdir(parents=True, exist_ok=True)
    entries = []
    for i, (name, boxes) in enumerate(WIDER_BOXES.items()):
        path = layout.images_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(picture(HEIGHT + 4 * i, WIDTH - 8 * i, seed=i), path.suffix))
        table = np.array(boxes, np.float32).reshape(-1, 4)
        attributes = np.zeros((len(table), 6), np.int64)
        attributes[:, 0] = i % 3  # blur
        entries.append(AnnotatedImage(name, table, attributes))
    write_annotations(layout.annotations, entries)
    return entries


@functools.cache
def small_network() -> SSH:
    """One network of random weights for all tests that only look: they must not change it.

    Its outputs are spread out: scores from 0 to 1 and boxes unlike their anchors, so that a wrong
    order or a missed step shows.
    """
    network = build_network(small_config().model, seed=0)
    for module in network.config.modules:
        for kind in ("cls", "box"):
            kernel = network.get_layer(f"{module.name}_{kind}").kernel
            kernel.assign(kernel * (20.0 if kind == "cls" else 3.0))
    return network


@functools.cache
def narrow_network() -> SSH:
    """A network of few weights, quick to convert; as `small_network`."""
    modules = tuple(module.model_copy(update={"channels": 8}) for module in ModelConfig().modules)
    config = ModelConfig(
        backbone="mobilenet", width=0.125, fuse_channels=8, modules=modules, weights="random"
    )
    network = build_network(config, seed=0)
    outputs = network.exact()(picture()[np.newaxis].astype(np.float32))
    for module in modules:  # Deviations of logits and deltas.
        for kind, output, deviation in (("cls", "logits", 2.0), ("box", "deltas", 0.3)):
            kernel = network.get_layer(f"{module.name}_{kind}").kernel
            kernel.assign(kernel * (deviation / np.std(outputs[f"{module.name}_{output}"])))
    return network


@functools.cache
def mirrored(*devices: str) -> tf.distribute.MirroredStrategy:
    """The one strategy of these devices: TensorFlow mixes up the reductions of two of them."""
    return tf.distribute.MirroredStrategy(devices)
