"""SSH, the Single Stage Headless face detector (ICCV 2017), in TensorFlow and Keras 3."""

from ssh_tf.version import __version__ as __version__
