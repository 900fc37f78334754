"""The network as other programs take it, converted once and remembered."""

import contextlib
import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from ssh_tf.config import DetectConfig
from ssh_tf.errors import UserError, explain
from ssh_tf.files import atomic_folder, cache_folder, output_folder
from ssh_tf.model.precision import in_precision
from ssh_tf.model.ssh import SSH
from ssh_tf.version import __version__

_LOG = logging.getLogger(__name__)

INPUT = "images"
# The version of ONNX's operators: ONNX Runtime has known 17 since 1.12, of 2022.
OPSET = 17
# Counts the ways in which `network_function` has computed the same: others are converted anew.
_REVISION = 2


def network_function(
    network: SSH, precision: str = "float32", *, prepared: bool = False
) -> tf.types.experimental.PolymorphicFunction:
    """Returns the network for one image that fills its canvas, as a TensorFlow function.

    Args:
        network: Computes in float32.
        precision: `DetectConfig.precision`.
        prepared: See `SSH.exact`.

    Returns:
        A function of `images`, `[1, H, W, 3]` float32, with one trace for all H and W. Its outputs
        are those that `SSH` documents, by their names.
    """
    exact = in_precision(network, precision).exact(prepared=prepared, upsample=Doubled())
    spec = tf.TensorSpec([1, None, None, 3], tf.float32, name=INPUT)
    return tf.function(lambda images: exact(images), input_signature=[spec])


class Doubled(keras.layers.Layer):
    """Computes what `BilinearUpsample` does, by operations that every runtime has made fast.

    Repeated pixels, smoothed by 1/4, 1/2, 1/4 in both directions, are the same sums: nothing is
    transposed, as that layer's four phases must be (docs/decisions/0036).
    """

    def call(self, features: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
        """See `BilinearUpsample.call`; both have the same channels."""
        twice = 2 * tf.shape(features)[1:3]
        # Not by `tf.image.resize`, whose way to round is deprecated in ONNX.
        repeated = tf.raw_ops.ResizeNearestNeighbor(images=features, size=twice)
        taps = np.array([0.25, 0.5, 0.25], np.float32)
        kernel = np.repeat(np.outer(taps, taps)[..., np.newaxis, np.newaxis], like.shape[-1], 2)
        smoothed = tf.nn.depthwise_conv2d(repeated, kernel, [1, 1, 1, 1], "SAME")
        # Not by `[]`, around which OpenVINO transposes.
        return tf.slice(smoothed, [0, 0, 0, 0], tf.shape(like))


def write_onnx(network: SSH, path: Path) -> None:
    """Writes the network behind `Preprocess` as an ONNX file, in float32.

    Args:
        network: What is written.
        path: The file.
    """
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    function = network_function(network, prepared=True)
    tf2onnx.convert.from_function(
        function,
        function.input_signature,
        opset=OPSET,
        output_path=str(path),
    )


def write_litert(network: SSH, path: Path, *, prepared: bool = False) -> None:
    """Writes the network of `network_function` as a LiteRT file, in float32.

    Args:
        network: What is written.
        path: The file.
        prepared: See `SSH.exact`.
    """
    concrete = network_function(network, prepared=prepared).get_concrete_function()
    module = weights_module(network)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    path.write_bytes(converter.convert())


def weights_module(network: SSH) -> tf.Module:
    """Returns a module that holds a network's weights, as TensorFlow's converters ask for."""
    module = tf.Module()
    module.weights = [variable.value for variable in network.variables]
    return module


def require_float32(runtime: str, config: DetectConfig) -> None:
    """Refuses other precisions for a runtime that has none.

    Raises:
        UserError: Naming runtimes that have it.
    """
    if config.precision != "float32":
        others = "openvino" if config.precision == "int8" else "openvino or tensorflow"
        raise UserError(
            f"{runtime} computes in float32 on CPUs, not in {config.precision}. Choose the runtime "
            f"{others}."
        )


@contextlib.contextmanager
def converted(network: SSH, form: str, convert: Callable[[Path], None]) -> Iterator[Path]:
    """Yields a folder with the network in another form, made by the first who asks.

    It lies in the cache folder, under a name that the weights, the architecture, the form and the
    versions of Keras and this package determine, and is whole or absent. Where the cache can't be
    written, the network is converted anew each time.

    Args:
        network: What is converted.
        form: The format and the version of the program that writes it.
        convert: Writes into the folder it is given.

    Yields:
        The folder, to be read meanwhile.
    """
    name = f"{form}-{network_hash(network)[:20]}"
    try:
        cache = output_folder(cache_folder() / "networks")
    except UserError as error:
        _LOG.warning("%s The network is converted anew each time.", error)
        with tempfile.TemporaryDirectory() as temporary:
            convert(Path(temporary))
            yield Path(temporary)
        return
    folder = cache / name
    if not folder.is_dir():
        _LOG.info("Converting the network once, into %s", folder)
        _write(folder, convert)
    yield folder


@contextlib.contextmanager
def converted_file(
    network: SSH, form: str, name: str, write: Callable[[SSH, Path], None]
) -> Iterator[Path]:
    """Yields the file that `write` made in a folder of `converted`.

    Args:
        network: What is converted.
        form: See `converted`.
        name: The file's.
        write: Writes a network into a file.

    Yields:
        The file, to be read meanwhile.
    """
    with converted(network, form, lambda folder: write(network, folder / name)) as folder:
        yield folder / name


def network_hash(network: SSH) -> str:
    """Returns the SHA-256 of a network's weights and architecture, and of who converts it."""
    digest = hashlib.sha256()
    versions = {"keras": keras.__version__, "ssh_tf": __version__}
    about = {"network": network.get_config(), "revision": _REVISION, **versions}
    digest.update(json.dumps(about, sort_keys=True).encode())
    for weights in network.get_weights():
        digest.update(np.ascontiguousarray(weights).data)
    return digest.hexdigest()


def _write(folder: Path, convert: Callable[[Path], None]) -> None:
    try:
        with atomic_folder(folder) as new:
            convert(new)
    except OSError as error:
        if not folder.is_dir():  # If it is, another process was first, and its folder is as good.
            raise UserError(
                f"The converted network can't be written to {folder} ({explain(error)}). Make "
                "room, or name another folder by the environment variable SSH_TF_HOME."
            ) from error
