"""A server in the place of a detector, for `ssh-tf detect --server`."""

import cv2
import numpy as np

from ssh_tf import signature
from ssh_tf.client.faces import ClientError
from ssh_tf.client.rest import RestClient
from ssh_tf.errors import UnavailableError
from ssh_tf.inference.graph import Detections

_REASONS = {
    signature.STATUS_NOT_AN_IMAGE: "neither JPEG nor PNG",
    signature.STATUS_TOO_LARGE: "too large",
    signature.STATUS_CORRUPT: "not whole",
}


class ServerDetector:
    """Finds faces by asking a server; the contract is that of `Detector`.

    Args:
        client: Asks it.
    """

    def __init__(self, client: RestClient) -> None:
        self._client = client

    def detect(self, image: np.ndarray) -> Detections:
        """Finds the faces of one image, which travels as PNG: no pixel changes.

        Args:
            image: `[H, W, 3]` uint8 RGB.

        Raises:
            ClientError: If the server or the model refuses the image, or it takes too long.
            UnavailableError: If the server does not answer any more.
        """
        _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        try:
            (faces,) = self._client.detect([encoded.tobytes()])
        except ClientError:
            self._versions()  # Which says whether this image is the reason, or the server is gone.
            raise
        if faces.status:
            reason = _REASONS.get(faces.status, f"status {faces.status}")
            raise ClientError(f"The server refused the image: {reason}.")
        return Detections(faces.boxes, faces.scores)

    def fingerprint(self) -> str:
        """Returns one line that another server, or another version of its model, would change."""
        return f"{self._client.url} {self._versions()}"

    def _versions(self) -> str:
        try:
            return str(self._client.status())
        except ClientError as error:
            if not error.code:
                raise UnavailableError(str(error)) from error
            return ""  # A proxy may let predictions through and nothing else.
