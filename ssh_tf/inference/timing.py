"""How long detection takes: stage by stage, the network alone, and from a file to its boxes."""

import dataclasses
import functools
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from ssh_tf.config import DetectConfig
from ssh_tf.data.synthetic import draw_image
from ssh_tf.imaging.files import read_image
from ssh_tf.inference import arrays
from ssh_tf.inference.detector import Detector
from ssh_tf.inference.quiet import without_deprecations
from ssh_tf.model.ssh import SSH

# WIDER's usual factor: 1024 px wide landscapes become 1600 px wide.
_SCALE = 1.5625
_MATRIX = 2048


@dataclasses.dataclass(frozen=True)
class Timing:
    """What one size of the network's input takes in one runtime and precision, batch 1.

    Attributes:
        runtime: What ran the network.
        precision: `DetectConfig.precision`.
        height: Of the network's input, px.
        width: Of the network's input, px.
        network: Median seconds of the network alone.
        end_to_end: Median seconds from a JPEG file's path to boxes in NumPy.
        stages: Median seconds of each other stage of `end_to_end`, run on its own.
        flops: Floating-point operations of the network, two per multiply-add.
        faces: Boxes that came out.
    """

    runtime: str
    precision: str
    height: int
    width: int
    network: float
    end_to_end: float
    stages: dict[str, float]
    flops: float
    faces: int

    @property
    def ratio(self) -> float:
        """End to end over the network alone."""
        return self.end_to_end / self.network


def time_detection(
    network: SSH,
    config: DetectConfig,
    size: tuple[int, int],
    runs: int,
    variants: Sequence[tuple[str, str]] = (("tensorflow", "float32"),),
) -> list[Timing]:
    """Measures one size; all variants and stages take turns: a busy moment slows them all.

    Args:
        network: What is measured. Random weights take as long as trained ones, but for the NMS.
        config: Thresholds; the scale follows from `size`.
        size: Height and width of the network's input, px.
        runs: Turns after a first one that does not count; the median is taken.
        variants: Runtimes and precisions.

    Returns:
        One `Timing` per variant.

    Raises:
        UserError: If a runtime is not installed or lacks a precision.
    """
    scales = {"shorter_px": min(size), "longer_px": max(size), "pyramid_px": ()}
    detectors = [
        Detector(
            network,
            config.model_copy(update={**scales, "precision": precision}),
            runtime=runtime,
        )
        for runtime, precision in variants
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.jpg"
        _draw(path, round(size[0] / _SCALE), round(size[1] / _SCALE))
        stages = _stages(detectors[0], path)
        calls: dict[Hashable, Callable[[], Any]] = dict(stages.items())
        for variant, detector in zip(variants, detectors, strict=True):
            calls[variant, "network"] = _network(detector, path)
            calls[variant, "end_to_end"] = functools.partial(detector.detect, path)
        seconds = _take_turns(calls, runs)
        faces = [len(detector.detect(path)) for detector in detectors]
    flops = count_flops(network, size)
    return [
        Timing(
            *(*variant, *size),
            network=seconds[variant, "network"],
            end_to_end=seconds[variant, "end_to_end"],
            stages={name: seconds[name] for name in stages},
            flops=flops,
            faces=count,
        )
        for variant, count in zip(variants, faces, strict=True)
    ]


def count_flops(network: SSH, size: tuple[int, int]) -> float:
    """Counts the network's floating-point operations for one image of `size` (height, width)."""
    exact = network.exact()
    image = tf.TensorSpec([1, *size, 3], tf.float32)
    graph = tf.function(lambda images: exact(images)).get_concrete_function(image).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    with without_deprecations():
        return float(tf.compat.v1.profiler.profile(graph, options=options).total_float_ops)


def matrix_flops_per_second(repeats: int = 20) -> float:
    """Measures the best rate of a float32 matrix product of 2048 x 2048, operations per second."""
    matrix = tf.random.stateless_normal([_MATRIX, _MATRIX], seed=(0, 0))
    multiply = tf.function(lambda a: tf.reduce_sum(a @ a))
    best = min(_seconds(lambda: multiply(matrix).numpy()) for _ in range(repeats + 1))
    return 2.0 * _MATRIX**3 / best


def peak_memory_mib() -> float:
    """Returns the most memory used so far, MiB: of the first GPU, or else of this process."""
    if tf.config.list_physical_devices("GPU"):
        return float(tf.config.experimental.get_memory_info("GPU:0")["peak"]) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _draw(path: Path, height: int, width: int) -> None:
    image, *_ = draw_image(np.random.default_rng(0), height, width, smallest_px=12)
    path.write_bytes(cv2.imencode(".jpg", image[..., ::-1])[1].tobytes())


def _stages(detector: Detector, path: Path) -> dict[str, Callable[[], Any]]:
    """Returns the stages of detection but for the network, each a function without arguments."""
    config, modules = detector.config, detector.network.config.modules
    image, pixels, scale = _input(detector, path)
    outputs = detector.forward(pixels[np.newaxis])

    def boxes() -> Any:
        parts = [arrays.module_proposals(outputs, pixels.shape[:2], m, config) for m in modules]
        found, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
        return arrays.joint_nms(found, scores, config)

    return {
        "decode": lambda: read_image(path),
        "resize": lambda: arrays.resize(image, scale),
        "boxes": boxes,
    }


def _network(detector: Detector, path: Path) -> Callable[[], Any]:
    _, pixels, _ = _input(detector, path)
    return functools.partial(detector.forward, pixels[np.newaxis])


def _input(detector: Detector, path: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns an image, the network's input of it, and the scale between them."""
    image = read_image(path)
    ((scale, _),) = arrays.levels(image.shape[:2], detector.network.config.modules, detector.config)
    return image, arrays.resize(image, scale), scale


def _take_turns(calls: Mapping[Hashable, Callable[[], Any]], runs: int) -> dict[Hashable, float]:
    """Calls each function once to warm up, then in turns; returns median seconds."""
    for call in calls.values():
        call()
    seconds = [{name: _seconds(call) for name, call in calls.items()} for _ in range(runs)]
    return {name: statistics.median(turn[name] for turn in seconds) for name in calls}


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
