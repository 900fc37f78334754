"""The export behind the local server: over REST and gRPC, the Python detector's faces."""

from pathlib import Path

import numpy as np

from ssh_tf.client.grpc_client import GrpcClient
from ssh_tf.client.rest import RestClient
from ssh_tf.export.savedmodel import export_savedmodel
from ssh_tf.imaging.decoder import decode
from ssh_tf.inference.detector import Detector
from tests.server import toy
from tests.small import encode, picture, small_config, small_network

CONFIG = small_config().detect
IMAGES = [
    encode(picture(64, 96, seed=1)),
    encode(picture(90, 31, seed=2), ".png"),
    encode(picture(50, 70, seed=3)[..., 0], ".png"),
    encode(picture(200, 150, seed=4)),
]


def test_both_clients_get_the_python_detector_s_faces(tmp_path: Path):
    export_savedmodel(small_network(), CONFIG, tmp_path)
    detector = Detector(small_network(), CONFIG)
    expected = [detector.detect(np.asarray(decode(image))) for image in IMAGES]
    with (
        toy.serve(tmp_path) as server,
        RestClient(f"http://127.0.0.1:{server.rest_port}") as rest,
        GrpcClient(f"127.0.0.1:{server.grpc_port}") as grpc,
    ):
        found = rest.detect(IMAGES), grpc.detect(IMAGES)
    for answers in found:
        for faces, known in zip(answers, expected, strict=True):
            assert len(faces.scores) == len(known.scores) > 5
            np.testing.assert_allclose(faces.boxes, known.boxes, atol=0.1)
            np.testing.assert_allclose(faces.scores, known.scores, atol=1e-4)
