"""TensorFlow's warnings about its own version 1, where nothing newer does the same."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def without_deprecations() -> Iterator[None]:
    """Keeps TensorFlow's log at errors meanwhile."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)
