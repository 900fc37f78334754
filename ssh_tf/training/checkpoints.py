"""Checkpoints of a run: whole ones only, the newest readable one first."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from ssh_tf.errors import UserError
from ssh_tf.training.state import State

_LOG = logging.getLogger(__name__)

_KEPT = 3


class Checkpoints:
    """Writes and reads the checkpoints of a run.

    A checkpoint holds the weights, the optimiser's state, the moving averages and the number of
    updates, from which the order of the data follows. TensorFlow checks checksums when it reads.

    Args:
        folder: Where they lie.
        state: What they hold.
    """

    def __init__(self, folder: Path, state: State) -> None:
        self.folder = folder
        self._step = tf.Variable(0, trainable=False, dtype=tf.int64)
        parts = {"network": state.network, "optimizer": state.optimizer, "step": self._step}
        self._checkpoint = tf.train.Checkpoint(**parts, averages=state.averages)
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(folder), max_to_keep=_KEPT, checkpoint_name="ckpt"
        )

    def restore(self) -> int:
        """Restores the newest checkpoint that can be read.

        Returns:
            The number of updates it holds; 0 where there is no checkpoint.

        Raises:
            UserError: If none of those there can be read, or one is of another kind of run.
        """
        found = list(self._newest_first())
        for path in found:
            try:
                self._checkpoint.restore(str(path)).assert_existing_objects_matched()
            except (tf.errors.OpError, IndexError) as error:  # IndexError: a file that ends early
                reason = str(error).split("\n")[0]
                _LOG.warning(
                    "Checkpoint %s can't be read (%s). Trying the one before.", path, reason
                )
                continue
            except (AssertionError, ValueError) as error:
                reason = str(error).split("\n")[0]
                raise UserError(
                    f"Checkpoint {path} does not fit this run ({reason}). Name another folder."
                ) from error
            _LOG.info("Continuing from %s", path)
            return int(self._step.numpy())
        if found:
            raise UserError(
                f"None of the {len(found)} checkpoints in {self.folder} can be read. Delete them "
                "to begin again, or name another folder."
            )
        return 0

    def save(self, step: int) -> None:
        """Writes a checkpoint and deletes the oldest beyond three.

        Raises:
            UserError: If it can't be written; those before are untouched.
        """
        self._step.assign(step)
        try:
            self._manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            for half in self.folder.glob(f"ckpt-{step}[._]*"):
                shutil.rmtree(half) if half.is_dir() else half.unlink()
            newest = next(self._newest_first(), None)
            kept = f"{newest.name} is whole" if newest else "There is none before it"
            reason = str(error).split("\n")[0][:200]
            raise UserError(
                f"The checkpoint of step {step} can't be written to {self.folder} ({reason}). "
                f"{kept}. Free some space; the same command continues."
            ) from error

    def _newest_first(self) -> Iterator[Path]:
        """The prefixes of all checkpoints in the folder."""
        paths = [path.with_suffix("") for path in self.folder.glob("ckpt-*.index")]
        yield from sorted(paths, key=lambda path: int(path.name.split("-")[1]), reverse=True)
