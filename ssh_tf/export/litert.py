"""Writes a LiteRT file: the network alone, from pixels at its scale to logits and deltas."""

from pathlib import Path

import numpy as np

from ssh_tf.config import DetectConfig
from ssh_tf.errors import UserError
from ssh_tf.export.verify import example_image
from ssh_tf.files import atomic_path, output_file
from ssh_tf.inference.runtimes.convert import network_function, require_float32, write_litert
from ssh_tf.inference.runtimes.litert import run_litert
from ssh_tf.model.ssh import SSH

# Of logits and deltas: the order of sums.
_TOLERANCE = 1e-3


def export_litert(network: SSH, config: DetectConfig, out: str | Path) -> Path:
    """Writes a network as a LiteRT file and proves that it works.

    Its signature `serving_default` takes `images`, `[1, H, W, 3]` float32 RGB in `[0, 255]` of any
    size, and gives `<module>_logits` and `<module>_deltas` as `SSH` documents them. LiteRT has
    neither the official resize nor NMS on boxes that count their last pixel.

    Args:
        network: The network.
        config: Its precision must be float32; the rest is for what surrounds the network.
        out: The file, `.tflite`.

    Returns:
        `out` as a path.

    Raises:
        UserError: If `out` can't be written or has another suffix, for another precision, or if
            the file does not compute what the network computes; it is deleted then.
    """
    path = Path(out)
    if path.suffix != ".tflite":
        raise UserError(f"{path} must end in .tflite.")
    require_float32("litert", config)
    output_file(path)
    images = example_image()[np.newaxis].astype(np.float32)
    expected = network_function(network)(images)
    with atomic_path(path) as temporary:
        write_litert(network, temporary)
        found = run_litert(temporary.read_bytes())(images)
        for name, values in expected.items():
            if not np.allclose(found[name], values, rtol=0, atol=_TOLERANCE):
                raise UserError(
                    f"{path} would compute other {name} than the network. Nothing was exported. "
                    "Report this with the output of `ssh-tf --version`."
                )
    return path
