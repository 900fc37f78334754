"""Where files are: on a file system of this machine, or in a store that a URI names (S3, GCS)."""

import functools
import io
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote, urlsplit

from ssh_tf.distributed.rows import Stamp
from ssh_tf.errors import UserError
from ssh_tf.imaging.fetch import is_url


def is_uri(source: str) -> bool:
    """Whether `source` names a file of a store, such as `s3://bucket/a.jpg`, and no web page."""
    return "://" in source and not is_url(source)


def open_binary(source: str) -> IO[bytes]:
    """Opens a file, local or of a store, to be read from its start to its end.

    Raises:
        OSError: If it can't be read.
        UserError: If there is no such kind of store.
    """
    if not is_uri(source):
        return Path(source).open("rb")
    store, path = _store_and_path(source)
    stream: IO[bytes] = store.open_input_stream(path, compression=None)
    return stream


def open_seekable(source: str) -> IO[bytes]:
    """Opens a file as `open_binary` does, for readers of lines and those that jump to its end."""
    if not is_uri(source):
        return Path(source).open("rb")
    store, path = _store_and_path(source)
    return io.BufferedReader(store.open_input_file(path))


def stamp(source: str) -> Stamp:
    """Returns size and time of change of a file; nothing for web pages and what is not there."""
    if is_url(source):
        return None, None
    try:
        if is_uri(source):
            store, path = _store_and_path(source)
            info = store.get_file_info(path)
            return info.size, info.mtime_ns
        status = Path(source).stat()
        return status.st_size, status.st_mtime_ns
    except (OSError, UserError):
        return None, None


def list_store(folder: str) -> list[str]:
    """Returns the URIs of all files below a folder of a store, sorted; hidden ones are left out.

    Raises:
        OSError: If it can't be read.
        UserError: If there is no such kind of store.
    """
    from pyarrow import fs

    store, path = _store_and_path(folder)
    path = path.rstrip("/")
    found = store.get_file_info(fs.FileSelector(path, recursive=True))
    names = sorted(info.path[len(path) + 1 :] for info in found if info.type == fs.FileType.File)
    seen = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    base, _, query = folder.partition("?")
    return [f"{base.rstrip('/')}/{quote(name)}{'?' * bool(query)}{query}" for name in seen]


def is_folder(uri: str) -> bool:
    """Whether a URI names a folder, or what stores without folders take for one.

    Raises:
        UserError: If there is nothing there, or no such kind of store.
    """
    from pyarrow import fs

    store, path = _store_and_path(uri)
    try:
        kind = store.get_file_info(path.rstrip("/")).type
    except OSError as error:
        raise UserError(f"{uri} can't be read ({_line(error)}).") from error
    if kind == fs.FileType.NotFound:
        raise UserError(f"{uri} does not exist. Name an image or a folder of images.")
    return bool(kind == fs.FileType.Directory)


def name_of(source: str) -> str:
    """Returns a path below a folder of results for what a list names: `bucket/a.jpg`, `data/b.jpg`.

    Nothing in it leads out of that folder.
    """
    place = urlsplit(source) if "://" in source else None
    text = source if place is None else f"{place.netloc}/{unquote(place.path)}"
    parts = [part for part in Path(text).parts if part not in ("/", "..", ".")]
    return "/".join(parts) or "image"


def _store_and_path(uri: str) -> tuple[Any, str]:
    place = urlsplit(uri)
    path = f"{place.netloc}{unquote(place.path)}"
    return _store(f"{place.scheme}://{place.netloc}", place.query), path


@functools.cache  # Making one can take a request over the network.
def _store(address: str, query: str) -> Any:
    import pyarrow as pa
    from pyarrow import fs

    try:
        return fs.FileSystem.from_uri(f"{address}/{'?' * bool(query)}{query}")[0]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{address} can't be reached ({_line(error)}).") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
