"""Proof that a written SavedModel works, before a server sees it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssh_tf import signature
from ssh_tf.data.images import decode
from ssh_tf.data.synthetic import draw_image
from ssh_tf.errors import UserError
from ssh_tf.inference.graph import Detections
from ssh_tf.inference.quiet import without_deprecations
from ssh_tf.serving.warmup import requests

Tensor = Any

# Both sides run the same kernels, so what differs is the order of sums.
BOX_TOLERANCE_PX = 0.1
SCORE_TOLERANCE = 1e-4


def example_image() -> np.ndarray:
    """Returns a drawn picture with faces, `[96, 128, 3]` uint8 RGB."""
    return draw_image(np.random.default_rng(5), 96, 128)[0]


def replay_warmup(folder: Path) -> None:
    """Runs a request of each signature through the loader that TensorFlow Serving uses.

    Raises:
        UserError: If one fails.
    """
    v1 = tf.compat.v1
    inputs = {
        name: {key: value.numpy() for key, value in request.items()}
        for name, request in requests(example_image()).items()
    }
    try:
        with without_deprecations(), v1.Session(graph=tf.Graph()) as session:
            signatures = v1.saved_model.loader.load(session, ["serve"], str(folder)).signature_def
            for name, request in inputs.items():
                definition = signatures[name]
                feeds = {definition.inputs[key].name: value for key, value in request.items()}
                session.run([output.name for output in definition.outputs.values()], feeds)
    except tf.errors.OpError as error:
        reason = " ".join(error.message.split())[:200]
        raise UserError(f"The export fails its warm-up ({reason}). It was deleted.") from error


def check_parity(folder: Path, detect: Callable[[Tensor], Detections]) -> None:
    """Compares a SavedModel with the function it was made from, on a drawn picture.

    Args:
        folder: The SavedModel.
        detect: Finds the faces of `[H, W, 3]` uint8.

    Raises:
        UserError: If boxes differ by more than 0.1 px, or scores by more than 1e-4.
    """
    encoded = tf.io.encode_jpeg(example_image())
    image = decode(encoded)
    expected = tf.function(detect)(image)
    served = tf.saved_model.load(str(folder)).signatures[signature.SERVING_DEFAULT]
    outputs = served(**{signature.IMAGE_BYTES: encoded[tf.newaxis]})
    count = int(outputs[signature.NUM_DETECTIONS][0])
    height, width = image.shape[:2]
    y1, x1, y2, x2 = outputs[signature.DETECTION_BOXES][0, :count].numpy().T
    boxes = np.stack([x1 * width, y1 * height, x2 * width, y2 * height], axis=-1)
    scores = outputs[signature.DETECTION_SCORES][0, :count].numpy()
    same = (
        count == len(expected.scores)
        and np.allclose(boxes, expected.boxes, rtol=0, atol=BOX_TOLERANCE_PX)
        and np.allclose(scores, expected.scores, rtol=0, atol=SCORE_TOLERANCE)
    )
    if not same:
        raise UserError(
            f"The export finds {count} faces where the detector finds {len(expected.scores)}, or "
            "others. It was deleted. Report this with the output of `ssh-tf --version`."
        )
