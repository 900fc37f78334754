"""`python -m ssh_tf` is `ssh-tf`."""

from ssh_tf.cli import program

program()
