"""One toy model and one server of it for the tests that only ask."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ssh_tf.server.app import LocalServer
from tests.support import toy


@pytest.fixture(scope="package")
def toy_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one version; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("toy")
    toy.write(folder / "1")
    return folder


@pytest.fixture(scope="package")
def server(toy_models: Path) -> Iterator[LocalServer]:
    with toy.serve(toy_models, max_body_bytes=300_000, receive_seconds=0.5) as running:
        yield running


@pytest.fixture
def gate() -> Iterator[None]:
    """Closes the gate of signature `wait` for one test."""
    toy.GATE.clear()
    while toy.STARTED.acquire(blocking=False):
        pass  # What earlier tests left.
    yield
    toy.GATE.set()
