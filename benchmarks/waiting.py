"""How far detection of many photos is from never letting the network wait. 2 to 4 minutes.

    python benchmarks/waiting.py --photos PHOTOS [--images 300] [--runtimes tensorflow openvino]

Three times in turns, on a third of the photos each: decoding alone, in as many threads as there are
cores; the bare network alone, on scaled pixels that lie in memory; `detect`, from files to entries
of JSON. `light` at 640 px: the rate of `detect` over the one that decoding plus network allow, at
least 0.9. VGG-16, with random weights that find no face, on a twenty-fifth of the photos: the time
of `detect` over the bare network's, at most 1.02. CPU seconds stand beside. The last line is JSON.
"""

import argparse
import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import ssh_tf
from ssh_tf.config import DetectConfig
from ssh_tf.files import existing_folder
from ssh_tf.imaging.files import read_image
from ssh_tf.imaging.folders import find_images
from ssh_tf.inference.benchmark.cases import silent_network
from ssh_tf.inference.detector import Detector
from ssh_tf.inference.gallery import Outputs, detect_files
from ssh_tf.inference.writers import json_lines

ROUNDS = 3
SCALE = {"shorter_px": 480, "longer_px": 640}
VGG_SHARE = 25
Photos = Sequence[tuple[Path, Path]]


class Watch:
    """Adds up wall and CPU seconds by what they were spent on."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    @contextlib.contextmanager
    def on(self, stage: str) -> Iterator[None]:
        """Times what happens inside."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall[stage] = self.wall.get(stage, 0.0) + time.perf_counter() - wall
        self.cpu[stage] = self.cpu.get(stage, 0.0) + time.process_time() - cpu


def measure(detector: Detector, photos: Photos, out: Path) -> Watch:
    """Times the stages and the whole on the same photos, in turns."""
    watch = Watch()
    list(detect_files(detector, photos[:2], Outputs()))  # warm
    for part in (photos[i::ROUNDS] for i in range(ROUNDS)):
        with watch.on("decode"), ThreadPoolExecutor(os.cpu_count()) as pool:
            images = list(pool.map(lambda photo: read_image(photo[0]), part))
        inputs = [detector.prepare(image) for image in images]
        for levels in inputs:  # Runtimes prepare themselves for each new size.
            detector.forward(levels[0].pixels[np.newaxis])
        with watch.on("network"):
            for levels in inputs:
                detector.forward(levels[0].pixels[np.newaxis])
        with watch.on("detect"), out.open("w") as file, json_lines(file) as write:
            for entry in detect_files(detector, part, Outputs()):
                write(entry)
    return watch


def main() -> None:
    """Prints a line per network and runtime."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--runtimes", nargs="+", default=["tensorflow", "openvino"])
    parser.add_argument("--parallel", type=int, default=1, help="runs of the network at a time")
    parser.add_argument("--models", nargs="+", default=["light", "vgg16"])
    arguments = parser.parse_args()
    photos = find_images([existing_folder(arguments.photos, "photos")]).images[: arguments.images]
    report = []
    for runtime in arguments.runtimes:
        for model in arguments.models:
            light = model == "light"
            detector = (
                ssh_tf.load("light", runtime=runtime, **SCALE)
                if light
                else Detector(silent_network(), DetectConfig(**SCALE), runtime=runtime)
            )
            detector.parallel = arguments.parallel
            some = photos if light else photos[::VGG_SHARE]
            watch = measure(detector, some, Path(os.devnull))
            wall, cpu = watch.wall, watch.cpu
            ideal = wall["decode"] + wall["network"]
            ratio = ideal / wall["detect"] if light else wall["detect"] / wall["network"]
            meaning = "of the rate that decoding + network allow" if light else "x bare network"
            times = ", ".join(
                f"{stage} {1e3 * wall[stage] / len(some):.1f} ({1e3 * cpu[stage] / len(some):.1f})"
                for stage in wall
            )
            print(f"{model:6} {runtime:11} {ratio:.3f} {meaning}; ms (CPU ms) an image: {times}")
            report.append(
                {"model": model, "runtime": runtime, "ratio": ratio, "wall": wall, "cpu": cpu}
            )
    print(json.dumps({"benchmark": "waiting", "images": len(photos), "results": report}))


if __name__ == "__main__":
    main()
