"""Public face detectors on the same photos, by the same protocol: average precision and time.

Runs each detector that is named over a folder in WIDER's layout, writes its result files in WIDER's
format (also to be scored by `ssh-tf score --detections`), scores them and times it, image by image:
decoding of the file apart, then from pixels to boxes. Each detector has its own pixels and scale:
the image's own size, unless its network has a fixed input.

    python benchmarks/peers.py --data_root photos --out peers \
        --yunet face_detection_yunet_2023mar.onnx --retinaface retinaface_mobilenet025.onnx \
        --rfb version-RFB-320.onnx --haar --mtcnn

Needs onnxruntime (`pip install -e ".[onnx]"`), and for `--mtcnn` the package `mtcnn`, which brings
its weights. The networks are not part of this project; YuNet's stands in OpenCV's model zoo, the
others in their authors' repositories. The last line is JSON.
"""

import argparse
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ssh_tf.data.readers.wider import find_split, read_annotations
from ssh_tf.evaluation.detections import image_key, write_wider
from ssh_tf.evaluation.score import Options, score_wider
from ssh_tf.evaluation.truth import all_faces, read_truth, subset
from ssh_tf.files import existing_file

# Boxes, `[D, 4]` x1, y1, x2, y2 px, and scores, `[D]`, of an image, `[H, W, 3]` uint8 BGR.
Found = tuple[np.ndarray, np.ndarray]
Detect = Callable[[np.ndarray], Found]

LEAST_SCORE = 0.02  # low, as for all precision-recall curves
NMS_IOU = 0.3
TOP_K = 5000


def yunet(path: str) -> Detect:
    """YuNet, by OpenCV's own class, at the image's own size."""
    network = cv2.FaceDetectorYN.create(path, "", (320, 320), LEAST_SCORE, NMS_IOU, TOP_K)

    def detect(image: np.ndarray) -> Found:
        network.setInputSize((image.shape[1], image.shape[0]))
        _, rows = network.detect(image)  # x, y, w, h, five landmarks, score
        table = np.zeros((0, 15), np.float32) if rows is None else rows
        return np.column_stack([table[:, :2], table[:, :2] + table[:, 2:4]]), table[:, 14]

    return detect


def retinaface(path: str) -> Detect:
    """RetinaFace with MobileNet 0.25, at the image's own size."""
    session = _session(path)
    mean = np.array([104, 117, 123], np.float32)  # BGR

    def detect(image: np.ndarray) -> Found:
        height, width = image.shape[:2]
        batch = (image.astype(np.float32) - mean).transpose(2, 0, 1)[None]  # [1, 3, H, W]
        outputs = session.run(None, {session.get_inputs()[0].name: batch})
        deltas, classes = (_rows(outputs, columns) for columns in (4, 2))  # [P, 4], [P, 2]
        boxes = _decode(deltas, _priors(height, width)) * [width, height, width, height]
        return _suppress(boxes, classes[:, 1])

    return detect


def rfb(path: str) -> Detect:
    """Ultra-Light RFB, at its fixed input of 320 x 240 px."""
    session = _session(path)
    name, shape = session.get_inputs()[0].name, session.get_inputs()[0].shape

    def detect(image: np.ndarray) -> Found:
        height, width = image.shape[:2]
        small = cv2.resize(image, (shape[3], shape[2]))[..., ::-1]
        batch = ((small.astype(np.float32) - 127) / 128).transpose(2, 0, 1)[None]
        outputs = session.run(None, {name: batch})
        boxes, classes = (_rows(outputs, columns) for columns in (4, 2))
        return _suppress(boxes * [width, height, width, height], classes[:, 1])

    return detect


def haar() -> Detect:
    """OpenCV's frontal cascade; the level weight of its last stage is the score."""
    if not hasattr(cv2, "CascadeClassifier"):
        raise SystemExit(f"OpenCV {cv2.__version__} has no cascades. Leave --haar out, or use 4.x.")
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")

    def detect(image: np.ndarray) -> Found:
        gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        rows, _, weights = cascade.detectMultiScale3(
            gray, scaleFactor=1.1, minNeighbors=3, outputRejectLevels=True
        )
        table = np.asarray(rows, np.float64).reshape(-1, 4)  # x, y, w, h
        corners = np.column_stack([table[:, :2], table[:, :2] + table[:, 2:]])
        return corners, np.asarray(weights, np.float64).ravel()

    return detect


