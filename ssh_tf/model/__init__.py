"""The network, its loss layer, and the files its weights come from."""

from ssh_tf.environment import pin_keras

pin_keras()
