"""What a build that has not finished keeps in its folder, so that a second call can go on.

Nothing there is trusted: a plan or a note that does not fit is as good as none, and a shard is kept
only if its bytes are those that its note names. Must not import TensorFlow.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from ssh_tf.data.manifest import ShardEntry, file_sha256
from ssh_tf.errors import UserError
from ssh_tf.files import write_text

Plan = Mapping[str, Any]
_FOLDER = ".build"


class Skipped(BaseModel):
    """An image that is left out."""

    name: str
    reason: str


class BuiltShard(ShardEntry):
    """A finished shard: its entry in the manifest, and what the manifest sums up."""

    images_without_faces: NonNegativeInt
    annotated_faces: NonNegativeInt
    skipped: list[Skipped]
    lost: list[str]


class _Note(BaseModel):
    """What a finished shard was made from."""

    model_config = ConfigDict(strict=True)

    plan: dict[str, Any]
    inputs: str
    shard: BuiltShard


class Unfinished:
    """The notes of a build: its plan, and one for each finished shard.

    Args:
        folder: Of the shards.
        plan: What decides their bytes, but for the images.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._folder, self._plan = folder / _FOLDER, dict(plan)

    def begin(self) -> None:
        """Begins a build, or goes on with one of the same plan.

        Raises:
            UserError: If the folder holds part of a build of another plan.
        """
        path = self._folder / "plan.json"
        try:
            other = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            other = None  # None yet, or damaged: each note names the plan that it belongs to.
        known = other if isinstance(other, dict) else self._plan
        if differs := [key for key, value in self._plan.items() if known.get(key) != value]:
            raise UserError(
                f"{self._folder.parent} holds part of another build (other: {', '.join(differs)}). "
                "Name another folder, or delete it."
            )
        self._folder.mkdir(exist_ok=True)
        write_text(path, json.dumps(self._plan))

    def note(self, shard: BuiltShard, inputs: str) -> None:
        """Notes a finished shard and the hash of the images that it was made from."""
        note = _Note(plan=self._plan, inputs=inputs, shard=shard)
        write_text(self._path(shard.name), note.model_dump_json())

    def finished(self, name: str, inputs: str) -> BuiltShard | None:
        """Returns a shard that an earlier call wrote from the same images, if it is whole."""
        try:
            note = _Note.model_validate_json(self._path(name).read_bytes())
        except (OSError, ValidationError):
            return None
        same = (note.plan, note.inputs, note.shard.name) == (self._plan, inputs, name)
        return note.shard if same and is_whole(self._folder.parent, note.shard) else None

    def end(self) -> None:
        """Removes the notes."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def is_whole(folder: Path, shard: ShardEntry) -> bool:
    """Tells whether the bytes of a shard are those that its entry names."""
    file = folder / shard.name
    if not shard.images:  # All its images were left out: there is no file.
        return True
    try:
        return file.stat().st_size == shard.bytes and file_sha256(file) == shard.sha256
    except OSError:
        return False
