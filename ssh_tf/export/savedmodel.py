"""Writes a SavedModel for TensorFlow Serving: image bytes in, boxes out, everything inside.

The signatures are described in export/README.md.
"""

import contextlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import yaml

from ssh_tf import signature
from ssh_tf.config import EXPORT_ROWS, DetectConfig, ExportConfig
from ssh_tf.errors import UserError, explain
from ssh_tf.export.graph import from_bytes, from_pixels
from ssh_tf.export.verify import check_export, check_limits, example_image
from ssh_tf.export.warmup import write_warmup
from ssh_tf.files import atomic_folder, folder_lock, output_folder
from ssh_tf.inference.detector import Detector
from ssh_tf.inference.graph import detection_function
from ssh_tf.inference.model_folder import find_versions, is_saved_model
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
        config: Scale, thresholds and rows.
        out: The model's folder; its subfolders `1`, `2`, ... are the versions.
        options: Limits, storage, version.

    Returns:
        The new version's folder.

    Raises:
        UserError: If `out` is not writable, is full, is another process' work or is something else
            than a folder of versions, the version exists, a weight is not finite, a limit is below
            what the export is checked with, or the export does not pass its checks; nothing is left
            of it then.
    """
    options = options or ExportConfig()
    config = config.model_copy(update={"max_detections": config.max_detections or EXPORT_ROWS})
    check_limits(config, options)
    if is_saved_model(Path(out)):
        raise UserError(f"{out} is itself a SavedModel. Expected a folder of numbered versions.")
    with _model_folder(Path(out)) as folder:
        version = _version_folder(folder, options.version)
        module, forward = _served(in_precision(network, config.precision), half=options.float16)
        detect = tf.function(detection_function(network, config, forward=forward))
        # Traced once, for both signatures and the check.
        detect = detect.get_concrete_function(tf.TensorSpec([None, None, 3], tf.uint8))
        signatures = _signatures(detect, forward, config, options)
        try:
            with atomic_folder(version) as temporary:
                tf.saved_model.save(module, str(temporary), signatures)
                _write_assets(temporary, network, config, options)
                if not write_warmup(temporary, example_image()):
                    _LOG.warning("No warm-up requests. To have them: pip install 'ssh-tf[serving]'")
                check_export(temporary, detect)
        # What TensorFlow raises where Python has OSError.
        except (OSError, tf.errors.OpError) as error:
            raise UserError(f"Nothing was exported to {folder}: {explain(error)}") from error
    return version


@contextlib.contextmanager
def _model_folder(path: Path) -> Iterator[Path]:
    """Locks the model's folder. One that was made for this goes away if nothing comes into it."""
    made = [part for part in (path, *path.parents) if not part.exists()]
    folder = output_folder(path)
    with folder_lock(folder, "model"):
        try:
            yield folder
        except BaseException:
            if made:
                shutil.rmtree(folder)
            for parent in made[1:]:
                with contextlib.suppress(OSError):  # Another may have written there meanwhile.
                    parent.rmdir()
            raise


def _version_folder(folder: Path, version: int | None) -> Path:
    versions = find_versions(folder)
    newest = max(versions, default=0)
    if version in versions:
        raise UserError(f"Version {version} is in {folder} already. Its newest is {newest}.")
    return folder / str(version or newest + 1)


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
                "or set `float16` to false."
            )


def _signatures(
    detect: Callable[[Tensor], Any], forward: Forward, config: DetectConfig, options: ExportConfig
) -> dict[str, Any]:
    rows = config.max_detections or EXPORT_ROWS

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=signature.IMAGE_BYTES)])
    def image_bytes(items: Tensor) -> dict[str, Tensor]:
        return from_bytes(detect, items, options, rows=rows)

    pixels = tf.TensorSpec([None, None, None, 3], tf.uint8, name=signature.IMAGE_TENSOR)

    @tf.function(input_signature=[pixels])
    def image_tensor(items: Tensor) -> dict[str, Tensor]:
        return from_pixels(detect, items, options, rows=rows)

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
