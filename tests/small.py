"""The small inputs of `tests.support.small` by their short name, for scripts outside the tests."""

from tests.support.small import encode, picture, small_config, small_network, write_wider

__all__ = ["encode", "picture", "small_config", "small_network", "write_wider"]
