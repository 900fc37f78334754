"""Tests of the file helpers: whole or absent."""

import os
from pathlib import Path

import pytest

from ssh_tf.errors import UserError
from ssh_tf.files import (
    atomic_path,
    existing_file,
    existing_folder,
    output_file,
    output_folder,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_finished_file_replaces_the_old_one_and_nothing_else_stays(tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.png"]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_a_writer_that_fails_leaves_the_old_file_and_no_temporary(
    tmp_path: Path, error: type[BaseException]
):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_writer_that_fails_before_its_first_byte_leaves_nothing(tmp_path: Path):
    def write() -> None:
        with atomic_path(tmp_path / "a.txt"):
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        write()
    assert names(tmp_path) == []


def test_the_temporary_has_the_file_s_suffix_and_folder(tmp_path: Path):
    with atomic_path(tmp_path / "model.v2.keras") as temporary:
        assert (temporary.suffix, temporary.parent) == (".keras", tmp_path)
        temporary.touch()


def test_a_file_name_that_is_no_utf8_is_written_as_it_is(tmp_path: Path):
    write_text(tmp_path / "a.txt", os.fsdecode(b"\xff.jpg"))
    assert (tmp_path / "a.txt").read_bytes() == b"\xff.jpg"


def test_output_file_is_a_path_in_a_folder_one_can_write_into(tmp_path: Path):
    (tmp_path / "file").touch()
    assert output_file(tmp_path / "new" / "a.json") == tmp_path / "new" / "a.json"
    assert names(tmp_path / "new") == []
    with pytest.raises(UserError, match="new is a folder"):
        output_file(tmp_path / "new")
    with pytest.raises(UserError, match="file is not writable"):
        output_file(tmp_path / "file" / "a.json")


def test_text_is_written_as_utf8(tmp_path: Path):
    write_text(tmp_path / "a.txt", "Gesichter: größer\n")
    assert (tmp_path / "a.txt").read_bytes() == "Gesichter: größer\n".encode()


def test_text_that_cannot_be_encoded_leaves_the_old_file(tmp_path: Path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.txt", "\ud800")
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_an_output_folder_is_made_with_its_parents_and_left_empty(tmp_path: Path):
    folder = output_folder(str(tmp_path / "a" / "b"))
    assert folder == tmp_path / "a" / "b"
    assert names(folder) == []


def test_an_output_folder_keeps_what_it_holds(tmp_path: Path):
    (tmp_path / "kept").touch()
    output_folder(tmp_path)
    assert names(tmp_path) == ["kept"]


@pytest.mark.parametrize("below", ["", "below"])
def test_an_output_folder_that_is_a_file_or_lies_in_one_is_refused(tmp_path: Path, below: str):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"Output folder .*file.* is not writable \(.+\)\. Name"):
        output_folder(tmp_path / "file" / below)


def test_an_existing_folder_that_takes_no_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # Permissions alone do not stop a superuser, so the refusal itself is played.
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ssh_tf.files.tempfile.TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"not writable \(Permission denied\)"):
        output_folder(tmp_path)


def test_existing_folder_says_what_it_should_hold(tmp_path: Path):
    assert existing_folder(str(tmp_path), "shards") == tmp_path
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"file is a file, not a folder. Expected a folder with sha"
    ):
        existing_folder(tmp_path / "file", "shards")
    with pytest.raises(UserError, match=r"absent does not exist. Expected a folder with shards."):
        existing_folder(tmp_path / "absent", "shards")


def test_existing_file_says_what_it_should_be(tmp_path: Path):
    (tmp_path / "file").touch()
    assert existing_file(str(tmp_path / "file"), "a list") == tmp_path / "file"
    with pytest.raises(UserError, match=r"is a folder, not a file. Expected a list."):
        existing_file(tmp_path, "a list")
    with pytest.raises(UserError, match=r"absent does not exist. Expected a list."):
        existing_file(tmp_path / "absent", "a list")
