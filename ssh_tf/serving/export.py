"""Writes a SavedModel for TensorFlow Serving: image bytes in, boxes out, everything inside.

The signature is described in export/README.md.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from ssh_tf import signature
from ssh_tf.config import DetectConfig
from ssh_tf.data.images import decode
from ssh_tf.errors import UserError
from ssh_tf.files import output_folder
from ssh_tf.inference.graph import Detections, detection_function
from ssh_tf.model.ssh import SSH

Tensor = Any

# What the official code keeps of an image in its own evaluation is far less on almost all images.
DEFAULT_ROWS = 750


def export_savedmodel(
    network: SSH, config: DetectConfig, out: str | Path, *, max_detections: int = DEFAULT_ROWS
) -> Path:
    """Writes the next version of a served model.

    TensorFlow Serving looks for new versions every second, so the folder is written aside and
    renamed when it is whole.

    Args:
        network: The detector's network.
        config: Scale and thresholds.
        out: The model's folder; its subfolders `1`, `2`, ... are the versions.
        max_detections: Rows of the outputs: the best faces of an image, filled up with zeros.

    Returns:
        The new version's folder.

    Raises:
        UserError: If `out` is not writable or is something else than a folder of versions, or
            there are no rows.
    """
    if max_detections < 1:
        raise UserError(f"--max_detections must be at least 1. Received: {max_detections}.")
    folder = output_folder(out)
    version = folder / str(_next_version(folder))
    temporary = folder / f".{version.name}.{os.getpid()}.tmp"
    config = config.model_copy(update={"max_detections": max_detections})
    detect = detection_function(network, config)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=signature.IMAGE_BYTES)])
    def from_bytes(image_bytes: Tensor) -> dict[str, Tensor]:
        return _batched(detect, decode, image_bytes, max_detections)

    pixels = tf.TensorSpec([None, None, None, 3], tf.uint8, name=signature.IMAGE_TENSOR)

    @tf.function(input_signature=[pixels])
    def from_pixels(image_tensor: Tensor) -> dict[str, Tensor]:
        return _batched(detect, tf.identity, image_tensor, max_detections)

    # Keras' ExportArchive would store every weight twice.
    module = tf.Module()
    module.weights = [variable.value for variable in network.variables]
    signatures = {signature.SERVING_DEFAULT: from_bytes, signature.IMAGE_TENSOR: from_pixels}
    try:
        tf.saved_model.save(module, str(temporary), signatures)
        temporary.rename(version)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return version


def _next_version(folder: Path) -> int:
    if (folder / "saved_model.pb").exists():
        raise UserError(f"{folder} is itself a SavedModel. --out must hold numbered versions.")
    return 1 + max((int(path.name) for path in folder.iterdir() if path.name.isdigit()), default=0)


def _batched(
    detect: Callable[[Tensor], Detections],
    read: Callable[[Tensor], Tensor],
    items: Tensor,
    rows: int,
) -> dict[str, Tensor]:
    """Reads and detects item by item, so that no result depends on its batch mates."""

    def one(item: Tensor) -> dict[str, Tensor]:
        image = read(item)
        return _padded(detect(image), tf.shape(image)[:2], rows)

    outputs = {
        signature.DETECTION_BOXES: tf.TensorSpec([rows, 4], tf.float32),
        signature.DETECTION_SCORES: tf.TensorSpec([rows], tf.float32),
        signature.DETECTION_CLASSES: tf.TensorSpec([rows], tf.float32),
        signature.NUM_DETECTIONS: tf.TensorSpec([], tf.int32),
    }
    result: dict[str, Tensor] = tf.map_fn(one, items, fn_output_signature=outputs)
    return result


def _padded(found: Detections, size: Tensor, rows: int) -> dict[str, Tensor]:
    """Normalises boxes to the image and fills up with zeros to `rows`."""
    height, width = tf.unstack(tf.cast(size, tf.float32))
    x1, y1, x2, y2 = tf.unstack(found.boxes, axis=-1)
    boxes = tf.stack([y1 / height, x1 / width, y2 / height, x2 / width], axis=-1)
    count = tf.shape(found.scores)[0]
    missing = rows - count

    def fill(values: Tensor) -> Tensor:
        return tf.pad(values, [[0, missing]] + [[0, 0]] * (values.shape.rank - 1))

    return {
        signature.DETECTION_BOXES: tf.ensure_shape(fill(boxes), [rows, 4]),
        signature.DETECTION_SCORES: tf.ensure_shape(fill(found.scores), [rows]),
        signature.DETECTION_CLASSES: tf.ensure_shape(
            fill(tf.fill([count], float(signature.FACE_LABEL))), [rows]
        ),
        signature.NUM_DETECTIONS: count,
    }
