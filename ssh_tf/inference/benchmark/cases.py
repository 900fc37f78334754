"""What is timed: our networks by runtime, precision and batch, and public detectors."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import cv2
import numpy as np
import tensorflow as tf

from ssh_tf.config import DetectConfig, ModelConfig
from ssh_tf.imaging.files import read_image
from ssh_tf.inference import arrays
from ssh_tf.inference.benchmark.peers import load_peer
from ssh_tf.inference.detector import Detector
from ssh_tf.inference.quiet import without_deprecations
from ssh_tf.model.ssh import SSH
from ssh_tf.model.weights import build_network

# The official network with random weights, which take as long as trained ones.
RANDOM = "vgg16"
# Logits of random networks, background above face: their scores are all under the threshold.
_SURE = 5.0

# Of a peer's boxes. Its authors' thresholds are higher than ours; below, some have thousands.
_PEER_SCORE = 0.5

Size = tuple[int, int]
Stages = dict[str, Callable[[], Any]]


class Spec(NamedTuple):
    """Names a case, also to another process.

    Attributes:
        model: `vgg16`, a model as `Detector.load` takes it, or a peer's `.onnx` file.
        runtime: What runs it; a peer has its own.
        precision: `DetectConfig.precision`; a peer has its own.
        batch: Images at once.
    """

    model: str
    runtime: str = "tensorflow"
    precision: str = "float32"
    batch: int = 1


class Case(Protocol):
    """A detector as it is timed.

    Attributes:
        spec: With the names shown in the table.
    """

    spec: Spec

    def resize_to(self, size: Size) -> None:
        """Makes images run at this height and width, px."""

    def flops(self, size: Size) -> float | None:
        """Returns the network's floating-point operations for one image, if they are known."""

    def stages(self, path: Path) -> Stages:
        """Returns the stages but for the network, as far as they can be told apart."""

    def network(self, path: Path) -> Callable[[], Any] | None:
        """Returns the bare network's call for a batch of one image, if it can be told apart."""

    def detect(self, path: Path) -> int:
        """Detects a batch of one image from its file; returns the number of faces in one."""


def load_case(spec: Spec) -> Case:
    """Loads what a spec names.

    Raises:
        UserError: If it can't be loaded, or its runtime is not installed or lacks the precision.
    """
    if spec.model.endswith(".onnx"):
        return PeerCase(spec)
    return NetworkCase(spec)


class NetworkCase:
    """One of our networks."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._detector = _load(spec)

    def resize_to(self, size: Size) -> None:
        """See `Case`."""
        scale = {"shorter_px": min(size), "longer_px": max(size), "pyramid_px": ()}
        self._detector.config = self._detector.config.model_copy(update=scale)

    def flops(self, size: Size) -> float | None:
        """See `Case`."""
        return count_flops(self._detector.network, size)

    def stages(self, path: Path) -> Stages:
        """See `Case`."""
        detector = self._detector
        image = read_image(path)
        scaled = detector.prepare(image)
        outputs = [detector.forward(level.pixels[np.newaxis]) for level in scaled]
        return {
            "decode": lambda: read_image(path),
            "resize": lambda: detector.prepare(image),
            "boxes": lambda: arrays.find_boxes(scaled, outputs, detector.config),
        }

    def network(self, path: Path) -> Callable[[], Any]:
        """See `Case`."""
        detector = self._detector
        scaled = detector.prepare(read_image(path))
        if self.spec.batch > 1:
            return lambda: detector.compute([scaled] * self.spec.batch)
        return lambda: [detector.forward(level.pixels[np.newaxis]) for level in scaled]

    def detect(self, path: Path) -> int:
        """See `Case`."""
        if self.spec.batch == 1:
            return len(self._detector.detect(path))
        return len(self._detector.detect_batch([path] * self.spec.batch)[0])


class PeerCase:
    """A detector of others, on the same pixels."""

    def __init__(self, spec: Spec) -> None:
        self._peer = load_peer(spec.model, least_score=_PEER_SCORE)
        self.spec = Spec(self._peer.name, self._peer.runtime, self._peer.precision)
        self._size = (0, 0)

    def resize_to(self, size: Size) -> None:
        """See `Case`."""
        self._size = size

    def flops(self, size: Size) -> float | None:
        """See `Case`."""
        return None

    def stages(self, path: Path) -> Stages:
        """See `Case`."""
        return {}

    def network(self, path: Path) -> Callable[[], Any] | None:
        """See `Case`."""
        return None if self._peer.network is None else self._peer.network(self._pixels(path))

    def detect(self, path: Path) -> int:
        """See `Case`."""
        return len(self._peer.find(self._pixels(path))[0])

    def _pixels(self, path: Path) -> np.ndarray:
        height, width = self._size
        return cv2.resize(read_image(path), (width, height))


def specs(
    models: Sequence[str], variants: Sequence[tuple[str, str]], batches: Sequence[int]
) -> list[Spec]:
    """Returns every model in every variant; batches of several images only where there are any.

    Args:
        models: See `Spec`.
        variants: Runtimes and their precisions.
        batches: Images at once.
    """
    return [
        Spec(model, runtime, precision, batch)
        for model in models
        for runtime, precision in variants
        for batch in batches
        if batch == 1 or runtime == "tensorflow"
    ]


def count_flops(network: SSH, size: Size) -> float:
    """Counts the network's floating-point operations for one image of `size` (height, width)."""
    exact = network.exact()
    image = tf.TensorSpec([1, *size, 3], tf.float32)
    graph = tf.function(lambda images: exact(images)).get_concrete_function(image).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    with without_deprecations():
        return float(tf.compat.v1.profiler.profile(graph, options=options).total_float_ops)


def silent_network() -> SSH:
    """Returns the official network with random weights, in which no image has faces.

    A network of random weights alone takes half of all anchors for faces, and the NMS as long.
    """
    network = build_network(ModelConfig(weights="random"), seed=0)
    for module in network.config.modules:
        logits = [_SURE, -_SURE]  # background, face
        network.get_layer(f"{module.name}_cls").bias.assign(
            np.repeat(logits, len(module.anchor_scales))
        )
    return network


def _load(spec: Spec) -> Detector:
    options: dict[str, Any] = {"runtime": spec.runtime, "batch": spec.batch}
    if spec.model == RANDOM:
        config = DetectConfig.model_validate({"precision": spec.precision})
        return Detector(silent_network(), config, **options)
    # Never an export, which `load` refuses to give a precision.
    return cast(Detector, Detector.load(spec.model, precision=spec.precision, **options))
