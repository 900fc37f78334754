"""How long detection takes: stage by stage, the network alone, and from a file to its boxes."""

import dataclasses
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from ssh_tf.config import DetectConfig
from ssh_tf.data.synthetic import draw_image
from ssh_tf.imaging.decoder import decode_bytes
from ssh_tf.imaging.scale import resize, single_scale
from ssh_tf.inference.detector import Detector
from ssh_tf.inference.graph import joint_nms, module_proposals
from ssh_tf.inference.quiet import without_deprecations
from ssh_tf.model.ssh import SSH

# WIDER's usual factor: 1024 px wide landscapes become 1600 px wide.
_SCALE = 1.5625
_MATRIX = 2048


@dataclasses.dataclass(frozen=True)
class Timing:
    """What one size of the network's input takes, batch 1.

    Attributes:
        height: Of the network's input, px.
        width: Of the network's input, px.
        network: Median seconds of the network alone.
        end_to_end: Median seconds from a JPEG file's path to boxes in NumPy.
        stages: Median seconds of each stage of `end_to_end`, run on its own.
        flops: Floating-point operations of the network, two per multiply-add.
        faces: Boxes that came out.
    """

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


def time_detection(network: SSH, config: DetectConfig, size: tuple[int, int], runs: int) -> Timing:
    """Measures one size; all variants take turns, so that a busy moment slows them all.

    Args:
        network: What is measured. Random weights take as long as trained ones, but for the NMS.
        config: Thresholds; the scale follows from `size`.
        size: Height and width of the network's input, px.
        runs: Turns after a first one that does not count; the median is taken.
    """
    height, width = size
    scales = {"shorter_px": min(size), "longer_px": max(size), "pyramid_px": ()}
    detector = Detector(network, config.model_copy(update=scales))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.jpg"
        _draw(path, round(height / _SCALE), round(width / _SCALE))
        stages, network_alone = _stages(detector, path)
        seconds = _take_turns(
            {"end_to_end": lambda: detector.detect(path), "network": network_alone, **stages}, runs
        )
        faces = len(detector.detect(path).scores)
    return Timing(
        height=height,
        width=width,
        network=seconds.pop("network"),
        end_to_end=seconds.pop("end_to_end"),
        stages=seconds,
        flops=count_flops(network, size),
        faces=faces,
    )


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


def _stages(
    detector: Detector, path: Path
) -> tuple[dict[str, Callable[[], Any]], Callable[[], Any]]:
    """Returns the stages of detection and the network alone, each a function without arguments."""
    config, modules = detector.config, detector.network.config.modules
    exact = detector.network.exact()

    def scale_of(image: Any) -> Any:
        size = tf.shape(image)[:2]
        return single_scale(size, shorter_px=config.shorter_px, longer_px=config.longer_px)

    def boxes(outputs: Any, size: Any) -> Any:
        found, scores = module_proposals(
            outputs, size, modules, top_k=config.top_k, exact_decode=config.exact_decode
        )
        return joint_nms(found, scores, config)

    enlarge = tf.function(lambda image: resize(image, scale_of(image)))
    run = tf.function(lambda images: exact(images))
    find = tf.function(boxes)
    image = decode_bytes(path.read_bytes())
    pixels = enlarge(image)
    inputs, size = pixels[tf.newaxis], tf.shape(pixels)[:2]
    outputs = run(inputs)
    stages = {
        "decode": lambda: decode_bytes(path.read_bytes()).numpy(),
        "resize": lambda: enlarge(image).numpy(),
        "boxes": lambda: find(outputs, size)[1].numpy(),
    }
    # One small output is fetched: it comes last, and a GPU would otherwise only have been asked.
    last = f"{modules[-1].name}_logits"
    return stages, lambda: run(inputs)[last].numpy()


def _take_turns(calls: dict[str, Callable[[], Any]], runs: int) -> dict[str, float]:
    """Calls each function once to warm up, then in turns; returns median seconds."""
    for call in calls.values():
        call()
    seconds = [{name: _seconds(call) for name, call in calls.items()} for _ in range(runs)]
    return {name: statistics.median(turn[name] for turn in seconds) for name in calls}


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
