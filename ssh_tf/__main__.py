"""`python -m ssh_tf` is `ssh-tf`."""

import sys

from ssh_tf.cli import main

sys.exit(main())
