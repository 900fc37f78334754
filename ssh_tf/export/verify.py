"""Proof that a written SavedModel works, before a server sees it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssh_tf import signature
from ssh_tf.config import DetectConfig, ExportConfig
from ssh_tf.data.synthetic import draw_image
from ssh_tf.errors import UserError
from ssh_tf.export.warmup import requests
from ssh_tf.inference.graph import ScoredBoxes
from ssh_tf.inference.quiet import without_deprecations
from ssh_tf.inference.results import boxes_in_px

Tensor = Any
Outputs = dict[str, np.ndarray]

# Both sides run the same kernels, so what differs is the order of sums.
BOX_TOLERANCE_PX = 0.1
SCORE_TOLERANCE = 1e-4

_MOST_ROWS = 100_000


def example_image() -> np.ndarray:
    """Returns a synthetic picture with faces, `[96, 128, 3]` uint8 RGB."""
    return draw_image(np.random.default_rng(5), 96, 128)[0]


def check_limits(config: DetectConfig, options: ExportConfig) -> None:
    """Refuses limits that the picture of `check_export` does not keep, or that no server can keep.

    Raises:
        UserError: If one is out of range.
    """
    height, width = example_image().shape[:2]
    encoded = requests(example_image())[signature.SERVING_DEFAULT][signature.IMAGE_BYTES][0]
    needs = {"max_pixels": height * width, "max_bytes": len(encoded.numpy())}
    for name, least in needs.items():
        if getattr(options, name) < least:
            raise UserError(
                f"`{name}` is {getattr(options, name)}, below the picture that every export is "
                f"checked with: {least}. Set at least that."
            )
    if (config.max_detections or 0) > _MOST_ROWS:
        raise UserError(
            f"`max_detections` is {config.max_detections}. An export, whose answers always have so "
            f"many rows, takes at most {_MOST_ROWS}."
        )


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
    expected = detect(image)
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
    count = int(outputs[signature.NUM_DETECTIONS][0])
    boxes = boxes_in_px(outputs[signature.DETECTION_BOXES][0, :count], size)  # [D, 4]
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
