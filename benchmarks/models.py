"""The named models and public detectors on one picture, in turn: ms from pixels to boxes.

    python benchmarks/models.py [--yunet YUNET.onnx] [--retinaface RETINAFACE.onnx] [--rounds 10]

Every detector gets the same 640 x 480 px of a photo (NASA's portrait in scikit-image, enlarged) and
runs at that size, in TensorFlow or in what its authors run it in. Rounds take turns, so that a
change of the machine's speed meets all. `vgg16` is the official network with random weights. The
last line is JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
from peers import retinaface, yunet
from skimage.data import astronaut

import ssh_tf
from ssh_tf.config import DetectConfig, ModelConfig
from ssh_tf.inference.detector import Detector
from ssh_tf.model.weights import build_network

HEIGHT, WIDTH = 480, 640


def detectors(arguments: argparse.Namespace) -> dict[str, Callable[[np.ndarray], object]]:
    """Returns what takes `[H, W, 3]` uint8 RGB, by name."""
    size = {"shorter_px": HEIGHT, "longer_px": WIDTH}
    random = build_network(ModelConfig(weights="random"), seed=0)
    found: dict[str, Callable[[np.ndarray], object]] = {
        "vgg16": Detector(random, DetectConfig(**size)).detect,
        "light": ssh_tf.load("light", **size).detect,
        "light, openvino": ssh_tf.load("light", runtime="openvino", **size).detect,
    }
    for name, make in (("yunet", yunet), ("retinaface", retinaface)):
        if (path := getattr(arguments, name)) is not None:
            run = make(path)  # of BGR
            found[name] = lambda image, run=run: run(np.ascontiguousarray(image[..., ::-1]))
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--yunet")
    parser.add_argument("--retinaface")
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    pixels = cv2.resize(astronaut(), (WIDTH, HEIGHT))
    calls = detectors(arguments)
    for call in calls.values():
        call(pixels)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(arguments.rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call(pixels)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: 1e3 * statistics.median(times) for name, times in seconds.items()}
    for name, milliseconds in medians.items():
        ratio = medians["vgg16"] / milliseconds
        print(f"{name:16} {milliseconds:8.1f} ms   {ratio:6.1f} x as fast as vgg16")
    print(json.dumps({"benchmark": "models", "size": [HEIGHT, WIDTH], "ms": medians}))


if __name__ == "__main__":
    main()
