"""Boxes, anchors, targets, proposals: pure functions on `keras.ops`, no weights and no files."""

from ssh_tf.environment import pin_keras

pin_keras()
