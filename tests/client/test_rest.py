"""Tests of the clients: against the local server, and against one that misbehaves on purpose."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssh_tf.client.faces import ClientError, Faces
from ssh_tf.client.grpc_client import GrpcClient
from ssh_tf.client.remote import ServerDetector
from ssh_tf.client.rest import RestClient
from ssh_tf.errors import UserError
from ssh_tf.imaging.header import stored_size
from ssh_tf.server.app import LocalServer
from tests.support import toy
from tests.support.small import encode, picture

SIZES = [(64, 96), (31, 17), (200, 150), (8, 8), (9, 7), (80, 80), (33, 65), (12, 90), (50, 51)]
PICTURES = [picture(*size, seed=seed) for seed, size in enumerate(SIZES)]
IMAGES = [encode(pixels, ".png") for pixels in PICTURES]


@pytest.fixture(params=["rest", "grpc"])
def client(request: pytest.FixtureRequest, server: LocalServer) -> Iterator[Any]:
    if request.param == "rest":
        opened: Any = RestClient(f"http://127.0.0.1:{server.rest_port}/")
    else:
        opened = GrpcClient(f"127.0.0.1:{server.grpc_port}")
    with opened:
        yield opened


def test_faces_come_in_px_of_their_own_picture(client: Any):
    # More pictures than go into one request.
    found = client.detect(IMAGES)
    assert len(found) == len(PICTURES) == 9
    for faces, pixels in zip(found, PICTURES, strict=True):
        height, width = pixels.shape[:2]
        expected = toy.expected(pixels)
        y1, x1, y2, x2 = expected["detection_boxes"][:2].T
        boxes = np.stack([x1 * width, y1 * height, x2 * width, y2 * height], axis=-1)
        np.testing.assert_allclose(faces.boxes, boxes, atol=1e-3)
        np.testing.assert_allclose(faces.scores, expected["detection_scores"][:2], atol=1e-6)
        assert faces.status == 0


def test_large_pictures_become_requests_of_their_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ssh_tf.client.faces._MAX_BYTES", 5)
    sent: list[list[bytes]] = []
    client = RestClient("http://127.0.0.1:1")
    monkeypatch.setattr(client, "_predict", lambda images: sent.append(images) or list(images))
    images = [b"123456", b"12", b"345", b"6"] + [b""] * 8
    assert client.detect(images) == images
    assert sent == [[b"123456"], [b"12", b"345"], [b"6"] + [b""] * 7, [b""]]


def test_faces_of_a_picture_without_a_size_are_refused():
    with (
        Stub((200, FOUND)) as stub,
        RestClient(stub.url) as client,
        pytest.raises(ClientError, match="found faces in an image whose header can't be read"),
    ):
        client.detect([b"odd"])


def test_no_pictures_are_no_requests(client: Any):
    assert client.detect([]) == []


def test_a_picture_that_is_none_is_a_clear_error(client: Any):
    with pytest.raises(ClientError, match="Unknown image file format") as caught:
        client.detect([b"no picture"])
    assert caught.value.code in ("400", "INVALID_ARGUMENT")
    assert isinstance(caught.value, UserError)


def test_status_names_the_versions(server: LocalServer):
    with RestClient(f"http://127.0.0.1:{server.rest_port}") as client:
        assert client.status() == {1: "AVAILABLE"}


class Stub(http.server.ThreadingHTTPServer):
    """Gives prepared answers in turn and counts the requests."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), StubHandler)
        self.answers = list(answers)
        self.requests = 0
        self.gate = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "Stub":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.gate.set()
        self.shutdown()
        super().__exit__(*exception)


class StubHandler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        stub: Any = self.server
        self.rfile.read(int(self.headers["Content-Length"]))
        stub.requests += 1
        status, body = stub.answers.pop(0)
        if status == 0:  # Goes away without an answer.
            return
        if status == 1:  # Keeps the client waiting.
            stub.gate.wait(30)
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


FOUND = json.dumps(
    {
        "outputs": {
            "num_detections": [1],
            "detection_boxes": [[[0, 0, 0.5, 1], [0, 0, 0, 0]]],
            "detection_scores": [[0.75, 0]],
        }
    }
).encode()
BUSY = (503, b'{"error": "busy"}')


def ask(url: str, **options: Any) -> list[Faces]:
    with RestClient(url, **options) as client:
        return client.detect([encode(picture(40, 60))])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssh_tf.client.rest._BACKOFF_SECONDS", 0.0)


@pytest.mark.usefixtures("impatient")
def test_a_busy_server_is_asked_again():
    with Stub(BUSY, (429, b"<html>"), (200, FOUND)) as stub:
        (faces,) = ask(stub.url)
    assert stub.requests == 3
    np.testing.assert_array_equal(faces.boxes, [[0, 0, 60, 20]])
    assert faces.status is None  # A model without this output.


@pytest.mark.usefixtures("impatient")
def test_a_server_that_stays_busy_is_given_up():
    with Stub(*[BUSY] * 9) as stub, pytest.raises(ClientError, match="answered 503: busy") as c:
        ask(stub.url)
    assert (stub.requests, c.value.code) == (4, "503")


@pytest.mark.parametrize("status", [400, 404, 413, 500, 502, 504])
def test_other_errors_are_not_asked_again(status: int):
    with Stub((status, b'{"error": "no"}'), (200, FOUND)) as stub:
        with pytest.raises(ClientError, match=f"answered {status}: no"):
            ask(stub.url)
        assert stub.requests == 1


def test_a_server_that_dies_over_a_request_is_reported_and_not_asked_again():
    with Stub((0, b""), (200, FOUND)) as stub:
        with pytest.raises(ClientError, match=r"No answer from http.*:predict"):
            ask(stub.url)
        assert stub.requests == 1


