"""`python -m ssh_tf.cli` is `ssh-tf`, as `python -m ssh_tf` is."""

from ssh_tf.cli import program

program()
