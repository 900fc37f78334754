"""The export behind the local server: by every way, the Python detector's faces."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ssh_tf.client.faces import Faces
from ssh_tf.client.grpc_client import GrpcClient
from ssh_tf.client.rest import RestClient
from ssh_tf.inference.detector import Detector
from ssh_tf.inference.results import boxes_in_px
from ssh_tf.server.app import LocalServer
from tests.support import toy
from tests.support.small import encode, picture, small_config, small_network

ORIENTATION = 0x0112


def turned(orientation: int) -> bytes:
    """A JPEG that asks to be turned; its stored pixels are the same for all."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stream = io.BytesIO()
    Image.fromarray(picture(48, 80, seed=5)).save(stream, "JPEG", exif=exif, quality=95)
    return stream.getvalue()


IMAGES = [
    encode(picture(64, 96, seed=1)),
    encode(picture(90, 31, seed=2), ".png"),
    encode(picture(50, 70, seed=3)[..., 0], ".png"),
    encode(picture(200, 150, seed=4)),
    *(turned(orientation) for orientation in range(1, 9)),
]


@pytest.fixture(scope="module")
def running(small_export: Path) -> Iterator[LocalServer]:
    with toy.serve(small_export) as server:
        yield server


def by_rest(running: LocalServer, small_export: Path) -> list[Faces]:
    with RestClient(f"http://127.0.0.1:{running.rest_port}") as client:
        return client.detect(IMAGES)


def by_grpc(running: LocalServer, small_export: Path) -> list[Faces]:
    with GrpcClient(f"127.0.0.1:{running.grpc_port}") as client:
        return client.detect(IMAGES)


def by_saved_model(running: LocalServer, small_export: Path) -> list[Faces]:
    call = tf.saved_model.load(str(small_export / "1")).signatures["serving_default"]
    outputs = {key: value.numpy() for key, value in call(tf.constant(IMAGES)).items()}
    found = []
    for i, count in enumerate(outputs["num_detections"]):
        height, width = outputs["image_size"][i].tolist()
        boxes = boxes_in_px(outputs["detection_boxes"][i, :count], (height, width))
        found.append(Faces(boxes, outputs["detection_scores"][i, :count], (height, width), 0))
    return found


@pytest.mark.parametrize("way", [by_rest, by_grpc, by_saved_model])
def test_all_ways_give_the_python_detector_s_faces_upright(
    running: LocalServer, small_export: Path, way: Any
):
    detector = Detector(small_network(), small_config().detect)
    for faces, image in zip(way(running, small_export), IMAGES, strict=True):
        known = detector.detect(image)
        assert faces.size == known.size
        assert len(faces.scores) == len(known) > 5
        np.testing.assert_allclose(faces.boxes, known.boxes, atol=0.1)
        np.testing.assert_allclose(faces.scores, known.scores, atol=1e-4)
