"""Checkpoints of a run: whole ones only, the newest readable one first."""

import contextlib
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

from ssh_tf.errors import UserError, explain
from ssh_tf.files import atomic_files

_LOG = logging.getLogger(__name__)

_KEPT = 3
_INDEX = re.compile(r"ckpt-(\d+)\.index")


class Checkpoints:
    """Writes and reads the checkpoints of a run.

    TensorFlow checks checksums when it reads. Its `CheckpointManager` is not used: it takes the
    folder's name for a pattern, and deletes the files of other runs whose names match.

    Args:
        folder: Where they are.
        **parts: What they hold, or the part of it that is to be read: `network`, `optimizer`,
            `averages`. The order of the data follows from the number of updates.
    """

    def __init__(self, folder: Path, **parts: Any) -> None:
        self.folder = folder
        self._step = tf.Variable(0, trainable=False, dtype=tf.int64)
        self._checkpoint = tf.train.Checkpoint(**parts, step=self._step)

    def restore(self) -> int:
        """Restores the newest checkpoint that can be read.

        Returns:
            The number of updates it holds; 0 where there is no checkpoint.

        Raises:
            UserError: If none of those there can be read, or one is of another kind of run.
        """
        steps = self.steps()
        for step in reversed(steps):
            path = self.folder / f"ckpt-{step}"
            try:
                with _without_pattern(self.folder) as folder:
                    status = self._checkpoint.read(str(folder / path.name))
                    status.assert_existing_objects_matched().expect_partial()
            except (AssertionError, ValueError) as error:
                raise UserError(
                    f"Checkpoint {path} does not fit this run ({_reason(error)}). Name another "
                    "folder."
                ) from error
            # A file that ends early is an IndexError, one with other bytes any of the others.
            except (tf.errors.OpError, IndexError, RuntimeError, DecodeError) as error:
                _LOG.warning("Checkpoint %s can't be read (%s): skipped.", path, _reason(error))
                continue
            _LOG.info("Restored %s", path)
            return int(self._step.numpy())
        if steps:
            raise UserError(
                f"None of the {len(steps)} checkpoints in {self.folder} can be read. Delete them "
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
            self.folder.mkdir(exist_ok=True)
            # The index makes a checkpoint, and its name comes after the data's.
            with atomic_files(self.folder) as folder:
                self._checkpoint.write(str(folder / f"ckpt-{step}"))
        except (tf.errors.OpError, OSError) as error:
            steps = self.steps()
            before = f"ckpt-{steps[-1]} is whole" if steps else "There is none before it"
            raise UserError(
                f"The checkpoint of step {step} can't be written to {self.folder}: "
                f"{explain(error)} {before}; the same command continues."
            ) from error
        self._delete_old()

    def steps(self) -> list[int]:
        """Returns the updates that the checkpoints hold, ascending."""
        if not self.folder.is_dir():
            return []
        names = (_INDEX.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(name[1]) for name in names if name)

    def _delete_old(self) -> None:
        """Keeps the newest three, and removes what a killed process has left behind."""
        newest = {f"ckpt-{step}" for step in self.steps()[-_KEPT:]}
        # Backwards, so that an index is deleted before its data.
        for path in sorted(self.folder.glob("ckpt-*"), reverse=True):
            if path.name.split(".")[0] in newest:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _reason(error: Exception) -> str:
    return str(error).split("\n")[0][:200]


@contextlib.contextmanager
def _without_pattern(folder: Path) -> Iterator[Path]:
    """Yields another name of a folder, if TensorFlow would read its own as a pattern of names."""
    if not set(str(folder.absolute())) & set("*?[]\\"):
        yield folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        link = Path(temporary) / "checkpoints"
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield link
