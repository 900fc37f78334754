"""The manifest of a folder of records, which makes it a data set. Must not import TensorFlow."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from ssh_tf import signature
from ssh_tf.errors import UserError
from ssh_tf.files import existing_folder

_CHUNK = 2**20
# A file beside the manifest: no folders, and nothing that leads out.
FileName = Annotated[str, Field(pattern=r"^[^/\\\x00]{1,240}\.tfrecord$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _ListedShard(BaseModel):
    """What every reader needs of a shard in the manifest."""

    model_config = ConfigDict(frozen=True, strict=True)

    name: FileName
    bytes: NonNegativeInt


class ShardEntry(_ListedShard):
    """A shard in the manifest."""

    images: NonNegativeInt
    faces: NonNegativeInt
    sha256: Sha256


class _Manifest(BaseModel):
    """What every reader needs of the manifest; there is more (tfrecords/README.md)."""

    model_config = ConfigDict(strict=True)

    images: NonNegativeInt
    faces: NonNegativeInt
    shards: list[_ListedShard]


def shard_name(name: str, index: int, count: int) -> str:
    """Returns `wider_train-00003-of-00032.tfrecord` for the set `wider_train`."""
    return f"{name}-{index:05d}-of-{count:05d}.tfrecord"


def read_manifest(folder: str | Path) -> Mapping[str, Any]:
    """Reads the manifest of a folder of records and checks that its shards are there.

    Args:
        folder: Made by `ssh-tf records`.

    Returns:
        The manifest: `schema`, `split`, `images`, `faces`, `shards` and more (tfrecords/README.md).

    Raises:
        UserError: If there is no manifest, it is damaged, or a shard is missing or has another
            length.
    """
    folder = existing_folder(folder, "TFRecords made by `ssh-tf records`")
    path = folder / signature.MANIFEST
    if not path.is_file():
        raise UserError(
            f"{folder} has no {signature.MANIFEST}: not a data set, or its build did not finish. "
            "Run `ssh-tf records` (again)."
        )
    manifest = _parse(path)
    for shard in manifest["shards"]:
        file, size = folder / shard["name"], shard["bytes"]
        if not file.is_file() or file.stat().st_size != size:
            raise UserError(
                f"Shard {file} is missing or not {size} bytes long, as the manifest says. "
                "Run `ssh-tf records` again."
            )
    return manifest


def shard_entries(folder: str | Path, manifest: Mapping[str, Any]) -> list[ShardEntry]:
    """Returns all that a manifest says of its shards.

    Args:
        folder: Of the manifest, for the error.
        manifest: From `read_manifest`.

    Raises:
        UserError: If something is missing, of another type or contradicts the totals.
    """
    path = Path(folder) / signature.MANIFEST
    try:
        shards = [ShardEntry.model_validate(shard) for shard in manifest["shards"]]
    except ValidationError as error:
        raise _not_a_manifest(path, _reason(error)) from error
    for key in ("images", "faces"):
        if manifest[key] != sum(getattr(shard, key) for shard in shards):
            raise _not_a_manifest(path, f"{key!r} is not the sum of the shards'")
    return shards


def _parse(path: Path) -> Mapping[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
        schema = manifest["schema"]
        if schema == signature.RECORDS_SCHEMA:
            checked = _Manifest.model_validate(manifest)
            if checked.images and not checked.shards:
                raise ValueError("images, but no shards")
            return dict(manifest)
    except ValidationError as error:
        raise _not_a_manifest(path, _reason(error)) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _not_a_manifest(path, str(error)[:200]) from error
    raise UserError(
        f"{path} has schema {schema!r:.40}; this version reads {signature.RECORDS_SCHEMA}. "
        "Run `ssh-tf records` again."
    )


def _reason(error: ValidationError) -> str:
    first = error.errors()[0]
    *parents, key = map(str, first["loc"])
    return f"{key!r} in {'.'.join(parents) or 'it'}: {first['msg']}"


def _not_a_manifest(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is not a manifest ({reason}). Run `ssh-tf records` again.")


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file of any length, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
