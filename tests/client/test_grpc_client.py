"""Tests of what only the gRPC client does; what both do is in test_rest.py."""

import pytest

from ssh_tf.client.grpc_client import GrpcClient, is_loopback
from ssh_tf.server.app import LocalServer
from tests.support.small import encode, picture


@pytest.mark.parametrize("variable", ["http_proxy", "grpc_proxy", "https_proxy"])
def test_no_proxy_stands_between_this_machine_and_itself(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, variable: str
):
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with GrpcClient(f"127.0.0.1:{server.grpc_port}", timeout=30) as client:
        assert client.detect([encode(picture(), ".png")])


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:8500", True),
        ("127.9.9.9:8500", True),
        ("localhost:8500", True),
        ("[::1]:8500", True),
        ("dns:///localhost:8500", True),
        ("ipv4:127.0.0.1:8500", True),
        ("0.0.0.0:8500", True),
        ("10.0.0.1:8500", False),
        ("faces.example:8500", False),
        ("localhost.example:8500", False),
        ("unix:/run/socket", False),
    ],
)
def test_which_addresses_are_this_machine(address: str, expected: bool):
    assert is_loopback(address) is expected
