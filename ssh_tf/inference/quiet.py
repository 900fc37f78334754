"""What other libraries do to log lines: too many of them, or none."""

import contextlib
import logging
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def without_deprecations() -> Iterator[None]:
    """Keeps TensorFlow's log at errors, where nothing newer does what its version 1 does."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def with_log_handlers() -> Iterator[None]:
    """Keeps the root logger's handlers: OpenVINO, when it is imported, removes absl's."""
    handlers = list(logging.root.handlers)
    try:
        yield
    finally:
        for handler in handlers:
            logging.root.addHandler(handler)  # Nothing, if it is still there.
