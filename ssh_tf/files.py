"""Files that are either whole or absent: write aside, then rename."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ssh_tf.errors import UserError


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` and renames it to `path` on success.

    On an exception the temporary file is removed and `path` is left as it was.

    Args:
        path: The final file. Its folder must exist.

    Yields:
        The path to write to. It ends like `path`, since writers choose formats by suffixes.
    """
    temporary = path.with_name(f".{os.getpid()}.tmp.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
        raise UserError(
            f"Output folder {folder} is not writable ({error.strerror}). Name another."
        ) from error
    return folder


def output_file(path: Path) -> Path:
    """Checks that a file can be written at `path`, before any long work starts.

    Raises:
        UserError: If its folder can't be made or written into, or `path` is a folder.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder. Name a file to write.")
    return output_folder(path.parent) / path.name


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
        kind = "is a folder, not a file" if file.exists() else "does not exist"
        raise UserError(f"{file} {kind}. Expected {what}.")
    return file


@contextlib.contextmanager
def folder_lock(folder: Path, what: str) -> Iterator[None]:
    """Keeps other processes from the same work in a folder.

    The lock is the kernel's, on an open file: it ends with the process, however that ends. The file
    `.lock` stays; it means nothing by itself.

    Args:
        folder: Must exist and be writable.
        what: What the folder is, for the error: "run", "data set".

    Yields:
        Nothing; the lock is held meanwhile.

    Raises:
        UserError: If another process holds it.
    """
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"{folder}: another process works on this {what}. Wait for it, or name another "
                "folder."
            ) from error
        yield
