"""Files that are either whole or absent: write aside, then rename. Locks of folders."""

import contextlib
import functools
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import lock_descriptor
from platformdirs import user_cache_dir

from ssh_tf.errors import UserError, explain

_LOG = logging.getLogger(__name__)

_LOCK = ".lock"
_WORKSPACE = ".tmp-"
# A workspace is locked some milliseconds after it was made; one of this age without a lock is dead.
_SETTLED_SECONDS = 5.0
# What writers choose formats by, as in `a.png` and `a.weights.h5`.
_ENDING = re.compile(r"(\.[A-Za-z0-9]{1,12}){0,2}\Z")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path and renames it to `path` on success, when its bytes are on the disk.

    On an exception the temporary file is removed and `path` is left as it was.

    Args:
        path: The final file. Its folder must exist.

    Yields:
        The path to write to, in a folder of its own. It ends like `path`.
    """
    with _workspace(path.parent) as workspace:
        # Of the name only what writers look at: they read `%d` and `:` in it as their own signs.
        temporary = workspace / f"new{_ending(path.name)}"
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush_folder(path.parent)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields a new, empty folder and renames it to `path` on success: `atomic_path` for a folder.

    Args:
        path: The final folder. Its parent must exist; itself it must not.

    Yields:
        The folder to write into.
    """
    with _workspace(path.parent) as workspace:
        temporary = workspace / "new"
        temporary.mkdir()
        yield temporary
        for part in [*temporary.rglob("*"), temporary]:
            _flush_folder(part) if part.is_dir() else _flush(part)
        temporary.rename(path)
        _flush_folder(path.parent)


@contextlib.contextmanager
def atomic_files(folder: Path) -> Iterator[Path]:
    """Yields an empty folder and moves its files into `folder` on success, in order of their names.

    For several files of which the last name makes the others valid. A file of the same name is
    replaced.

    Args:
        folder: Must exist.

    Yields:
        The folder to write into.
    """
    with _workspace(folder) as workspace:
        temporary = workspace / "new"
        temporary.mkdir()
        yield temporary
        files = sorted(temporary.iterdir())
        for file in files:
            _flush(file)
        for file in files:
            file.replace(folder / file.name)
        _flush_folder(folder)


@contextlib.contextmanager
def _workspace(folder: Path) -> Iterator[Path]:
    """Makes a folder for what is not whole yet, and removes it in the end.

    Its name can't be guessed and nobody else may write into it, so no link can wait there.
    """
    _remove_leftovers(folder)
    workspace = Path(tempfile.mkdtemp(prefix=_WORKSPACE, dir=folder))
    try:
        with _locked(workspace):
            yield workspace
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


@functools.cache  # Once per folder and process: a folder of many files is not listed for each.
def _remove_leftovers(folder: Path) -> None:
    """Removes the workspaces of writers that were killed. Their locks ended with them."""
    for workspace in folder.glob(f"{_WORKSPACE}*"):
        with contextlib.suppress(OSError):  # It is another writer's and may go at any moment.
            if time.time() - workspace.lstat().st_mtime < _SETTLED_SECONDS:
                continue
            with _locked(workspace) as state:
                dead = state is True
            if dead:
                shutil.rmtree(workspace)


def _ending(name: str) -> str:
    match = _ENDING.search(name)
    return match[0] if match else ""


def _flush(path: Path) -> None:
    """Waits until a file's bytes are on the disk: after a crash a rename may be there without."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    """The same for a folder's list of names, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` as UTF-8, whole or not at all; names of files may be any bytes."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def output_folder(path: str | Path) -> Path:
    """Makes `path` a folder one can write into, before any long work starts.

    Args:
        path: The folder; missing parents are made.

    Returns:
        The folder as a `Path`.

    Raises:
        UserError: If it can't be made or written into.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        error.filename = None
        raise UserError(f"Output folder {folder} is not writable: {explain(error)}") from error
    return folder


def output_file(path: Path) -> Path:
    """Checks that a file can be written at `path`, before any long work starts.

    Raises:
        UserError: If its folder can't be made or written into, or `path` is a folder.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder. Name a file to write.")
    return output_folder(path.parent) / path.name


def cache_folder() -> Path:
    """Returns the folder for what can be made or fetched again; nobody needs to keep it.

    `SSH_TF_HOME` names it, else it is where the system keeps such things.
    """
    return Path(os.environ.get("SSH_TF_HOME") or user_cache_dir("ssh_tf", appauthor=False))


def existing_folder(path: str | Path, what: str) -> Path:
    """Returns `path` as a `Path`.

    Raises:
        UserError: If it is not a folder; the message says that it should hold `what`.
    """
    folder = Path(path)
    if not folder.is_dir():
        kind = "is a file, not a folder" if folder.exists() else "does not exist"
        raise UserError(f"{folder} {kind}. Expected a folder with {what}.")
    return folder


def existing_file(path: str | Path, what: str) -> Path:
    """Returns `path` as a `Path`.

    Raises:
        UserError: If it is not a file; the message says that it should be `what`.
    """
    file = Path(path)
    if not file.is_file():
        kind = "is a folder, not a file" if file.is_dir() else "is a device or pipe, not a file"
        problem = kind if file.exists() else "does not exist"
        raise UserError(f"{file} {problem}. Expected {what}.")
    return file


@contextlib.contextmanager
def folder_lock(folder: Path, what: str) -> Iterator[None]:
    """Keeps other processes from the same work in a folder.

    The lock is the kernel's, on an open file: it ends with the process, however that ends, and
    knows containers that share the folder apart. The file `.lock` stays; it means nothing by
    itself. Where the file system has no locks, the work goes on without and a line says so.

    Args:
        folder: Must exist and be writable.
        what: What the folder is, for the error: "run", "data set".

    Yields:
        Nothing; the lock is held meanwhile.

    Raises:
        UserError: If another process holds it.
    """
    with _locked(folder) as state:
        if state is False:
            raise UserError(
                f"{folder}: another process works on this {what}. Wait for it, or name another "
                "folder."
            )
        if state is None:
            _LOG.warning(
                "%s: its file system has no locks. Start nothing else on this %s.", folder, what
            )
        yield


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool | None]:
    """Tries to lock a folder; yields whether that worked, None where there are no locks.

    An error of the lock itself never means that another process holds it.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(folder / _LOCK, flags, 0o666)
    try:
        try:
            state = lock_descriptor(descriptor, blocking=False)
        except OSError:  # ENOSYS (Lustre without flock), ENOLCK (NFS without lockd), EOPNOTSUPP
            state = None
        yield state
    finally:
        os.close(descriptor)
