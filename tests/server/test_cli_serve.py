"""Tests of `ssh-tf serve` as a process, and of `ssh-tf detect --server`."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssh_tf.cli import main
from ssh_tf.client.rest import RestClient
from ssh_tf.server.app import LocalServer
from tests.support import toy
from tests.support.small import encode, picture


def test_serve_answers_and_stops_when_it_is_told_to(toy_models: Path):
    command = [sys.executable, "-m", "ssh_tf.cli", "serve", "--model_dir", str(toy_models)]
    command += ["--rest_port", "0", "--grpc_port", "0", "--workers", "1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        (url,) = re.findall(
            r"The page to try it: (http://127.0.0.1:\d+)/", process.stdout.readline()
        )
        with RestClient(url) as client:
            (faces,) = client.detect([encode(picture(), ".png")])
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
        assert process.wait(30) == 0
    assert len(faces.scores) == 2
    assert f"REST {url}/v1/models/ssh:predict" in rest
    assert "Stopping" in rest


def detect(tmp_path: Path, *flags: str) -> int:
    path = tmp_path / "a.png"
    path.write_bytes(encode(picture(40, 60), ".png"))
    out, boxes = str(tmp_path / "out"), str(tmp_path / "boxes.json")
    return main(["detect", *flags, "--out", out, "--json", boxes, str(path)])


@pytest.mark.parametrize("suffix", ["", "/v1/models/ssh/versions/1:predict"])
def test_detect_asks_a_server(server: LocalServer, tmp_path: Path, suffix: str):
    assert detect(tmp_path, "--server", f"http://127.0.0.1:{server.rest_port}{suffix}") == 0
    (entry,) = json.loads((tmp_path / "boxes.json").read_text())
    expected = toy.expected(picture(40, 60))
    scores = [face["score"] for face in entry["faces"]]
    np.testing.assert_allclose(scores, expected["detection_scores"][:2], atol=1e-6)
    assert entry["faces"][1]["box"] == [7.5, 10, 45, 20]
    assert (tmp_path / "out" / "a.png").is_file()


def test_detect_without_a_server_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ssh_tf.client.rest._BACKOFF_SECONDS", 0.0)
    assert detect(tmp_path, "--server", "http://127.0.0.1:1") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("ssh-tf detect: No answer from http://127.0.0.1:1/v1/models/ssh")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("workers", "0"),
        ("workers", "1e9"),
        ("workers", "100000"),
        ("queue", "-1"),
        ("queue", "1000000"),
        ("request_seconds", "inf"),
        ("request_seconds", "0"),
        ("receive_seconds", "nan"),
        ("receive_seconds", "soon"),
        ("max_body_mib", "nan"),
        ("max_body_mib", "inf"),
        ("max_body_mib", "-1"),
        ("max_body_mib", "4096"),
        ("rest_port", "65536"),
        ("rest_port", "-1"),
        ("grpc_port", "http"),
    ],
)
def test_numbers_out_of_range_are_wrong_usage(
    capsys: pytest.CaptureFixture[str], flag: str, value: str
):
    with pytest.raises(SystemExit) as caught:
        main(["serve", f"--{flag}={value}"])
    assert caught.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.search(rf"--{flag}: expected a (whole )?number from .* received '{value}'", error)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--name", 'a"b'], "--name must be of letters"),
        (["--host", ""], "--host must not be empty"),
        (["--model_dir", "m", "--precision", "bfloat16"], "Remove --precision, or name --model"),
    ],
)
def test_serve_refuses_wrong_names(
    capsys: pytest.CaptureFixture[str], flags: list[str], message: str
):
    assert main(["serve", *flags]) == 1
    assert message in capsys.readouterr().err
