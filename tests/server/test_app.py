"""Tests of the local server over both protocols: answers, limits, faults, stopping."""

import base64
import contextlib
import gzip
import json
import shutil
import socket
import threading
import time
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
import urllib3
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from ssh_tf.errors import UserError
from ssh_tf.server.app import LocalServer
from ssh_tf.server.errors import ServingError
from ssh_tf.server.metrics import Metrics
from ssh_tf.server.rpc import Prediction
from tests.support import toy
from tests.support.small import encode, picture

PIXELS = picture()
IMAGE = encode(PIXELS, ".png")
B64 = {"b64": base64.b64encode(IMAGE).decode()}
WAIT = {"signature_name": "wait", "instances": [1.0]}


def rest(server: LocalServer, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Returns the status and the JSON of the answer; `body` is JSON's or bytes."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body)
    method = "GET" if body is None else "POST"
    url = f"http://127.0.0.1:{server.rest_port}{path}"
    with urllib3.PoolManager(retries=False, timeout=30) as pool:
        response = pool.request(method, url, body=data, headers=headers)
        return response.status, json.loads(response.data)


def predict(server: LocalServer, body: Any, **headers: str) -> tuple[int, Any]:
    return rest(server, "/v1/models/ssh:predict", body, **headers)


def raw(server: LocalServer, data: bytes) -> bytes:
    """Sends bytes and returns all that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", server.rest_port), timeout=30) as connection:
        connection.sendall(data)
        parts = []
        # A server that closes on data it has not read resets the connection.
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65536):
                parts.append(part)
    return b"".join(parts)


@pytest.fixture(scope="module")
def channel(server: LocalServer) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as opened:
        yield opened


def grpc_request(**inputs: Any) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "ssh"
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def grpc_predict(channel: Any, request: Any, timeout: float = 30) -> dict[str, np.ndarray]:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    outputs = stub.Predict(request, timeout=timeout).outputs
    return {key: tf.make_ndarray(value) for key, value in outputs.items()}


def assert_expected(outputs: dict[str, Any], row: int | None = None) -> None:
    for key, value in toy.expected(PIXELS).items():
        found = outputs[key] if row is None else outputs[key][row]
        np.testing.assert_allclose(found, value, atol=1e-6)


def test_rest_answers_rows_with_rows_and_columns_with_columns(server: LocalServer):
    status, answer = predict(server, {"instances": [B64, {"b64": B64["b64"]}]})
    assert status == 200
    assert len(answer["predictions"]) == 2
    for row in answer["predictions"]:
        assert_expected(row)
    status, answer = predict(server, {"inputs": {"image_bytes": [B64]}})
    assert status == 200
    assert_expected(answer["outputs"], 0)


def test_grpc_answers_the_stock_client(channel: Any):
    outputs = grpc_predict(channel, grpc_request(image_bytes=[IMAGE, IMAGE]))
    assert_expected(outputs, 0)
    assert_expected(outputs, 1)


def test_an_output_filter_selects(channel: Any):
    request = grpc_request(image_bytes=[IMAGE])
    request.output_filter.append("num_detections")
    assert list(grpc_predict(channel, request)) == ["num_detections"]
    request.output_filter.append("nothing")
    with pytest.raises(grpc.RpcError, match="alias not found in signature: nothing"):
        grpc_predict(channel, request)


def test_an_output_can_be_named_once(channel: Any):
    request = grpc_request(image_bytes=[IMAGE])
    request.output_filter.extend(["num_detections"] * 2)
    with pytest.raises(grpc.RpcError, match="duplicate output tensor alias: num_detections"):
        grpc_predict(channel, request)


def test_an_answer_names_its_model_version_and_signature(channel: Any):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    spec = stub.Predict(grpc_request(image_bytes=[IMAGE]), timeout=30).model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("ssh", 1, "serving_default")


def test_a_rest_answer_names_its_version_in_a_header(server: LocalServer):
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/ssh:predict"
    with urllib3.PoolManager(retries=False, timeout=30) as pool:
        response = pool.request("POST", url, json={"instances": [B64]})
    assert response.headers["x-model-version"] == "1"


def test_a_version_can_be_named(server: LocalServer, channel: Any):
    path = "/v1/models/ssh/versions/{}:predict"
    assert rest(server, path.format(1), {"instances": [B64]})[0] == 200
    status, answer = rest(server, path.format(2), {"instances": [B64]})
    assert (status, answer["error"]) == (
        404,
        "Servable not found for request: Specific(ssh, 2)",
    )
    request = grpc_request(image_bytes=[IMAGE])
    request.model_spec.version.value = 2
    with pytest.raises(grpc.RpcError) as caught:
        grpc_predict(channel, request)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_status_is_the_same_over_both(server: LocalServer, channel: Any):
    status, answer = rest(server, "/v1/models/ssh")
    assert (status, answer) == (
        200,
        {
            "model_version_status": [
                {
                    "version": "1",
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
            ]
        },
    )
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "ssh"
    response = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request)
    ((version, state),) = [(s.version, s.state) for s in response.model_version_status]
    assert (version, state) == (1, get_model_status_pb2.ModelVersionStatus.AVAILABLE)


def test_metadata_is_the_same_over_both(server: LocalServer, channel: Any):
    status, answer = rest(server, "/v1/models/ssh/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "ssh", "signature_name": "", "version": "1"}
    calls = answer["metadata"]["signature_def"]["signature_def"]
    encoded = calls["serving_default"]["inputs"]["image_bytes"]
    assert encoded["dtype"] == "DT_STRING"
    assert [dim["size"] for dim in encoded["tensor_shape"]["dim"]] == ["-1"]
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "ssh"
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert stub.GetModelMetadata(request).metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) == set(calls)


def test_metrics_count_answers_by_outcome(toy_models: Path):
    with toy.serve(toy_models) as server:
        predict(server, {"instances": [B64]})
        predict(server, {"instances": ["no picture"]})
        with urllib3.PoolManager() as pool:
            url = f"http://127.0.0.1:{server.rest_port}/monitoring/prometheus/metrics"
            text = pool.request("GET", url).data.decode()
            moved = pool.request("GET", f"{url}/", headers={"Host": "evil.example"})
    assert (moved.status, moved.headers.get("location")) == (404, None)
    count = ":tensorflow:serving:request_count"
    assert f'{count}{{entrypoint="REST",model_name="ssh",status="OK"}} 1.0\n' in text
    assert f'{count}{{entrypoint="REST",model_name="ssh",status="INVALID_ARGUMENT"}} 1.0\n' in text
    latency = ':tensorflow:serving:request_latency_bucket{API="Predict",entrypoint="REST",le="+Inf"'
    assert f'{latency},model_name="ssh"}} 2.0\n' in text


# Hostile or mistaken requests: (body, headers, status, part of the message).
HOSTILE: dict[str, tuple[Any, dict[str, str], int, str]] = {
    "no JSON": (b"hello", {}, 400, "JSON Parse error"),
    "no body": (b"", {}, 400, "JSON Parse error"),
    "deep": (b"[" * 200_000, {}, 400, "depth limit"),
    "no picture": ({"instances": [{"b64": "aGVsbG8="}]}, {}, 400, "Unknown image file format"),
    "empty": ({"instances": [{"b64": ""}]}, {}, 400, "Input is empty"),
    "number": ({"instances": [3]}, {}, 400, "expected a string"),
    "no base64": ({"instances": [{"b64": "%%"}]}, {}, 400, "Unable to base64 decode"),
    "signature": ({"signature_name": "x", "instances": [B64]}, {}, 400, '"x" not found'),
    "long name": ({"signature_name": "x" * 250_000, "instances": [1]}, {}, 400, "xxx..."),
    "long key": ({"inputs": {"x": 1, "y" * 250_000: 1}}, {}, 400, "Missing named input"),
    "too many": ({"instances": [""] * 65}, {}, 400, "at most 64 rows. Received: 65"),
    "too large": (b" " * 300_001, {}, 413, "larger than 300000 bytes"),
    "gzip bomb": (
        gzip.compress(bytes(50_000_000)),
        {"Content-Encoding": "gzip"},
        413,
        "larger than 300000 bytes",
    ),
    "broken gzip": (b"x", {"Content-Encoding": "gzip"}, 400, "not whole gzip data"),
    "brotli": (b"x", {"Content-Encoding": "br"}, 415, "must be gzip or none"),
    "NaN out": ({"signature_name": "broken", "instances": [0.0]}, {}, 500, "NaN or Infinity"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_requests_get_a_clear_error_and_the_server_lives(server: LocalServer, case: str):
    body, headers, expected, message = HOSTILE[case]
    status, answer = predict(server, body, **headers)
    assert (status, list(answer)) == (expected, ["error"])
    assert message in answer["error"]
    assert len(answer["error"]) < 510
    assert predict(server, {"instances": [B64]})[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/models/ssh:classify", {}, 400),
        ("/v1/models/ssh", {}, 400),
        ("/v1/models/ssh/versions/x", None, 400),
        ("/v1/models/ssh/versions/" + "9" * 30, None, 400),
        ("/v1/models/other", None, 404),
        ("/v1/models/ssh/versions/9", None, 404),
        ("/v1/models/other/metadata", None, 404),
        ("/elsewhere", None, 404),
    ],
)
def test_other_paths_get_an_error(server: LocalServer, path: str, body: Any, expected: int):
    status, answer = rest(server, path, body)
    assert (status, list(answer)) == (expected, ["error"])


@pytest.mark.parametrize(
    "path", ["/V1/Models/ssh", "/v1/models/ssh/Versions/01", "/v1/models/%73sh"]
)
def test_paths_are_read_as_tensorflow_serving_reads_them(server: LocalServer, path: str):
    assert rest(server, path)[0] == 200
    assert rest(server, f"{path}:PREDICT", {"instances": [B64]})[0] == 200


def test_a_gzip_body_is_taken(server: LocalServer):
    body = gzip.compress(json.dumps({"instances": [B64]}).encode())
    assert predict(server, body, **{"Content-Encoding": "gzip"})[0] == 200


HEAD = b"POST /v1/models/ssh:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"


@pytest.mark.parametrize("start", [b"", b"POST /v1", HEAD, HEAD + b"\r\n", HEAD + b'\r\n{"in'])
def test_a_request_that_never_ends_is_told_so(server: LocalServer, start: bytes):
    answer = raw(server, start)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'{"error":' in answer
    assert b"within 0.5 s" in answer


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n",
        HEAD[:-5] + b"-7\r\n\r\n",
    ],
    ids=["TLS", "negative length"],
)
def test_what_is_no_http_is_refused(server: LocalServer, data: bytes):
    assert raw(server, data).startswith(b"HTTP/1.1 400 ")
    assert rest(server, "/v1/models/ssh")[0] == 200


def test_a_huge_header_is_refused(server: LocalServer):
    answer = raw(server, b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000 + b"\r\n\r\n")
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert rest(server, "/v1/models/ssh")[0] == 200


def test_a_body_that_never_ends_is_cut_at_the_limit(server: LocalServer):
    chunks = b"".join(b"10000\r\n" + bytes(0x10000) + b"\r\n" for _ in range(10))
    head = HEAD.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked")
    answer = raw(server, head + b"\r\n" + chunks)
    assert answer.startswith(b"HTTP/1.1 413 ")


def grpc_code(channel: Any, request: Any, **options: Any) -> grpc.StatusCode:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request, timeout=30, **options)
    return caught.value.code()


def request_with(**fields: Any) -> predict_pb2.PredictRequest:
    """A good request but for fields of its `model_spec` or its `output_filter`."""
    request = grpc_request(image_bytes=[IMAGE])
    request.output_filter.extend(fields.pop("output_filter", []))
    for key, value in fields.items():
        setattr(request.model_spec, key, value)
    return request


LONG = "x" * 100_000
HOSTILE_GRPC = {
    "no picture": (grpc_request(image_bytes=[b"no"]), "INVALID_ARGUMENT"),
    "wrong type": (grpc_request(image_bytes=[1.5]), "INVALID_ARGUMENT"),
    "wrong input": (grpc_request(y=[b"no"]), "INVALID_ARGUMENT"),
    "too many": (grpc_request(image_bytes=[b""] * 65), "INVALID_ARGUMENT"),
    "too large": (grpc_request(image_bytes=[bytes(400_000)]), "RESOURCE_EXHAUSTED"),
    "no model": (predict_pb2.PredictRequest(), "INVALID_ARGUMENT"),
    "no name": (request_with(name=""), "INVALID_ARGUMENT"),
    "other signature": (request_with(signature_name="x"), "FAILED_PRECONDITION"),
    "long signature": (request_with(signature_name=LONG), "FAILED_PRECONDITION"),
    "long name": (request_with(name=LONG), "NOT_FOUND"),
    "long label": (request_with(version_label="\u6f22" * 30_000), "INVALID_ARGUMENT"),
    "long output": (request_with(output_filter=[LONG]), "INVALID_ARGUMENT"),
    "long input": (grpc_request(**{LONG: [b"no"]}), "INVALID_ARGUMENT"),
}


@pytest.mark.parametrize("case", HOSTILE_GRPC)
def test_hostile_grpc_requests_get_a_clear_error(channel: Any, case: str):
    request, code = HOSTILE_GRPC[case]
    assert grpc_code(channel, request) is grpc.StatusCode[code]
    if code == "RESOURCE_EXHAUSTED":
        assert grpc_code(channel, request, compression=grpc.Compression.Gzip).name == code
    assert_expected(grpc_predict(channel, grpc_request(image_bytes=[IMAGE])), 0)


def test_a_fault_of_the_server_is_no_traceback_for_the_client(
    server: LocalServer, channel: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server.versions, "get", lambda *arguments: {}["secret"])
    with pytest.raises(grpc.RpcError) as caught:
        grpc_predict(channel, grpc_request(image_bytes=[IMAGE]))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    status, answer = predict(server, {"instances": [B64]})
    message = "Internal error of the server; its log has the details"
    assert (status, answer["error"], caught.value.details()) == (500, message, message)


def wait_request() -> predict_pb2.PredictRequest:
    request = grpc_request(x=[1.0])
    request.model_spec.signature_name = "wait"
    return request


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline


def free_places(server: LocalServer) -> int:
    return server._runner._places._value


def leave_rest(server: LocalServer) -> Callable[[], None]:
    connection = socket.create_connection(("127.0.0.1", server.rest_port))
    body = json.dumps(WAIT).encode()
    connection.sendall(HEAD.replace(b"100", str(len(body)).encode()) + b"\r\n" + body)
    return connection.close


def call_grpc(server: LocalServer, timeout: float | None = None) -> tuple[Any, Any]:
    channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return channel, stub.Predict.future(wait_request(), timeout=timeout)


def leave_grpc(server: LocalServer) -> Callable[[], None]:
    channel, call = call_grpc(server)
    return lambda: (call.cancel(), channel.close())[0]


def leave_channel(server: LocalServer) -> Callable[[], None]:
    channel, call = call_grpc(server)
    return lambda: (channel.close(), call.done())[0]


def leave_by_deadline(server: LocalServer) -> Callable[[], None]:
    channel, call = call_grpc(server, timeout=0.5)
    return lambda: (until(call.done), channel.close())[0]


@pytest.mark.usefixtures("gate")
def test_what_nobody_waits_for_leaves_the_queue_and_is_not_computed(toy_models: Path):
    with toy.serve(toy_models, workers=1, queue=4) as server, ThreadPoolExecutor() as threads:
        running = threads.submit(predict, server, WAIT)
        assert toy.STARTED.acquire(timeout=30)
        for way in (leave_rest, leave_grpc, leave_channel, leave_by_deadline):
            leave = way(server)
            until(lambda: free_places(server) == 3)
            leave()
            until(lambda: free_places(server) == 4)
        good = threads.submit(predict, server, WAIT)
        toy.GATE.set()
        assert running.result()[0] == good.result()[0] == 200
        # The good one alone was computed after the first.
        assert toy.STARTED.acquire(timeout=30)
        assert not toy.STARTED.acquire(blocking=False)


@pytest.mark.usefixtures("gate")
def test_the_next_request_is_decoded_while_the_network_computes(toy_models: Path):
    with toy.serve(toy_models) as server, ThreadPoolExecutor() as threads:
        running = threads.submit(predict, server, WAIT)
        assert toy.STARTED.acquire(timeout=30)
        status, answer = predict(server, {"instances": [B64]})
        assert status == 200
        assert_expected(answer["predictions"][0])
        assert not running.done()
        toy.GATE.set()
        assert running.result()[0] == 200


def test_bodies_are_bounded_together(toy_models: Path):
    limit = 100_000
    with toy.serve(toy_models, max_body_bytes=limit) as server:
        large = json.dumps({"instances": [B64]}).encode().ljust(limit)
        small = {"signature_name": "two", "inputs": {"a": [1], "b_bytes": ["x"]}}
        head = HEAD.replace(b"100", b"100000") + b"\r\n" + bytes(limit - 1000)
        with contextlib.ExitStack() as stack:
            for _ in range(8):
                connection = socket.create_connection(("127.0.0.1", server.rest_port))
                stack.enter_context(contextlib.closing(connection)).sendall(head)
            until(lambda: predict(server, large)[0] == 503)
            status, answer = predict(server, large)
            assert (status, "too many large requests" in answer["error"]) == (503, True)
            with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
                code = grpc_code(channel, grpc_request(image_bytes=[bytes(limit - 1000)]))
            assert code is grpc.StatusCode.UNAVAILABLE
            assert predict(server, small)[0] == 200
        until(lambda: predict(server, large)[0] == 200)
        until(lambda: server._runner._free_bytes == 8 * limit)


@pytest.mark.usefixtures("gate")
def test_a_full_queue_is_answered_with_busy_and_the_rest_in_full(toy_models: Path):
    with toy.serve(toy_models, workers=1, queue=1) as server, ThreadPoolExecutor() as threads:
        running = threads.submit(predict, server, WAIT)
        assert toy.STARTED.acquire(timeout=30)
        queued = [threads.submit(predict, server, WAIT) for _ in range(2)]
        # One of the two finds a place in the queue, the other one none.
        refused = next(f for f in _finished(queued, 1))
        status, answer = refused.result()
        assert (status, answer["error"]) == (
            503,
            "The server is busy: its queue is full. Try again.",
        )
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as busy:
            code = grpc_code(busy, grpc_request(image_bytes=[IMAGE]))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert rest(server, "/v1/models/ssh")[0] == 200
        toy.GATE.set()
        assert running.result() == (200, {"predictions": [1.0]})
        assert sorted(f.result()[0] for f in queued) == [200, 503]


def _finished(futures: list[Any], count: int) -> list[Any]:
    done = threading.Semaphore(0)
    for future in futures:
        future.add_done_callback(lambda _: done.release())
    for _ in range(count):
        assert done.acquire(timeout=30)
    return [future for future in futures if future.done()]


@pytest.mark.usefixtures("gate")
def test_a_request_that_takes_too_long_is_told_so(toy_models: Path):
    with toy.serve(toy_models, request_seconds=0.2) as server:
        status, answer = predict(server, WAIT)
        assert (status, answer["error"]) == (504, "No answer within 0.2 s")
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            assert grpc_code(channel, wait_request()) is grpc.StatusCode.DEADLINE_EXCEEDED
        toy.GATE.set()
        # On a busy machine an answer may take as long.
        assert any(predict(server, {"instances": [B64]})[0] == 200 for _ in range(100))


@pytest.mark.usefixtures("gate")
def test_stopping_finishes_what_runs_and_tells_what_waits(toy_models: Path):
    with ThreadPoolExecutor() as threads:
        with (
            toy.serve(toy_models, workers=1) as server,
            grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
        ):
            running = threads.submit(predict, server, WAIT)
            assert toy.STARTED.acquire(timeout=30)
            waiting = threads.submit(predict, server, WAIT)
            called = threads.submit(grpc_code, channel, wait_request())
            until(lambda: free_places(server) == 6)
            stopped = threads.submit(server.stop)
            # Told while the first one still runs.
            assert waiting.result(30) == (503, {"error": "The server is stopping."})
            assert called.result(30) is grpc.StatusCode.UNAVAILABLE
            assert not running.done()
            toy.GATE.set()
            assert running.result() == (200, {"predictions": [1.0]})
            stopped.result()
        with pytest.raises(OSError):  # noqa: PT011 - refused or reset, by the system.
            raw(server, b"x")


def test_a_deadline_that_is_over_is_not_taken_for_none(server: LocalServer):
    context = types.SimpleNamespace(
        time_remaining=lambda: 0.0, add_callback=lambda call: False, is_active=lambda: False
    )
    prediction = Prediction(server.versions, server._runner, Metrics("ssh"), toy.limits())
    with pytest.raises(ServingError) as caught:
        prediction._wait(grpc_request(image_bytes=[IMAGE]), context)
    assert caught.value.code in ("CANCELLED", "DEADLINE_EXCEEDED")


def test_no_request_fails_while_versions_change(toy_models: Path, tmp_path: Path):
    folder = tmp_path / "ssh"
    shutil.copytree(toy_models / "1", folder / "1")
    scores: list[float] = []
    changed = threading.Event()

    def ask(server: LocalServer) -> int:
        asked = 0
        while not changed.is_set():
            status, answer = predict(server, {"instances": [B64]})
            assert status == 200
            scores.append(answer["predictions"][0]["detection_scores"][1])
            asked += 1
        return asked

    with toy.serve(folder) as server, ThreadPoolExecutor() as threads:
        asking = [threads.submit(ask, server) for _ in range(4)]
        try:
            toy.write(folder / "2", bias=0.125)
            server.versions.refresh()
            (folder / "3").mkdir()
            server.versions.refresh()
            _, answer = predict(server, {"instances": [B64]})
        finally:
            changed.set()
        assert all(future.result() for future in asking)
    assert answer["predictions"][0]["detection_scores"][1] == 0.375
    assert set(scores) <= {0.25, 0.375}


def test_it_listens_on_this_machine_only_and_says_when_a_port_is_taken(
    server: LocalServer, toy_models: Path
):
    with pytest.raises(UserError, match=r"Can't listen on 127.0.0.1:\d+ for REST .*another"):
        LocalServer(toy_models, rest_port=server.rest_port, grpc_port=0)
    with pytest.raises(UserError, match=r"Can't listen on 127.0.0.1:\d+ for gRPC .*another"):
        LocalServer(toy_models, rest_port=0, grpc_port=server.grpc_port)


@pytest.mark.parametrize("host", ["256.0.0.1", "no such host", "a" * 300, "x..y", "192.0.2.1", ":"])
def test_an_address_that_is_not_ours_is_a_clear_error(toy_models: Path, host: str):
    with pytest.raises(UserError, match=r"^Can't listen on .* for REST \(.+\)\. Name another"):
        LocalServer(toy_models, host=host, rest_port=0, grpc_port=0)
