"""The images of a part, as a worker reads them: ahead, and an archive in one pass."""

import functools
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from ssh_tf.distributed.listing import Archive, Part
from ssh_tf.distributed.places import is_uri, name_of, open_binary, stamp
from ssh_tf.distributed.rows import Stamp
from ssh_tf.errors import UserError
from ssh_tf.imaging.files import MAX_BYTES, read_image
from ssh_tf.imaging.folders import IMAGE_SUFFIXES


class Image(NamedTuple):
    """An image to detect.

    Attributes:
        source: What its row is called: a path, URI or URL; `ARCHIVE/MEMBER` for one of an archive.
        name: Of its picture, relative to the pictures' folder.
        stamp: Of the file that it is in.
        read: Returns its upright `[H, W, 3]` uint8 RGB pixels, or raises what is wrong.
    """

    source: str
    name: str
    stamp: Stamp
    read: Callable[[], np.ndarray]


class _Named(io.BytesIO):
    """Bytes that know what to be called in an error."""

    name = ""


def images_of(part: Part) -> Iterator[Image]:
    """Yields the images of a part.

    What is wrong with one, or with an archive, is raised by its `read`.
    """
    for each in part.inputs:
        if isinstance(each, Archive):
            yield from _members(each.source)
        else:
            read = _read_uri if is_uri(each.source) else read_image
            yield Image(
                each.source, each.name, stamp(each.source), functools.partial(read, each.source)
            )


def _read_uri(source: str) -> np.ndarray:
    with open_binary(source) as file:
        return read_image(_named(file.read(MAX_BYTES + 1), source))


def _named(content: bytes, name: str) -> _Named:
    file = _Named(content)
    file.name = name
    return file


def _members(archive: str) -> Iterator[Image]:
    """Yields the images of an archive; the last one raises it if the archive ends early."""
    when, folder = stamp(archive), PurePosixPath(name_of(archive)).stem
    try:
        with open_binary(archive) as file, tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                if member.isfile() and _is_image(member.name):
                    name = f"{archive}/{member.name}"
                    read = _reader(tar, member, name)
                    yield Image(name, f"{folder}/{member.name}", when, read)
    except (tarfile.TarError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split()) or "it ends early"
        message = f"{archive} is no whole tar archive ({reason}). Fetch it again."
        yield Image(archive, folder, when, functools.partial(_refuse, UserError(message)))
    except (OSError, UserError) as error:
        yield Image(archive, folder, when, functools.partial(_refuse, error))


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _reader(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> Callable[[], np.ndarray]:
    """Reads a member now, as an archive is read in one pass, and returns what decodes it later."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        return functools.partial(_refuse, UserError(f"{name} leads out of its archive."))
    file = tar.extractfile(member)
    content = b"" if file is None else file.read(MAX_BYTES + 1)
    return functools.partial(read_image, _named(content, name))


def _refuse(error: Exception) -> np.ndarray:
    raise error
