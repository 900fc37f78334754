"""Tests of the manifest of a folder of records."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssh_tf.data.manifest import read_manifest, shard_entries, shard_name
from ssh_tf.errors import UserError


def test_shard_names_sort_in_their_order():
    names = [shard_name("wider_train", i, 100) for i in range(100)]
    assert names[3] == "wider_train-00003-of-00100.tfrecord"
    assert names == sorted(names)


SHARD = {"name": "a.tfrecord", "images": 1, "faces": 1, "bytes": 5, "sha256": "0" * 64}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one shard of 5 bytes and its manifest."""
    (tmp_path / "a.tfrecord").write_bytes(b"12345")
    write_manifest(tmp_path)
    return tmp_path


def write_manifest(folder: Path, **changes: Any) -> None:
    manifest = {"schema": 1, "split": "a", "images": 1, "faces": 1, "shards": [SHARD], **changes}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def write_shard(folder: Path, **changes: Any) -> None:
    write_manifest(folder, shards=[SHARD | changes])


def test_a_whole_folder_gives_its_manifest(folder: Path):
    assert read_manifest(folder)["images"] == 1


BROKEN: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: (f / "manifest.json").unlink(), "has no manifest.json: not a data set, or its"),
    (lambda f: (f / "manifest.json").write_text("{"), "is not a manifest"),
    (lambda f: (f / "manifest.json").write_bytes(b"\xff\xfe"), "is not a manifest"),
    (lambda f: (f / "manifest.json").write_text("[1]"), "is not a manifest"),
    (lambda f: (f / "manifest.json").write_text("{}"), r"is not a manifest \('schema'\)"),
    (lambda f: write_manifest(f, images="1"), "is not a manifest .*'images' in it"),
    (lambda f: write_manifest(f, images=True), "is not a manifest .*'images' in it"),
    (lambda f: write_manifest(f, faces=-1), "is not a manifest .*'faces' in it"),
    (lambda f: write_manifest(f, shards=[]), r"is not a manifest \(images, but no shards"),
    (lambda f: write_manifest(f, shards={}), "is not a manifest .*'shards' in it"),
    (lambda f: write_manifest(f, shards=["a.tfrecord"]), r"is not a manifest .*'0' in shards"),
    (lambda f: write_shard(f, bytes="5"), r"is not a manifest .*'bytes' in shards\.0"),
    (lambda f: write_shard(f, name="../a.tfrecord"), r"is not a manifest .*'name' in shards\.0"),
    (lambda f: write_shard(f, name="a" * 300 + ".tfrecord"), r"is not a manifest .*'name' in"),
    (lambda f: write_shard(f, name="/a.tfrecord"), r"is not a manifest .*'name' in shards\.0"),
    (lambda f: write_shard(f, name="manifest.json"), r"is not a manifest .*'name' in shards\.0"),
    (lambda f: (f / "manifest.json").write_text("[" * 100_000), "is not a manifest"),
    (lambda f: write_manifest(f, schema=2), "has schema 2; this version reads 1"),
    (lambda f: (f / "a.tfrecord").unlink(), "a.tfrecord is missing or not 5 bytes long"),
    (lambda f: (f / "a.tfrecord").write_bytes(b"1234"), "is missing or not 5 bytes long"),
    (lambda f: (f / "a.tfrecord").write_bytes(b"123456"), "is missing or not 5 bytes long"),
]


@pytest.mark.parametrize(
    "changes", [{"sha256": "xyz"}, {"sha256": None}, {"images": -1}, {"faces": 2}]
)
def test_what_only_some_readers_need_is_checked_by_them(folder: Path, changes: dict[str, Any]):
    write_shard(folder, **changes)
    (key,) = changes
    with pytest.raises(UserError, match=rf"manifest\.json is not a manifest \('{key}' i"):
        shard_entries(folder, read_manifest(folder))


@pytest.mark.parametrize(("damage", "says"), BROKEN)
def test_a_folder_that_is_not_whole_is_refused(
    folder: Path, damage: Callable[[Path], object], says: str
):
    damage(folder)
    with pytest.raises(UserError, match=rf"^[^\n]*{says}[^\n]*Run `ssh-tf records`"):
        read_manifest(folder)


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"absent does not exist. Expected a folder with TFRecords"):
        read_manifest(tmp_path / "absent")
