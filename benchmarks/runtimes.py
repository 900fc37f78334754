"""What docs/runtimes.md says of equal faces and of speed, measured in one run on an idle machine.

    pip install -e ".[openvino,onnx,litert]"
    python benchmarks/runtimes.py --photos PHOTOS [--models light RUN] [--calibration PHOTOS]

First `light` on 50 of the photos, in every runtime and precision that is installed, beside
TensorFlow in float32: differences of boxes and scores, and how many of its faces above 0.5 are
found again (IoU 0.8). Then times of what `auto` chooses, from a file to boxes, beside OpenVINO that
is given the same network and does nothing else; all take turns. Without `--models`, of `light` and
of the official network with random weights. Takes some minutes on 2 cores, the first time a few
more to convert the networks. Ends with one JSON line.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import openvino
import tensorflow as tf

import ssh_tf
from ssh_tf.imaging.files import read_image
from ssh_tf.imaging.folders import find_images
from ssh_tf.inference.arrays import found_again
from ssh_tf.inference.benchmark.cases import RANDOM, Case, NetworkCase, Spec
from ssh_tf.inference.benchmark.timing import time_cases
from ssh_tf.inference.results import Detections
from ssh_tf.inference.runtimes.choice import installed_variants
from ssh_tf.inference.runtimes.convert import network_function, weights_module

PHOTOS = 50
SIZES = ((400, 800), (1200, 1600))
PRECISIONS = ("float32", "bfloat16", "int8")
# What the times of `auto` should be at most, as parts of bare OpenVINO's and of float32's.
LIMITS = {"float32": 1.03, "bfloat16": 0.55, "int8": 0.40}


class BareOpenVINO(NetworkCase):
    """OpenVINO on one of our networks, and nothing around it."""

    def __init__(self, model: str) -> None:
        super().__init__(Spec(model))
        self.spec = Spec(model, "bare openvino")
        network = self._detector.network
        function = network_function(network).get_concrete_function()
        options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        with tempfile.TemporaryDirectory() as folder:
            tf.saved_model.save(weights_module(network), folder, signatures=function)
            model = openvino.Core().read_model(folder)
            self._compiled = openvino.Core().compile_model(model, "CPU", options)

    def network(self, path: Path) -> Callable[[], Any]:
        """See `Case`."""
        (level,) = self._detector.prepare(read_image(path))
        return lambda: self._compiled([level.pixels[np.newaxis]], share_inputs=True)

    def detect(self, path: Path) -> int:
        """Nothing: only the bare network is of interest."""
        return 0


def agreement(photos: Sequence[Path], calibration: str | None) -> dict[str, Any]:
    """Compares `light` in all runtimes and precisions with TensorFlow in float32."""
    reference = ssh_tf.load("light")
    expected = [reference.detect(photo) for photo in photos]
    report = {}
    for runtime, precision in installed_variants():
        settings = {"calibration": calibration} if precision == "int8" else {}
        detector = ssh_tf.load("light", runtime=runtime, precision=precision, **settings)
        found = [detector.detect(photo) for photo in photos]
        name = f"{runtime}, {precision}"
        report[name] = row = differences(found, expected)
        print(f"{name:24} {row['found']:4} of {row['faces']} faces found again", end="")
        if "box_px" in row:
            print(f"; up to {row['box_px']:.1e} px and {row['score']:.1e} apart", end="")
        print()
    return report


def differences(found: Sequence[Detections], expected: Sequence[Detections]) -> dict[str, Any]:
    """Returns the faces found again, and, where there are as many, the largest differences."""
    sure = [faces.filter(score=0.5).boxes for faces in expected]
    again = [found_again(each.boxes, boxes) for each, boxes in zip(found, sure, strict=True)]
    report = {"faces": sum(map(len, sure)), "found": int(sum(map(np.sum, again)))}
    pairs = list(zip(found, expected, strict=True))
    if any(len(one) != len(other) for one, other in pairs):
        return report
    return report | {
        "box_px": max(_apart(one.boxes, other.boxes) for one, other in pairs),
        "score": max(_apart(one.scores, other.scores) for one, other in pairs),
    }


def _apart(values: np.ndarray, others: np.ndarray) -> float:
    return float(np.abs(values - others).max(initial=0.0))


def ratios(model: str, runs: int) -> dict[str, dict[str, float]]:
    """Returns, by size, the times of `auto` as parts of bare OpenVINO's and of float32's."""
    cases: list[Case] = [BareOpenVINO(model)]
    cases += [NetworkCase(Spec(model, "auto", precision)) for precision in PRECISIONS]
    report = {}
    for size in SIZES:
        bare, *ours = time_cases(cases, size, runs)
        least = bare.network if model != "light" else bare.network + bare.decode + bare.resize
        exact, times = ours[0].end_to_end, [timing.end_to_end for timing in ours]
        parts = dict(zip(PRECISIONS, [exact / least, *(t / exact for t in times[1:])], strict=True))
        networks = [bare.network, *(ours[0].network for _ in times[1:])]
        alone = [timing.network / part for timing, part in zip(ours, networks, strict=True)]
        label = "x".join(map(str, size))
        report[label] = parts | {"bare_ms": 1e3 * bare.network, "ms": 1e3 * exact, "alone": alone}
        milliseconds = ", ".join(f"{1e3 * t:.1f}" for t in times)
        print(f"{model} {label}: bare OpenVINO {1e3 * bare.network:.1f} ms; auto {milliseconds} ms")
        for (precision, part), network in zip(parts.items(), alone, strict=True):
            of = "bare OpenVINO" if precision == "float32" else "float32"
            good = "as it should" if part <= LIMITS[precision] else "MORE THAN IT SHOULD"
            print(
                f"  {precision:9} {part:.3f} of {of}, limit {LIMITS[precision]:.2f}: {good}; "
                f"the network alone {network:.3f}"
            )
    return report


def main() -> None:
    """Compares, then measures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", required=True, metavar="DIR")
    parser.add_argument("--calibration", metavar="DIR", help="for int8 (default: drawn pictures)")
    parser.add_argument("--models", nargs="+", default=["light", RANDOM], help="what is timed")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    paths = [path for path, _ in find_images([arguments.photos]).images]
    photos = paths[:: max(1, len(paths) // PHOTOS)][:PHOTOS]
    report: dict[str, Any] = {"agreement": agreement(photos, arguments.calibration)}
    for model in arguments.models:
        report[model] = ratios(model, arguments.runs * (5 if model == "light" else 1))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
