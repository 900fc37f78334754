"""`python -m ssh_tf.cli` is `ssh-tf`, as `python -m ssh_tf` is."""

import sys

from ssh_tf.cli import main

sys.exit(main())
