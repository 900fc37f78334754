"""`python -m ssh_tf.cli` is `ssh-tf`."""

import sys

from ssh_tf.cli import main

sys.exit(main())
