"""What the caller's environment must not decide: backends, number formats, others' notices.

A notebook exports MPLBACKEND, another project leaves ~/.keras/keras.json or KERAS_BACKEND behind.
`pin_program` runs before anything else of the command line, `pin_keras` with the first import of
`ssh_tf.geometry` or `ssh_tf.model`, `require_tensorflow` before work that only TensorFlow does.
"""

import logging
import os
import sys
from typing import Any

from ssh_tf.errors import UserError

_LOG = logging.getLogger(__name__)

# Keras' own defaults.
_KERAS = {"floatx": "float32", "image_data_format": "channels_last", "epsilon": 1e-7}


def pin_program() -> None:
    """Sets what this process and its children inherit, before TensorFlow or Keras is imported."""
    os.environ["MPLBACKEND"] = "Agg"  # No command needs a window.
    prefer_tensorflow()
    # The notices of TensorFlow, OpenCV and FFmpeg would bury our own lines.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def silence() -> None:
    """Ends what this process prints on standard error: in one that only computes for another.

    TensorFlow's C++ libraries print notices while it is imported, whatever the log level.
    """
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)


def pin_ray() -> None:
    """Keeps Ray, before it is imported, from reporting to its makers and printing to stdout.

    What it would print is the death of a worker, in paragraphs; we say that in a line.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = "."


def prefer_tensorflow() -> None:
    """Makes TensorFlow Keras' backend, if Keras is not imported yet."""
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"


def import_keras() -> Any:
    """Imports Keras, and TensorFlow with it where that is the backend.

    Returns:
        The module.

    Raises:
        UserError: If Keras can't be imported with the settings it finds.
    """
    try:
        import keras
    except (ValueError, TypeError, AttributeError, AssertionError) as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())
        raise UserError(
            f"Keras does not start ({reason}). Check keras.json in ~/.keras or KERAS_HOME, and the "
            "variables KERAS_*."
        ) from error
    return keras


def pin_keras() -> None:
    """Gives Keras the formats that this package is written for.

    These are Keras' defaults; keras.json may hold others, and says so to nobody. The backend stays:
    geometry, network and losses run on each.

    Raises:
        UserError: As `import_keras`.
    """
    keras = import_keras()
    for name, needed in _KERAS.items():
        value = getattr(keras.config, name)()
        if value != needed:
            getattr(keras.config, f"set_{name}")(needed)
            _LOG.warning("Keras' %s is %s (keras.json?): %s is used here.", name, value, needed)
    if (policy := keras.config.dtype_policy().name) != "float32":
        keras.config.set_dtype_policy("float32")
        _LOG.warning("Keras' dtype policy is %s: float32 is used here.", policy)


def require_tensorflow() -> None:
    """Checks that Keras runs on TensorFlow.

    Raises:
        UserError: If it runs on another backend.
    """
    import keras

    if (name := keras.config.backend()) != "tensorflow":
        raise UserError(
            f"Keras runs on {name} (KERAS_BACKEND or keras.json). Detection, training and export "
            "need TensorFlow: set KERAS_BACKEND=tensorflow before Keras is imported."
        )
