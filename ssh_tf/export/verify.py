"""Proof that a written SavedModel works, before a server sees it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssh_tf import signature
from ssh_tf.data.synthetic import draw_image
from ssh_tf.errors import UserError
from ssh_tf.export.warmup import requests
from ssh_tf.inference.graph import ScoredBoxes
from ssh_tf.inference.quiet import without_deprecations

Tensor = Any
Outputs = dict[str, np.ndarray]

# Both sides run the same kernels, so what differs is the order of sums.
BOX_TOLERANCE_PX = 0.1
SCORE_TOLERANCE = 1e-4


def example_image() -> np.ndarray:
    """Returns a drawn picture with faces, `[96, 128, 3]` uint8 RGB."""
    return draw_image(np.random.default_rng(5), 96, 128)[0]


def check_export(folder: Path, detect: Callable[[Tensor], ScoredBoxes]) -> None:
    """Runs a SavedModel's warm-up requests and compares with the function it was made from.

    Args:
        folder: The SavedModel.
        detect: Finds the faces of `[H, W, 3]` uint8.

    Raises:
        UserError: If a request fails, boxes differ by more than 0.1 px or scores by more than 1e-4.
    """
    sent = requests(example_image())
    try:
        answers = _answers(folder, sent)
    except tf.errors.OpError as error:
        reason = " ".join(error.message.split())[:200]
        raise UserError(f"The export fails its warm-up ({reason}). It was deleted.") from error
    image = sent[signature.IMAGE_TENSOR][signature.IMAGE_TENSOR][0]
    expected = tf.function(detect)(image)
    for name in (signature.SERVING_DEFAULT, signature.IMAGE_TENSOR):
        _compare(name, answers[name], expected, image.shape[:2])


def _answers(folder: Path, sent: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Outputs]:
    """Returns the outputs of each request, by the loader that TensorFlow Serving uses."""
    values = {
        name: {key: value.numpy() for key, value in request.items()}
        for name, request in sent.items()
    }
    v1, answers = tf.compat.v1, {}
    with without_deprecations(), v1.Session(graph=tf.Graph()) as session:
        signatures = v1.saved_model.loader.load(session, ["serve"], str(folder)).signature_def
        for name, request in values.items():
            definition = signatures[name]
            feeds = {definition.inputs[key].name: value for key, value in request.items()}
            fetches = {key: output.name for key, output in definition.outputs.items()}
            answers[name] = session.run(fetches, feeds)
    return answers


def _compare(name: str, outputs: Outputs, expected: ScoredBoxes, size: tuple[int, int]) -> None:
    count, (height, width) = int(outputs[signature.NUM_DETECTIONS][0]), size
    y1, x1, y2, x2 = outputs[signature.DETECTION_BOXES][0, :count].T
    boxes = np.stack([x1 * width, y1 * height, x2 * width, y2 * height], axis=-1)
    scores = outputs[signature.DETECTION_SCORES][0, :count]
    same = (
        count == len(expected.scores)
        and np.allclose(boxes, expected.boxes, rtol=0, atol=BOX_TOLERANCE_PX)
        and np.allclose(scores, expected.scores, rtol=0, atol=SCORE_TOLERANCE)
    )
    if not same:
        raise UserError(
            f"The export's {name} finds {count} faces where the detector finds "
            f"{len(expected.scores)}, or others. It was deleted. Report this with the output of "
            "`ssh-tf --version`."
        )