def mtcnn() -> Detect:
    """MTCNN of the package `mtcnn`, at the image's own size, faces from 10 px on."""
    from mtcnn import MTCNN

    network = MTCNN()

    def detect(image: np.ndarray) -> Found:
        rgb = np.ascontiguousarray(image[..., ::-1])
        faces = network.detect_faces(
            rgb, box_format="xyxy", min_face_size=10, threshold_onet=LEAST_SCORE
        )
        boxes = np.array([face["box"] for face in faces], np.float64).reshape(-1, 4)
        return boxes, np.array([face["confidence"] for face in faces], np.float64)

    return detect


def run(detect: Detect, files: Mapping[str, Path], out: Path) -> dict[str, float]:
    """Detects all images into result files; returns the medians of its times, ms."""
    seconds: dict[str, list[float]] = {"decode_ms": [], "detect_ms": []}
    detect(_pixels(next(iter(files.values()))))  # the first call of a network also prepares it
    for name, file in files.items():
        started = time.perf_counter()
        image = _pixels(file)
        decoded = time.perf_counter()
        boxes, scores = detect(image)
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
    for name, detect in list(_chosen(arguments)):
        out = arguments.out / name
        times = run(detect, files, out / "detections")
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
    for name in NETWORKS:
        parser.add_argument(f"--{name}", type=Path, help=f"ONNX file of {NETWORKS[name].__doc__}")
    for name, load in WITHOUT_FILE.items():
        parser.add_argument(f"--{name}", action="store_true", help=load.__doc__)
    return parser


def _chosen(arguments: argparse.Namespace) -> Iterator[tuple[str, Detect]]:
    for name, load_file in NETWORKS.items():
        if (path := getattr(arguments, name)) is not None:
            yield name, load_file(str(existing_file(path, "an ONNX file")))
    for name, load in WITHOUT_FILE.items():
        if getattr(arguments, name):
            yield name, load()


def _pixels(file: Path) -> np.ndarray:
    """Reads `[H, W, 3]` uint8 BGR as it is stored, like WIDER's boxes."""
    return cv2.imread(str(file), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)


def _session(path: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _rows(outputs: list[np.ndarray], columns: int) -> np.ndarray:
    """Returns the output with so many columns, `[P, columns]`."""
    return next(output[0] for output in outputs if output.shape[-1] == columns)


def _priors(height: int, width: int) -> np.ndarray:
    """RetinaFace's anchors, `[P, 4]` center x, y, width, height as fractions of the image."""
    rows = []
    for step, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        cells = itertools.product(range(math.ceil(height / step)), range(math.ceil(width / step)))
        centers = (np.array(list(cells))[:, ::-1] + 0.5) * step  # [cells, 2], x, y
        per_side = [np.column_stack([centers, np.full((len(centers), 2), side)]) for side in sides]
        rows.append(np.stack(per_side, axis=1).reshape(-1, 4))  # the sides of a cell together
    return np.concatenate(rows) / [width, height, width, height]


def _decode(deltas: np.ndarray, priors: np.ndarray) -> np.ndarray:
    """Moves anchors by SSD's rule, variances 0.1 and 0.2: `[P, 4]` corners."""
    centers = priors[:, :2] + 0.1 * deltas[:, :2] * priors[:, 2:]
    half = priors[:, 2:] * np.exp(0.2 * deltas[:, 2:]) / 2
    return np.concatenate([centers - half, centers + half], axis=1)


def _suppress(boxes: np.ndarray, scores: np.ndarray) -> Found:
    """Keeps the best of overlapping boxes."""
    kept = np.flatnonzero(scores > LEAST_SCORE)
    boxes, scores = boxes[kept].astype(np.float64), scores[kept].astype(np.float64)
    sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    chosen = cv2.dnn.NMSBoxes(sizes.tolist(), scores.tolist(), LEAST_SCORE, NMS_IOU, top_k=TOP_K)
    order = np.asarray(chosen, np.int64).ravel()
    return boxes[order], scores[order]


NETWORKS: dict[str, Callable[[str], Detect]] = {
    "yunet": yunet,
    "retinaface": retinaface,
    "rfb": rfb,
}
WITHOUT_FILE: dict[str, Callable[[], Detect]] = {"haar": haar, "mtcnn": mtcnn}


if __name__ == "__main__":
    main()