def test_a_server_that_never_answers_is_given_up():
    with Stub((1, b"")) as stub, pytest.raises(ClientError, match=r"No answer from .*timed out"):
        ask(stub.url, timeout=0.2)


@pytest.mark.usefixtures("impatient")
def test_no_server_is_a_clear_error():
    with Stub() as stub:
        url = stub.url
    with pytest.raises(ClientError, match=r"No answer from .*refused"):
        ask(url)
    with (
        GrpcClient(url.removeprefix("http://"), timeout=5) as client,
        pytest.raises(ClientError, match="answered UNAVAILABLE"),
    ):
        client.detect([IMAGES[0]])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>", "something else than a JSON object"),
        (b"[]", "something else than a JSON object"),
        (b"{}", "gave no detections"),
        (b'{"outputs": [1]}', "gave no detections"),
        (FOUND.replace(b"[1]", b"[1, 1]"), "gave 2 results for 1 images"),
        (FOUND.replace(b'"num', b'"image_size": 3, "num'), "gave no detections"),
        (FOUND.replace(b'"num', b'"detection_status": [0, 0], "num'), "gave 2 results"),
    ],
)
def test_answers_of_something_else_are_refused(body: bytes, message: str):
    with Stub((200, body)) as stub, pytest.raises(ClientError, match=message):
        ask(stub.url)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_size_is_read_from_the_header(suffix: str):
    data = encode(picture(31, 517), suffix)
    assert stored_size(data) == (31, 517)
    assert stored_size(data[:10]) is None


def test_the_size_of_a_jpeg_with_large_segments_before_it():
    data = encode(picture(31, 517))
    exif = b"\xff\xe1" + (60_002).to_bytes(2, "big") + b"\xff\xc0" * 30_000
    assert stored_size(data[:2] + exif + b"\xff" + data[2:]) == (31, 517)
    assert stored_size(data[:2] + b"rubbish" + data[2:]) == (31, 517)
    assert stored_size(b"\xff\xd8" + b"\xff\xe1\x00\x00" * 5) is None
    assert stored_size(b"GIF89a") is None


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("http://127.0.0.1:8501", "http://127.0.0.1:8501/v1/models/ssh"),
        (" http://127.0.0.1:8501/\n", "http://127.0.0.1:8501/v1/models/ssh"),
        ("http://[::1]:8501//", "http://[::1]:8501/v1/models/ssh"),
        ("https://faces.example/v1/models/a.b-c", "https://faces.example/v1/models/a.b-c"),
        ("http://h:1/v1/models/face:predict", "http://h:1/v1/models/face"),
        ("http://h:1/v1/models/face/metadata", "http://h:1/v1/models/face"),
        ("http://h:1/v1/models/face/versions/7", "http://h:1/v1/models/face/versions/7"),
        ("http://h:1/v1/models/face/versions/7:predict/", "http://h:1/v1/models/face/versions/7"),
        ("http://h:1/v1/models", "http://h:1/v1/models/ssh"),
        (
            "http://h/behind/a/proxy/v1/models/face:predict",
            "http://h/behind/a/proxy/v1/models/face",
        ),
        ("http://h/behind/a/proxy/", "http://h/behind/a/proxy/v1/models/ssh"),
    ],
)
def test_every_form_of_an_address_that_is_printed_somewhere_is_taken(address: str, url: str):
    assert RestClient.from_address(address)._url == url


@pytest.mark.parametrize(
    "address",
    ["", "127.0.0.1:8500", "grpc://h:8500", "file:///etc/passwd", "http://", "http://h/?x=1",
     "http://h:1/v1/models/ssh:classify", "http://h:1/v1/models/ssh/versions/x"],
)  # fmt: skip
def test_what_is_no_address_is_a_clear_error(address: str):
    with pytest.raises(UserError, match=r"no REST address.*http://HOST:PORT"):
        RestClient.from_address(address)


def test_the_client_imports_no_tensorflow():
    code = (
        "import sys; from ssh_tf.client import grpc_client, remote, rest;"
        "print({'grpc', 'google.protobuf'} & set(sys.modules));"
        "grpc_client.GrpcClient('127.0.0.1:1').close(); remote.ServerDetector(rest.RestClient(''));"
        "print({'tensorflow', 'tensorflow_serving', 'keras'} & set(sys.modules))"
    )
    run = [sys.executable, "-c", code]
    result = subprocess.run(run, check=True, capture_output=True, text=True, cwd=Path.cwd())
    assert result.stdout == "set()\nset()\n"


def test_a_server_in_the_place_of_a_detector(server: LocalServer):
    with RestClient(f"http://127.0.0.1:{server.rest_port}") as client:
        found = ServerDetector(client).detect(PICTURES[2])
    expected = toy.expected(PICTURES[2])
    np.testing.assert_allclose(found.scores, expected["detection_scores"][:2], atol=1e-6)
    np.testing.assert_allclose(found.boxes[1], [18.75, 50, 112.5, 100])  # Of 150 x 200 px.


@pytest.mark.parametrize(
    ("status", "reason"), [(1, "neither JPEG nor PNG"), (2, "too large"), (3, "not whole")]
)
def test_an_image_that_the_model_refuses_is_told(status: int, reason: str):
    outputs = json.loads(FOUND)["outputs"] | {"detection_status": [status], "num_detections": [0]}
    with (
        Stub((200, json.dumps({"outputs": outputs}).encode())) as stub,
        RestClient(stub.url) as client,
        pytest.raises(ClientError, match=f"The server refused the image: {reason}"),
    ):
        ServerDetector(client).detect(PICTURES[0])
