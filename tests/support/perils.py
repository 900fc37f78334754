"""What workers of a cluster are given and die of. Brings no TensorFlow: each worker imports it."""

import dataclasses
import os
import signal
from pathlib import Path

import ray

from ssh_tf.data.image_files import FolderImages
from ssh_tf.errors import UserError
from tests.support.gray import Gray


def once(place: Path) -> bool:
    """Whether this is the first call with this path."""
    try:
        place.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def perilous(detector: Gray, item: int, *, folder: Path) -> tuple[int, str]:
    """Doubles a number: 13 kills its worker, 3 the first time, 11 the actor the first time."""
    if item == 13 or (item == 3 and once(folder / "process")):
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 11 and once(folder / "actor"):
        ray.kill(ray.get_runtime_context().current_actor)
    if item == 5:
        raise UserError("five is refused.")
    return 2 * item, detector.fingerprint()


def no_model() -> Gray:
    """Loads no detector."""
    raise UserError("no.keras does not exist.")


@dataclasses.dataclass(frozen=True)
class DeadlyImages(FolderImages):
    """Images of which one kills who reads it, the first time."""

    mark: Path

    def read(self, name: str) -> bytes:
        """Returns the file."""
        if name.endswith("a.jpg") and once(self.mark):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(name)
