"""A server instead of a local detector, for `ssh-tf detect --server`."""

import functools
import json
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from ssh_tf.client.faces import ClientError
from ssh_tf.client.rest import RestClient
from ssh_tf.errors import UnavailableError
from ssh_tf.inference.ahead import attempt
from ssh_tf.inference.contract import Boxes, FaceDetector
from ssh_tf.inference.results import REFUSALS


class ServerDetector(FaceDetector):
    """Finds faces by asking a server.

    Args:
        client: Asks it.

    Attributes:
        parallel: Two, so that the server decodes one image while it computes the other.
    """

    parallel = 2

    def __init__(self, client: RestClient) -> None:
        self._client = client

    def find(self, pixels: np.ndarray) -> Boxes:
        """Finds the faces of one image.

        Raises:
            ClientError: If the server or the model refuses the image, or it takes too long.
            UnavailableError: If the server does not answer any more.
        """
        return self._ask(self.prepare(pixels))

    def prepare(self, pixels: np.ndarray) -> bytes:
        """Encodes an image as PNG, as which it travels: no pixel changes."""
        return cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()

    def compute(self, prepared: Sequence[bytes]) -> list[Callable[[], Boxes]]:
        """Asks the server, image by image; see `FaceDetector.compute`."""
        return [attempt(functools.partial(self._ask, encoded)) for encoded in prepared]

    def _ask(self, encoded: bytes) -> Boxes:
        try:
            (faces,) = self._client.detect([encoded])
        except ClientError:
            self._versions()  # Which tells whether this image is the reason, or the server is gone.
            raise
        if faces.status:
            reason = REFUSALS.get(faces.status, f"status {faces.status}")
            raise ClientError(f"The server refused the image: {reason}.")
        return faces.boxes, faces.scores

    def fingerprint(self) -> str:
        """Returns the server's address and its versions of the model.

        Raises:
            UnavailableError: If the server does not answer.
        """
        return json.dumps({"server": repr(self._client), "versions": self._versions()})

    def _versions(self) -> dict[int, str]:
        try:
            return self._client.status()
        except ClientError as error:
            if not error.code:
                raise UnavailableError(str(error)) from error
            return {}  # A proxy may let predictions through and nothing else.

    def __repr__(self) -> str:
        return f"ServerDetector({self._client!r})"
