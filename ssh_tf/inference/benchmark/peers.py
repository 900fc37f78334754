"""Public face detectors as ONNX files, with what their authors do around the network."""

import itertools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ssh_tf.errors import UserError
from ssh_tf.files import existing_file
from ssh_tf.inference.runtimes.choice import require_runtime

# Boxes, `[D, 4]` x1, y1, x2, y2 px, and scores, `[D]`, of an image, `[H, W, 3]` uint8 RGB.
Found = tuple[np.ndarray, np.ndarray]
Find = Callable[[np.ndarray], Found]

_NMS_IOU = 0.3
_TOP_K = 5000

_RETINAFACE_MEAN = np.array([123, 117, 104], np.float32)  # RGB
# Ultra-Light's pixels are in [-1, 1].
_ULTRA_LIGHT_MEAN, _ULTRA_LIGHT_SCALE = 127.0, 128.0


class Peer(NamedTuple):
    """A detector of others.

    Attributes:
        name: Its file's, without the suffix.
        kind: What it was recognized as.
        runtime: What runs it.
        precision: `int8` if its weights are, else `float32`.
        find: Finds faces: from pixels to boxes.
        network: Returns the bare network's call for an image, where it can be told apart.
    """

    name: str
    kind: str
    runtime: str
    precision: str
    find: Find
    network: Callable[[np.ndarray], Callable[[], Any]] | None


def load_peer(path: str | Path, *, least_score: float) -> Peer:
    """Loads a public detector, whose kind shows in its network's outputs.

    Args:
        path: YuNet of OpenCV's model zoo, RetinaFace with MobileNet 0.25, or Ultra-Light RFB with
            decoded boxes, as ONNX.
        least_score: Boxes need a greater score.

    Raises:
        UserError: If it is none of these, or ONNX Runtime is not installed.
    """
    file = existing_file(path, "a detector as ONNX")
    session = _session(file)
    outputs = session.get_outputs()
    columns = {output.shape[-1] for output in outputs}
    about = {"name": file.stem, "precision": _precision(file)}
    if any(output.name == "cls_8" for output in outputs):
        return Peer(
            **about, kind="YuNet", runtime="opencv", find=_yunet(file, least_score), network=None
        )
    if columns not in ({2, 4}, {2, 4, 10}):
        raise UserError(
            f"{file} is not known as a face detector. Expected YuNet, RetinaFace with MobileNet "
            "0.25 or Ultra-Light RFB."
        )
    kind, network, find = (
        ("RetinaFace", *_retinaface(session, least_score))
        if 10 in columns
        else ("Ultra-Light", *_ultra_light(session, least_score))
    )
    return Peer(**about, kind=kind, runtime="onnxruntime", find=find, network=network)


def _yunet(file: Path, least_score: float) -> Find:
    """By OpenCV's own class, at the image's own size."""
    network = cv2.FaceDetectorYN.create(str(file), "", (320, 320), least_score, _NMS_IOU, _TOP_K)

    def find(image: np.ndarray) -> Found:
        network.setInputSize((image.shape[1], image.shape[0]))
        _, rows = network.detect(np.ascontiguousarray(image[..., ::-1]))
        # x, y, w, h, five landmarks, score
        table = np.zeros((0, 15), np.float32) if rows is None else rows
        return np.column_stack([table[:, :2], table[:, :2] + table[:, 2:4]]), table[:, 14]

    return find


def _retinaface(session: Any, least_score: float) -> tuple[Any, Find]:
    """At the image's own size."""

    def network(image: np.ndarray) -> Callable[[], list[np.ndarray]]:
        batch = (image.astype(np.float32) - _RETINAFACE_MEAN)[..., ::-1]  # BGR
        return _run(session, batch)

    def find(image: np.ndarray) -> Found:
        height, width = image.shape[:2]
        outputs = network(image)()
        deltas, classes = (_rows(outputs, columns) for columns in (4, 2))  # [P, 4], [P, 2]
        boxes = _decode(deltas, _priors(height, width)) * [width, height, width, height]
        return _suppress(boxes, classes[:, 1], least_score)

    return network, find


def _ultra_light(session: Any, least_score: float) -> tuple[Any, Find]:
    """At its fixed input, 320 x 240 px."""
    *_, height_px, width_px = session.get_inputs()[0].shape

    def network(image: np.ndarray) -> Callable[[], list[np.ndarray]]:
        small = cv2.resize(image, (width_px, height_px)).astype(np.float32)
        return _run(session, (small - _ULTRA_LIGHT_MEAN) / _ULTRA_LIGHT_SCALE)

    def find(image: np.ndarray) -> Found:
        height, width = image.shape[:2]
        outputs = network(image)()
        boxes, classes = (_rows(outputs, columns) for columns in (4, 2))
        return _suppress(boxes * [width, height, width, height], classes[:, 1], least_score)

    return network, find


def _session(file: Path) -> Any:
    require_runtime("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common class.
        raise UserError(f"{file} can't be read as ONNX. Name a detector's .onnx file.") from error


def _precision(file: Path) -> str:
    content = file.read_bytes()
    return "int8" if b"QLinear" in content or b"DequantizeLinear" in content else "float32"


def _run(session: Any, image: np.ndarray) -> Callable[[], list[np.ndarray]]:
    """Returns the network's call for an image, `[H, W, 3]` float32 in its own terms."""
    batch = np.ascontiguousarray(image.transpose(2, 0, 1)[None])  # [1, 3, H, W]
    feed: Mapping[str, np.ndarray] = {session.get_inputs()[0].name: batch}
    return lambda: list(session.run(None, feed))


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


def _suppress(boxes: np.ndarray, scores: np.ndarray, least_score: float) -> Found:
    """Keeps the best of overlapping boxes."""
    kept = np.flatnonzero(scores > least_score)
    boxes, scores = boxes[kept].astype(np.float64), scores[kept].astype(np.float64)
    sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    chosen = cv2.dnn.NMSBoxes(sizes.tolist(), scores.tolist(), least_score, _NMS_IOU, top_k=_TOP_K)
    order = np.asarray(chosen, np.int64).ravel()
    return boxes[order], scores[order]
