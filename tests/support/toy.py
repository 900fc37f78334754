"""A SavedModel of milliseconds with the outputs of an export, and a server of it on free ports.

Its "faces" are sums over the picture, so that a wrong picture, order or size shows.
"""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssh_tf.server.app import LocalServer
from ssh_tf.server.limits import Limits

ROWS = 3
# What signature `wait` waits for. The operation is bound to this process, which is all it needs.
GATE = threading.Event()
STARTED = threading.Semaphore(0)


def limits(**changes: Any) -> Limits:
    """Limits of a test server: two workers and little patience where a test says so."""
    return Limits(**{"workers": 2, "queue": 8, "request_seconds": 30.0} | changes)


def serve(folder: Path, **changes: Any) -> LocalServer:
    """Returns a server of `folder` on free ports, not started."""
    return LocalServer(folder, rest_port=0, grpc_port=0, limits=limits(**changes))


def expected(pixels: np.ndarray, bias: float = 0.0) -> dict[str, np.ndarray]:
    """The outputs for one picture, `[H, W, 3]` uint8."""
    mean = pixels.mean(axis=(0, 1)) / 255
    boxes = np.zeros((ROWS, 4), np.float32)
    boxes[0] = [mean[0] / 2, mean[1] / 2, (1 + mean[0]) / 2, (1 + mean[1]) / 2]
    boxes[1] = [0.25, 0.125, 0.5, 0.75]
    scores = np.array([0.5 + mean[2] / 2, 0.25 + bias, 0], np.float32)
    return {
        "detection_boxes": boxes,
        "detection_scores": scores,
        "detection_classes": np.array([1, 1, 0], np.float32),
        "num_detections": np.int32(2),
        "detection_status": np.int32(0),
    }


def write(folder: Path, bias: float = 0.0) -> Path:
    """Writes the SavedModel `folder`, aside and renamed; `bias` tells versions apart."""
    module = tf.Module()
    module.bias = tf.Variable(bias)
    aside = folder.parent / f".{folder.name}.tmp"
    signatures = {
        "serving_default": _from_bytes(module),
        "image_tensor": _from_pixels(module),
        "wait": _wait(),
        "broken": _not_a_number(),
        "two": _two_inputs(),
    }
    tf.saved_model.save(module, str(aside), signatures)
    return aside.rename(folder)


def _outputs(image: Any, bias: Any) -> dict[str, Any]:
    mean = tf.reduce_mean(tf.cast(image, tf.float32), axis=[0, 1]) / 255
    first = [mean[0] / 2, mean[1] / 2, (1 + mean[0]) / 2, (1 + mean[1]) / 2]
    return {
        "detection_boxes": tf.stack([tf.stack(first), [0.25, 0.125, 0.5, 0.75], [0.0] * 4]),
        "detection_scores": tf.stack([0.5 + mean[2] / 2, 0.25 + bias, 0.0]),
        "detection_classes": tf.constant([1.0, 1.0, 0.0]),
        "num_detections": tf.constant(2),
        "detection_status": tf.constant(0),
    }


_SPEC = {
    "detection_boxes": tf.TensorSpec([ROWS, 4]),
    "detection_scores": tf.TensorSpec([ROWS]),
    "detection_classes": tf.TensorSpec([ROWS]),
    "num_detections": tf.TensorSpec([], tf.int32),
    "detection_status": tf.TensorSpec([], tf.int32),
}


def _from_bytes(module: Any) -> Any:
    def one(encoded: Any) -> Any:
        pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return _outputs(tf.ensure_shape(pixels, [None, None, 3]), module.bias)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def call(image_bytes: Any) -> Any:
        return tf.map_fn(one, image_bytes, fn_output_signature=_SPEC)

    return call


def _from_pixels(module: Any) -> Any:
    spec = tf.TensorSpec([None, None, None, 3], tf.uint8, name="image_tensor")

    @tf.function(input_signature=[spec])
    def call(image_tensor: Any) -> Any:
        return tf.map_fn(
            lambda image: _outputs(image, module.bias), image_tensor, fn_output_signature=_SPEC
        )

    return call


def _wait() -> Any:
    def wait(values: np.ndarray) -> np.ndarray:
        STARTED.release()
        GATE.wait(60)
        return values

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def call(x: Any) -> Any:
        return {"y": tf.ensure_shape(tf.numpy_function(wait, [x], tf.float32), [None])}

    return call


def _not_a_number() -> Any:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def call(x: Any) -> Any:
        return {"y": x / 0.0}

    return call


def _two_inputs() -> Any:
    specs = [
        tf.TensorSpec([None], tf.int32, name="a"),
        tf.TensorSpec([None], tf.string, name="b_bytes"),
    ]

    @tf.function(input_signature=specs)
    def call(a: Any, b_bytes: Any) -> Any:
        return {"double": 2 * a, "b_bytes": b_bytes, "all": tf.reduce_sum(a)[tf.newaxis]}

    return call
