"""The network in whole numbers of 8 bits, as an ONNX file that OpenVINO computes in them.

Pictures show which values each layer sees; those are mapped to 0 ... 255. Why ONNX Runtime's
quantizer and which layers: docs/decisions/0032.
"""

import hashlib
import logging
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime import quantization

from ssh_tf.data.synthetic import draw_image
from ssh_tf.imaging.files import read_image
from ssh_tf.imaging.folders import find_images
from ssh_tf.inference.arrays import difference, resize, single_scale
from ssh_tf.inference.runtimes.convert import INPUT, write_onnx
from ssh_tf.model.ssh import SSH

_LOG = logging.getLogger(__name__)

# Pictures looked at, and their scale: values depend little on it.
_PICTURES = 32
_SHORTER_PX, _LONGER_PX = 480, 768
# Of drawn pictures.
_DRAWN_PX = (360, 480)
# Layers whose sums have fewer terms stay as they are, and depthwise ones of fewer channels: the
# first of a narrow trunk. They gain the least speed, and would cost the most AP.
_LEAST_TERMS = 64


def calibration_images(folder: str | None) -> list[np.ndarray]:
    """Returns pictures, `[H, W, 3]` uint8 RGB: drawn ones, or some of a folder's photos.

    Args:
        folder: `DetectConfig.calibration`.

    Raises:
        UserError: If the folder holds no photo, or one of them can't be read.
    """
    if folder is None:
        rng = np.random.default_rng(0)
        return [draw_image(rng, *_DRAWN_PX)[0] for _ in range(_PICTURES)]
    paths = [path for path, _ in find_images([folder]).images]
    step = max(1, len(paths) // _PICTURES)
    return [read_image(path) for path in paths[::step][:_PICTURES]]


def images_hash(images: Sequence[np.ndarray]) -> str:
    """Returns the SHA-256 of pictures, and of how the network is quantized."""
    digest = hashlib.sha256(f"{_SHORTER_PX} {_LONGER_PX} {_LEAST_TERMS}".encode())
    for image in images:
        digest.update(str(image.shape).encode())
        digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def write_int8(network: SSH, path: Path, images: Sequence[np.ndarray]) -> None:
    """Writes the network of `write_onnx` with convolutions of 8 bit.

    Args:
        network: What is written.
        path: The file.
        images: See `calibration_images`.
    """
    _LOG.info("Looking at %d pictures for int8", len(images))
    with tempfile.TemporaryDirectory() as scratch:
        exact, simplified = Path(scratch) / "exact.onnx", Path(scratch) / "simplified.onnx"
        write_onnx(network, exact)
        quantization.quant_pre_process(str(exact), str(simplified), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(simplified),
            str(path),
            _Reader(_inputs(images, network.means)),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=_narrow(simplified),
            # Only what goes into a convolution: what follows one may be fused with it.
            extra_options={"OpTypesToExcludeOutputQuantization": ["Conv"]},
        )


class _Reader(quantization.CalibrationDataReader):
    """Gives the quantizer the network's inputs, one by one."""

    def __init__(self, inputs: Iterator[np.ndarray]) -> None:
        self._inputs = inputs

    def get_next(self) -> dict[str, np.ndarray] | None:
        following = next(self._inputs, None)
        return None if following is None else {INPUT: following}


def _inputs(images: Sequence[np.ndarray], means: Sequence[float]) -> Iterator[np.ndarray]:
    """Yields what the network sees of each image, `[1, h, w, 3]`."""
    for image in images:
        scale = single_scale(image.shape[:2], _SHORTER_PX, _LONGER_PX)
        yield resize(difference(image, means), scale)[np.newaxis]


def _narrow(path: Path) -> list[str]:
    """Returns the names of the convolutions that add few products or, depthwise, are few."""
    graph = onnx.load(path).graph
    kernels = {tensor.name: tensor.dims for tensor in graph.initializer}  # [out, in, h, w]
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    return [node.name for node in nodes if _width(kernels[node.input[1]]) < _LEAST_TERMS]


def _width(kernel: Sequence[int]) -> int:
    """Returns the terms of a convolution's sums or, if it is depthwise, its channels."""
    outputs, inputs, *_ = kernel
    return outputs if inputs == 1 else math.prod(kernel[1:])
