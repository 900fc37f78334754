"""The arithmetic that a network computes in."""

import contextlib
from collections.abc import Iterator

import keras

from ssh_tf.errors import UserError
from ssh_tf.model.ssh import SSH


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Makes the layers built meanwhile compute in `name`; their weights are float32.

    Args:
        name: `float32`, `bfloat16` or `float16`.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if name == "float32" else f"mixed_{name}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def in_precision(network: SSH, name: str) -> SSH:
    """Returns a network of the same weights whose convolutions compute in `name`.

    Its outputs are float32, whatever the name.

    Args:
        network: Computes in float32.
        name: See `precision`.

    Returns:
        For `float32` the network itself, else a copy.

    Raises:
        UserError: For `int8`, which Keras does not compute in.
    """
    if name == "int8":
        raise UserError(
            "TensorFlow does not compute in int8. Choose the runtime openvino, or the format onnx "
            "or openvino."
        )
    if name == "float32":
        return network
    with precision(name):
        copy = SSH.from_config(network.get_config())
    copy.set_weights(network.get_weights())
    return copy
