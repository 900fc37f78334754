"""The server that the clients ask."""

from tests.server.conftest import server, toy_models

__all__ = ["server", "toy_models"]
