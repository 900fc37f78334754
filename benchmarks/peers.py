"""Public face detectors on the same photos, by the same protocol: average precision and time.

Runs each detector that is named over a folder in WIDER's layout, writes its result files in WIDER's
format (also to be scored by `ssh-tf score --detections`), scores them and times it, image by image:
decoding of the file apart, then from pixels to boxes. Each detector has its own pixels and scale:
the image's own size, unless its network has a fixed input.

    python benchmarks/peers.py --data_root photos --out peers \
        --peer face_detection_yunet_2023mar.onnx retinaface_mobilenet025.onnx version-RFB-320.onnx \
        --haar --mtcnn

Needs onnxruntime (`pip install -e ".[onnx]"`), and for `--mtcnn` the package `mtcnn`, which brings
its weights. The networks are not part of this project; YuNet's stands in OpenCV's model zoo, the
others in their authors' repositories. The last line is JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np

from ssh_tf.data.readers.wider import find_split, read_annotations
from ssh_tf.evaluation.detections import image_key, write_wider
from ssh_tf.evaluation.score import Options, score_wider
from ssh_tf.evaluation.truth import all_faces, read_truth, subset
from ssh_tf.files import existing_file
from ssh_tf.imaging.files import read_image
from ssh_tf.inference.benchmark.peers import Find, Found, load_peer

LEAST_SCORE = 0.02  # low, as for all precision-recall curves


def haar() -> Find:
    """OpenCV's frontal cascade; the level weight of its last stage is the score."""
    if not hasattr(cv2, "CascadeClassifier"):
        raise SystemExit(f"OpenCV {cv2.__version__} has no cascades. Leave --haar out, or use 4.x.")
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")

    def find(image: np.ndarray) -> Found:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        rows, _, weights = cascade.detectMultiScale3(
            gray, scaleFactor=1.1, minNeighbors=3, outputRejectLevels=True
        )
        table = np.asarray(rows, np.float64).reshape(-1, 4)  # x, y, w, h
        corners = np.column_stack([table[:, :2], table[:, :2] + table[:, 2:]])
        return corners, np.asarray(weights, np.float64).ravel()

    return find


def mtcnn() -> Find:
    """MTCNN of the package `mtcnn`, at the image's own size, faces from 10 px on."""
    from mtcnn import MTCNN

    network = MTCNN()

    def find(image: np.ndarray) -> Found:
        faces = network.detect_faces(
            image, box_format="xyxy", min_face_size=10, threshold_onet=LEAST_SCORE
        )
        boxes = np.array([face["box"] for face in faces], np.float64).reshape(-1, 4)
        return boxes, np.array([face["confidence"] for face in faces], np.float64)

    return find


def run(find: Find, files: Mapping[str, Path], out: Path) -> dict[str, float]:
    """Detects all images into result files; returns the medians of its times, ms."""
    seconds: dict[str, list[float]] = {"decode_ms": [], "detect_ms": []}
    find(_pixels(next(iter(files.values()))))  # the first call of a network also prepares it
    for name, file in files.items():
        started = time.perf_counter()
        image = _pixels(file)
        decoded = time.perf_counter()
        boxes, scores = find(image)
        seconds["decode_ms"].append(1000 * (decoded - started))
        seconds["detect_ms"].append(1000 * (time.perf_counter() - decoded))
        write_wider(out, name, boxes, scores)
    return {key: statistics.median(values) for key, values in seconds.items()}


def main() -> None:
    """Prints a table, then one JSON line."""
    arguments = _parser().parse_args()
    split = find_split(arguments.data_root, arguments.split)
    entries = read_annotations(split.annotations)
    files = {
        entry.name: existing_file(split.images_dir / entry.name, "an image") for entry in entries
    }
    truth = all_faces(entries)
    if arguments.ground_truth is not None:
        truth = subset(read_truth(arguments.ground_truth), files)
    images = {image_key(name): file for name, file in files.items()}
    results = {}
    for name, find in list(_chosen(arguments)):
        out = arguments.out / name
        times = run(find, files, out / "detections")
        curves = score_wider(
            out / "detections", truth, out, images=images, options=Options(name=name)
        )
        results[name] = {"ap": {key: curve.ap for key, curve in curves.items()}, **times}
        ap = "  ".join(f"{key} {value:.3f}" for key, value in results[name]["ap"].items())
        print(f"{name:12} AP {ap}  decode {times['decode_ms']:.1f} ms", end="  ")
        print(f"detect {times['detect_ms']:.1f} ms")
    print(json.dumps({"images": len(files), "detectors": results}))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_root", type=Path, required=True, help="folder in WIDER's layout")
    parser.add_argument("--split", default="val")
    parser.add_argument("--ground_truth", type=Path, help="as of `ssh-tf evaluate`")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--peer", type=Path, nargs="+", default=[], help="detectors as ONNX files")
    for name, load in WITHOUT_FILE.items():
        parser.add_argument(f"--{name}", action="store_true", help=load.__doc__)
    return parser


def _chosen(arguments: argparse.Namespace) -> Iterator[tuple[str, Find]]:
    for path in arguments.peer:
        peer = load_peer(path, least_score=LEAST_SCORE)
        yield peer.name, peer.find
    for name, load in WITHOUT_FILE.items():
        if getattr(arguments, name):
            yield name, load()


def _pixels(file: Path) -> np.ndarray:
    """Reads `[H, W, 3]` uint8 RGB as it is stored, like WIDER's boxes."""
    return read_image(file, upright=False)


WITHOUT_FILE: dict[str, Callable[[], Find]] = {"haar": haar, "mtcnn": mtcnn}


if __name__ == "__main__":
    main()
