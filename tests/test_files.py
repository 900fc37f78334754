"""Tests of the file helpers: whole or absent."""

import errno
import os
import time
from pathlib import Path

import pytest

from ssh_tf import files
from ssh_tf.errors import UserError
from ssh_tf.files import (
    atomic_folder,
    atomic_path,
    existing_file,
    existing_folder,
    folder_lock,
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


def test_the_temporary_has_the_file_s_ending_and_file_system(tmp_path: Path):
    with atomic_path(tmp_path / "model.v2.keras") as temporary:
        assert temporary.name == "new.v2.keras"
        assert temporary.parent.parent == tmp_path
        temporary.touch()


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("m" * 246 + ".jpg", ".jpg"),
        ("顔" * 80 + ".png", ".png"),
        ("a.weights.h5", ".weights.h5"),
        ("12:30 %03d.mp4", ".mp4"),
        ("a." + "m" * 250, ""),
        ("README", ""),
    ],
)
def test_any_name_can_be_written_and_only_its_ending_reaches_the_writer(
    tmp_path: Path, name: str, ending: str
):
    with atomic_path(tmp_path / name) as temporary:
        assert temporary.name == f"new{ending}"
        temporary.touch()
    assert names(tmp_path) == [name]


def test_bytes_are_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    there: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda _: there.append((tmp_path / "a.txt").exists()))
    write_text(tmp_path / "a.txt", "new")
    assert there == [False, True]  # the file, then the folder that lists it


def test_a_file_has_the_permissions_of_any_other(tmp_path: Path):
    write_text(tmp_path / "a.txt", "new")
    (tmp_path / "b.txt").touch()
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path):
    with atomic_folder(tmp_path / "1") as temporary:
        (temporary / "variables").mkdir()
        (temporary / "variables" / "data").write_text("new")
        assert not (tmp_path / "1").exists()
    assert (tmp_path / "1" / "variables" / "data").read_text() == "new"

    def write(error: type[BaseException] | None = None) -> None:
        with atomic_folder(tmp_path / ("2" if error else "1")) as temporary:
            (temporary / "a").touch()
            if error:
                raise error

    with pytest.raises(KeyboardInterrupt):
        write(KeyboardInterrupt)
    with pytest.raises(OSError, match="not empty"):
        write()  # the folder is there already
    assert names(tmp_path) == ["1"]
    assert names(tmp_path / "1") == ["variables"]


def left_over(folder: Path, name: str, age: float) -> Path:
    path = folder / name
    path.mkdir()
    (path / "new.png").write_text("half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_killed_writer_s_file_is_removed_by_the_next_and_a_living_one_s_is_not(tmp_path: Path):
    left_over(tmp_path, ".tmp-dead", 1e4)
    left_over(tmp_path, ".tmp-young", 0)
    living = left_over(tmp_path, ".tmp-living", 0)
    with folder_lock(living, "file"):
        os.utime(living, (time.time() - 1e4,) * 2)
        write_text(tmp_path / "a.txt", "new")
    assert names(tmp_path) == [".tmp-living", ".tmp-young", "a.txt"]


def test_where_no_file_can_be_locked_none_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(files, "lock_descriptor", without_locks(errno.ENOSYS))
    left_over(tmp_path, ".tmp-dead", 1e4)
    write_text(tmp_path / "a.txt", "new")
    assert names(tmp_path) == [".tmp-dead", "a.txt"]


def without_locks(code: int):
    def lock_descriptor(*_: object, **__: object) -> bool:
        raise OSError(code, os.strerror(code))

    return lock_descriptor


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_worked_on_and_named(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(files, "lock_descriptor", without_locks(code))
    with folder_lock(tmp_path, "run"):
        pass
    assert caplog.messages == [
        f"{tmp_path}: its file system has no locks. Start nothing else on this run."
    ]


def test_a_folder_is_locked_once_and_free_again_afterwards(tmp_path: Path):
    for _ in range(2):
        with folder_lock(tmp_path, "run"):
            with (
                pytest.raises(UserError, match="another process works on this run"),
                folder_lock(tmp_path, "run"),
            ):
                pass
            (tmp_path / "other").mkdir(exist_ok=True)
            with folder_lock(tmp_path / "other", "run"):
                pass


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path):
    (tmp_path / ".lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"), folder_lock(tmp_path, "run"):
        pass
    assert not (tmp_path / "victim").exists()


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
    with pytest.raises(UserError, match=r"Output folder .*file.* not writable: .+\. (Name|A part)"):
        output_folder(tmp_path / "file" / below)


def test_an_existing_folder_that_takes_no_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # Permissions alone do not stop a superuser, so the refusal itself is played.
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ssh_tf.files.tempfile.TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"not writable: Permission denied. Check"):
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
    with pytest.raises(UserError, match=r"null is a device or pipe, not a file. Expected a list."):
        existing_file("/dev/null", "a list")
    with pytest.raises(UserError, match=r"absent does not exist. Expected a list."):
        existing_file(tmp_path / "absent", "a list")
