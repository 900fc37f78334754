"""Tests that a caller's environment decides nothing."""

import os
import sys

import keras
import pytest

from ssh_tf.environment import pin_keras, pin_program, prefer_tensorflow, require_tensorflow
from ssh_tf.errors import UserError


@pytest.mark.parametrize(
    ("name", "value", "needed"),
    [
        ("floatx", "float16", "float32"),
        ("floatx", "float64", "float32"),
        ("image_data_format", "channels_first", "channels_last"),
        ("epsilon", 1e-3, 1e-7),
    ],
)
def test_a_setting_of_keras_json_is_replaced_and_named(
    name: str, value: object, needed: object, caplog: pytest.LogCaptureFixture
):
    getattr(keras.config, f"set_{name}")(value)
    pin_keras()
    assert getattr(keras.config, name)() == needed
    (line,) = caplog.messages
    assert line == f"Keras' {name} is {value} (keras.json?): {needed} is used here."


def test_a_dtype_policy_is_replaced_and_named(caplog: pytest.LogCaptureFixture):
    keras.config.set_dtype_policy("mixed_float16")
    pin_keras()
    assert keras.config.dtype_policy().name == "float32"
    assert caplog.messages == ["Keras' dtype policy is mixed_float16: float32 is used here."]


def test_nothing_is_said_of_the_defaults(caplog: pytest.LogCaptureFixture):
    pin_keras()
    assert caplog.messages == []


def test_the_program_replaces_what_decides_and_keeps_what_only_informs(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delitem(sys.modules, "keras")
    inherited = {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "KERAS_BACKEND": "jax",
        "TF_CPP_MIN_LOG_LEVEL": "0",
    }
    for name, value in inherited.items():
        monkeypatch.setenv(name, value)
    pin_program()
    assert [os.environ[name] for name in inherited] == ["Agg", "tensorflow", "0"]


def test_a_backend_chosen_in_python_is_left(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    prefer_tensorflow()  # Keras is imported already.
    assert os.environ["KERAS_BACKEND"] == "jax"


def test_another_backend_is_named_before_the_work(monkeypatch: pytest.MonkeyPatch):
    require_tensorflow()
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(UserError, match=r"Keras runs on jax .* set KERAS_BACKEND=tensorflow"):
        require_tensorflow()


def test_a_keras_json_that_stops_keras_is_named(monkeypatch: pytest.MonkeyPatch):
    class Refuses:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "keras":
                raise ValueError("Invalid `floatx` configuration.")

    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setattr(sys, "meta_path", [Refuses(), *sys.meta_path])
    with pytest.raises(UserError, match=r"Invalid `floatx` configuration.*keras\.json"):
        pin_keras()
