"""What is to be detected, listed piece by piece, and its division into parts."""

import contextlib
import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from ssh_tf.distributed.places import is_folder, is_uri, list_store, name_of, open_seekable
from ssh_tf.errors import UserError, explain
from ssh_tf.imaging.fetch import is_url
from ssh_tf.imaging.folders import IMAGE_SUFFIXES, is_image_file, no_image, walk_files

# Columns of a Parquet list that hold paths or URIs; the first that is there counts.
COLUMNS = ("image", "path", "uri", "url")

_ARCHIVE, _TEXT, _TABLE = ".tar", ".txt", ".parquet"
# Photos of a part: few of a small job, so that every worker has some; not more of a large one than
# a worker does in a minute or two, which is what the death of a worker costs.
_LEAST, _MOST, _PARTS = 8, 1000, 64
_ROWS = 65_536  # of a list that are read at a time


@dataclasses.dataclass(frozen=True)
class Photo:
    """An image file.

    Attributes:
        source: Path, URI or URL.
        name: What its picture is called, relative to the pictures' folder.
    """

    source: str
    name: str


@dataclasses.dataclass(frozen=True)
class Archive:
    """A tar file with images, such as a shard of WebDataset."""

    source: str


Input = Photo | Archive


@dataclasses.dataclass(frozen=True)
class Part:
    """What one worker does at a time and one file of results is about: photos, or an archive."""

    number: int
    inputs: tuple[Input, ...]

    @property
    def file_name(self) -> str:
        """Of its results."""
        return f"part-{self.number:08}.parquet"

    @property
    def key(self) -> str:
        """Tells parts of different inputs apart."""
        names = "\0".join(each.source for each in self.inputs)
        return hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()


def list_inputs(paths: Sequence[str], skipped: list[Path]) -> Iterator[Input]:
    """Yields the photos and archives that paths name, in the order of `detect`.

    Args:
        paths: Images, archives (`.tar`), folders of both, text files with a path or URI per line
            (`.txt`), Parquet files with a column of them (`.parquet`); each may be a URI.
        skipped: Receives the files of folders that are left out; see `walk_files`.

    Raises:
        UserError: If one does not exist, is not what its name says, or has no image.
    """
    for path in paths:
        suffix = Path(path).suffix.lower()
        if suffix == _TEXT:
            yield from map(_listed, _lines(path))
        elif suffix == _TABLE:
            yield from map(_listed, _table_rows(path))
        elif is_url(path):
            yield Photo(path, Path(name_of(path)).name)
        elif is_uri(path):
            yield from _stored(path)
        elif Path(path).is_dir():
            yield from _folder(Path(path), skipped)
        elif Path(path).is_file():
            yield _input(path, Path(path).name)
        else:
            raise UserError(f"{path} does not exist. Name an image or a folder of images.")


def divide(inputs: Iterable[Input]) -> tuple[Iterator[Part], int]:
    """Divides inputs into parts: the same inputs into the same parts on any cluster.

    Returns:
        parts: Made as they are needed.
        total: Number of photos; 0 where that takes too long to know.
    """
    left = iter(inputs)
    first = list(itertools.islice(left, _PARTS * _MOST))
    all_there = len(first) < _PARTS * _MOST
    if all_there:  # A photo that is named twice is one photo, as in every call of `detect`.
        first = list(dict.fromkeys(first))
    size = min(max(-(-len(first) // _PARTS), _LEAST), _MOST)
    archives = any(isinstance(each, Archive) for each in first)
    total = len(first) if all_there and not archives else 0
    return _parts(itertools.chain(first, left), size), total


def _parts(inputs: Iterable[Input], size: int) -> Iterator[Part]:
    numbers = itertools.count()
    for archive, group in itertools.groupby(inputs, lambda each: isinstance(each, Archive)):
        while chunk := tuple(itertools.islice(group, 1 if archive else size)):
            yield Part(next(numbers), chunk)


def _input(source: str, name: str) -> Input:
    archive = Path(source.partition("?")[0]).suffix.lower() == _ARCHIVE
    return Archive(source) if archive else Photo(source, name)


def _listed(source: str) -> Input:
    return _input(source, name_of(source))


def _stored(uri: str) -> Iterator[Input]:
    """Yields what a URI names: a file, or the images and archives of a folder."""
    if not is_folder(uri):
        yield _input(uri, Path(name_of(uri)).name)
        return
    start, empty = len(name_of(uri)) + 1, True
    for file in list_store(uri):
        name = name_of(file)
        if Path(name).suffix.lower() in (*IMAGE_SUFFIXES, _ARCHIVE):
            empty = False
            yield _input(file, name[start:])
    if empty:
        raise no_image(uri)


def _folder(folder: Path, skipped: list[Path]) -> Iterator[Input]:
    empty = True
    for file in walk_files(folder, skipped):
        if is_image_file(file) or (file.suffix.lower() == _ARCHIVE and file.is_file()):
            empty = False
            yield _input(str(file), file.relative_to(folder).as_posix())
        else:
            skipped.append(file)
    if empty:
        raise no_image(folder)


def _lines(path: str) -> Iterator[str]:
    with _opened(path) as file:
        for line in file:
            if text := line.decode("utf-8", "surrogateescape").strip():
                yield text


def _table_rows(path: str) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _opened(path) as file:
        try:
            table = pq.ParquetFile(file)
        except pa.ArrowException as error:
            raise UserError(f"{path} is no Parquet file ({error}).") from error
        there = [name for name in COLUMNS if name in table.schema_arrow.names]
        if not there:
            known = ", ".join(table.schema_arrow.names[:9])
            raise UserError(
                f"{path} has no column {', '.join(COLUMNS)} with paths or URIs (it has: {known})."
            )
        for batch in table.iter_batches(_ROWS, columns=there[:1]):
            yield from (str(text) for text in batch.column(0).to_pylist() if text)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    try:
        file = open_seekable(path)
    except OSError as error:
        raise UserError(f"{path} can't be read: {explain(error)}") from error
    with file:
        yield file
