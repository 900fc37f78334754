"""A server in the place of a detector, for `ssh-tf detect --server`."""

import json

import cv2
import numpy as np

from ssh_tf.client.faces import ClientError
from ssh_tf.client.rest import RestClient
from ssh_tf.inference.contract import FaceDetector
from ssh_tf.inference.results import REFUSALS


class ServerDetector(FaceDetector):
    """Finds faces by asking a server.

    Args:
        client: Asks it.
    """

    def __init__(self, client: RestClient) -> None:
        self._client = client

    def find(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Finds the faces of one image, which travels as PNG: no pixel changes.

        Raises:
            ClientError: If there is no answer, or the model refuses the image.
        """
        _, encoded = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        (faces,) = self._client.detect([encoded.tobytes()])
        if faces.status:
            reason = REFUSALS.get(faces.status, f"status {faces.status}")
            raise ClientError(f"The server refused the image: {reason}.")
        return faces.boxes, faces.scores

    def fingerprint(self) -> str:
        """Returns the server's address: which weights answer there can change at any time."""
        return json.dumps({"server": repr(self._client)})

    def __repr__(self) -> str:
        return f"ServerDetector({self._client!r})"
