"""Tests of a server in the place of a detector: what concerns one image, what concerns all."""

import json
import socket
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from ssh_tf.client.faces import ClientError, Faces
from ssh_tf.client.remote import ServerDetector
from ssh_tf.client.rest import RestClient
from ssh_tf.errors import UnavailableError
from tests.support.small import picture


class Client(RestClient):
    """Answers with prepared errors."""

    def __init__(self, detect: ClientError | None, status: ClientError | dict[int, str]) -> None:
        super().__init__("http://127.0.0.1:1")
        self._answers = detect, status

    def detect(self, images: object) -> list:
        raise self._answers[0] or AssertionError

    def status(self) -> dict[int, str]:
        if isinstance(self._answers[1], ClientError):
            raise self._answers[1]
        return self._answers[1]


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        pytest.param(ClientError("too large", "413"), {1: "AVAILABLE"}, id="refused"),
        pytest.param(ClientError("No answer: timed out"), {1: "AVAILABLE"}, id="too-slow"),
        pytest.param(ClientError("busy", "503"), ClientError("not found", "404"), id="a-proxy"),
    ],
)
def test_a_refusal_concerns_its_image_alone(
    failure: ClientError, status: ClientError | dict[int, str]
):
    with pytest.raises(ClientError) as raised:
        ServerDetector(Client(failure, status)).detect(picture())
    assert raised.value is failure


def test_a_second_request_is_sent_while_the_server_computes_the_first():
    both = threading.Barrier(2)

    class Patient(Client):
        def detect(self, images: Sequence[bytes]) -> list[Faces]:
            both.wait(60)
            boxes, scores = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
            return [Faces(boxes, scores, (64, 96), 0) for _ in images]

    found = ServerDetector(Patient(None, {}))([picture(), picture(), picture(), picture()])
    assert [len(faces) for faces in found] == [0] * 4


def test_a_server_that_is_gone_concerns_all_images():
    gone = ClientError("No answer from there: connection refused")
    with pytest.raises(UnavailableError, match="connection refused"):
        ServerDetector(Client(gone, gone)).detect(picture())


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ssh_tf.client.rest._BACKOFF_SECONDS", 0.0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        RestClient(f"http://127.0.0.1:{port}") as client,
        pytest.raises(UnavailableError, match="No answer from"),
    ):
        ServerDetector(client).detect(np.zeros((4, 4, 3), np.uint8))


def test_the_fingerprint_names_the_versions_that_answer():
    prints = [
        ServerDetector(Client(None, status)).fingerprint()
        for status in ({1: "AVAILABLE"}, {2: "AVAILABLE"}, ClientError("forbidden", "403"))
    ]
    assert len(set(prints)) == 3
    assert all("http://127.0.0.1:1" in json.loads(text)["server"] for text in prints)
