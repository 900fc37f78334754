"""The version of ssh_tf, readable without importing TensorFlow."""

__version__ = "0.1.0"
