"""Writes a SavedModel for TensorFlow Serving: image bytes in, boxes out, everything inside.

The signatures are described in export/README.md.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import yaml

from ssh_tf import signature
from ssh_tf.config import DetectConfig, ExportConfig
from ssh_tf.errors import UserError
from ssh_tf.export.graph import from_bytes, from_pixels
from ssh_tf.export.verify import check_export, example_image
from ssh_tf.export.warmup import write_warmup
from ssh_tf.files import output_folder
from ssh_tf.inference.detector import Detector
from ssh_tf.inference.graph import detection_function
from ssh_tf.model.precision import in_precision
from ssh_tf.model.ssh import SSH
from ssh_tf.version import __version__

_LOG = logging.getLogger(__name__)

Tensor = Any
Forward = Callable[[Tensor], dict[str, Tensor]]


def export_savedmodel(
    network: SSH, config: DetectConfig, out: str | Path, options: ExportConfig | None = None
) -> Path:
    """Writes a version of a served model and proves that it works.

    TensorFlow Serving looks for new versions every second, so the folder is written aside, checked
    there, and renamed when it is whole and right: warm-up requests run and find the faces that
    `Detector` finds.

    Args:
        network: The detector's network.
        config: Scale and thresholds.
        out: The model's folder; its subfolders `1`, `2`, ... are the versions.
        options: Rows, limits, storage, version.

    Returns:
        The new version's folder.

    Raises:
        UserError: If `out` is not writable, is full or is something else than a folder of versions,
            the version exists, a weight is not finite, or the export does not pass its checks;
            nothing is left of it then.
    """
    options = options or ExportConfig()
    folder = output_folder(out)
    version = _version_folder(folder, options.version)
    temporary = folder / f".{version.name}.{os.getpid()}.tmp"
    config = config.model_copy(update={"max_detections": options.max_detections})
    module, forward = _served(in_precision(network, config.precision), half=options.float16)
    detect = detection_function(network, config, forward=forward)
    try:
        tf.saved_model.save(module, str(temporary), _signatures(detect, forward, options))
        _write_assets(temporary, network, config, options)
        if not write_warmup(temporary, example_image()):
            _LOG.warning("No warm-up requests: they need the extra, pip install ssh-tf[serving].")
        check_export(temporary, detect)
        temporary.rename(version)
    except tf.errors.OpError as error:  # What TensorFlow raises where Python has OSError.
        reason = " ".join(error.message.split())[-100:]
        raise UserError(f"Nothing was exported to {folder}: {reason}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return version


def _version_folder(folder: Path, version: int | None) -> Path:
    if (folder / "saved_model.pb").exists():
        raise UserError(f"{folder} is itself a SavedModel. --out must hold numbered versions.")
    there = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    if version in there:
        raise UserError(f"Version {version} is in {folder} already. Its newest is {max(there)}.")
    return folder / str(version or max(there, default=0) + 1)


def _served(network: SSH, *, half: bool) -> tuple[tf.Module, Forward]:
    """Returns what holds the weights, once, and the forward pass that reads them there.

    Keras' ExportArchive would store every weight twice.
    """
    _check_finite(network, tf.float16 if half else tf.float32)
    module, exact = tf.Module(), network.exact()
    if not half:
        module.weights = [variable.value for variable in network.variables]
        return module, exact
    stored = {
        variable.path: tf.Variable(tf.cast(variable.value, tf.float16), trainable=False)
        for variable in network.variables
    }
    module.weights = stored

    def forward(images: Tensor) -> dict[str, Tensor]:
        trainable, others = (
            [tf.cast(stored[variable.path], tf.float32) for variable in variables]
            for variables in (exact.trainable_variables, exact.non_trainable_variables)
        )
        outputs: dict[str, Tensor] = exact.stateless_call(trainable, others, images)[0]
        return outputs

    return module, forward


def _check_finite(network: SSH, dtype: tf.DType) -> None:
    for variable in network.variables:
        if not np.isfinite(tf.cast(variable.value, dtype)).all():
            raise UserError(
                f"Weight {variable.path} is not finite in {dtype.name}. Export another checkpoint, "
                "or without --float16."
            )


def _signatures(
    detect: Callable[[Tensor], Any], forward: Forward, options: ExportConfig
) -> dict[str, Any]:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=signature.IMAGE_BYTES)])
    def image_bytes(items: Tensor) -> dict[str, Tensor]:
        return from_bytes(detect, items, options)

    pixels = tf.TensorSpec([None, None, None, 3], tf.uint8, name=signature.IMAGE_TENSOR)

    @tf.function(input_signature=[pixels])
    def image_tensor(items: Tensor) -> dict[str, Tensor]:
        return from_pixels(detect, items, options)

    images = tf.TensorSpec([None, None, None, 3], tf.float32, name=signature.IMAGES)

    @tf.function(input_signature=[images])
    def raw(items: Tensor) -> dict[str, Tensor]:
        return forward(items)

    return {
        signature.SERVING_DEFAULT: image_bytes,
        signature.IMAGE_TENSOR: image_tensor,
        signature.RAW: raw,
    }


def _write_assets(folder: Path, network: SSH, config: DetectConfig, options: ExportConfig) -> None:
    """Writes what the model is and where it comes from, for people and other programs."""
    assets = folder / "assets"
    assets.mkdir(exist_ok=True)
    settings = {
        "model": network.config.model_dump(mode="json"),
        "detect": config.model_dump(mode="json"),
        "export": options.model_dump(mode="json"),
    }
    origin = {
        "ssh_tf": __version__,
        "tensorflow": tf.__version__,
        "network": json.loads(Detector(network, config).fingerprint())["weights_sha256"],
        "channels": "RGB",
        "pixel_means": [float(np.float32(mean)) for mean in network.means],
    }
    (assets / "labels.txt").write_text(f"{signature.FACE_LABEL} {signature.FACE_TEXT}\n")
    (assets / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    (assets / "origin.json").write_text(json.dumps(origin, indent=1) + "\n")
