"""What a run ran with: versions, devices, the code's revision."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ssh_tf.version import __version__


def environment(**facts: Any) -> str:
    """Returns the record of a run's environment as JSON.

    Args:
        **facts: What the caller adds.
    """
    devices = [device.name for device in tf.config.list_logical_devices()]
    record = {
        "ssh_tf": __version__,
        "revision": _revision(),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "devices": devices,
        "command": sys.argv,
        **facts,
    }
    return json.dumps(record, indent=1) + "\n"


def _revision() -> str | None:
    """The git revision of the code, where it lies in a repository; `-dirty` with changes."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
