"""Detections as Parquet: a row per image, of which every reader of tables makes sense.

A row is an entry of `ssh_tf.inference.writers` with what else has to be known of an image: where
its file stood then, which model looked at it, and on which machine.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssh_tf.files import atomic_path
from ssh_tf.inference.results import Detections
from ssh_tf.inference.writers import Entry

OK, FAILED = "ok", "failed"

_KEY = b"ssh_tf"  # of what a file says of itself
_BATCH = 256  # rows that are read at a time

Row = dict[str, Any]
# Size in bytes and time of change in ns of the file that an image is in; None where not known.
Stamp = tuple[int | None, int | None]
UNKNOWN: Stamp = (None, None)


def schema() -> Any:
    """Returns Arrow's schema of the rows."""
    import pyarrow as pa

    box = pa.list_(pa.field("item", pa.float32(), nullable=False), 4)
    name = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            pa.field("image", pa.string(), nullable=False),  # path or URI
            pa.field("status", name, nullable=False),  # OK or FAILED
            pa.field("error", pa.string()),  # the reason of FAILED
            pa.field("height", pa.int32()),  # px of the upright image
            pa.field("width", pa.int32()),
            pa.field("boxes", pa.list_(box)),  # [D, 4] x1, y1, x2, y2, px, best first
            pa.field("scores", pa.list_(pa.float32())),  # [D]
            pa.field("picture", pa.string()),  # file
            pa.field("crops", pa.list_(pa.string())),  # files
            pa.field("bytes", pa.int64()),  # of the file that the image is in
            pa.field("modified_ns", pa.int64()),
            pa.field("model", name),  # the detector's fingerprint
            pa.field("node", name),  # Ray's machine
        ]
    )


def row_of(entry: Entry, stamp: Stamp, *, picture: str | None = None, model: str, node: str) -> Row:
    """Returns the row of an entry.

    Args:
        entry: Of an image.
        stamp: Of the file that it is in.
        picture: The file that was drawn, if one was.
        model: The detector's fingerprint.
        node: Ray's machine.
    """
    faces, crops = entry.get("faces"), entry.get("crops")
    return {
        "image": _text(entry["image"]),
        "status": FAILED if "error" in entry else OK,
        "error": _text(entry.get("error")),
        "height": entry.get("height"),
        "width": entry.get("width"),
        "boxes": None if faces is None else [face["box"] for face in faces],
        "scores": None if faces is None else [face["score"] for face in faces],
        "picture": _text(picture),
        "crops": None if crops is None else list(map(_text, crops)),
        "bytes": stamp[0],
        "modified_ns": stamp[1],
        "model": model,
        "node": node,
    }


def _text(name: str | None) -> str | None:
    """Makes a name that is no Unicode, as file systems allow, one that a table can hold."""
    return None if name is None else name.encode("utf-8", "backslashreplace").decode()


def entry_of(row: Row) -> Entry:
    """Returns the entry that `row_of` was given."""
    if row["status"] != OK:
        return {"image": row["image"], "error": row["error"]}
    boxes = np.array(row["boxes"], np.float32).reshape(-1, 4)
    found = Detections(boxes, np.array(row["scores"], np.float32), (row["height"], row["width"]))
    crops = {} if row["crops"] is None else {"crops": row["crops"]}
    return {"image": row["image"], **found.to_dict(), **crops}


def write_rows(path: Path, rows: Sequence[Row], about: Mapping[str, Any]) -> None:
    """Writes a file of rows, whole or not at all.

    Args:
        path: The file.
        rows: Of `row_of`.
        about: What the file says of itself, for `read_about`.

    Raises:
        OSError: If it can't be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(list(rows), schema().with_metadata({_KEY: json.dumps(about)}))
    with atomic_path(path) as temporary:
        try:
            pq.write_table(table, temporary, compression="zstd")
        except OSError as error:  # Arrow's has no path, and a text of its own.
            if not error.errno:
                raise
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def read_about(path: Path) -> dict[str, Any]:
    """Returns what a file says of itself; nothing if there is none, or none of these."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with contextlib.suppress(OSError, ValueError, pa.ArrowException):
        metadata = pq.read_schema(path).metadata or {}
        return dict(json.loads(metadata.get(_KEY, b"{}")))
    return {}


def read_rows(path: Path) -> Iterator[Row]:
    """Yields the rows of a file, a few in memory at a time.

    Raises:
        OSError: If it can't be read.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH):
            yield from batch.to_pylist()


def finished_rows(path: Path) -> list[Row]:
    """Returns the rows of a file whose images did not fail.

    A file that is absent, damaged or has other columns has none.
    """
    import pyarrow as pa

    try:
        return [row for row in read_rows(path) if row["status"] == OK]
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return []


def files_of(row: Row) -> list[str]:
    """Returns the files that belong to a row."""
    return [*filter(None, [row["picture"]]), *(row["crops"] or ())]


def stamp_of(row: Row) -> Stamp:
    """Returns the stamp that `row_of` was given."""
    return row["bytes"], row["modified_ns"]


def count_faces(rows: Iterable[Row], score: float) -> int:
    """Returns the number of faces with at least this score."""
    return sum(face["score"] >= score for row in rows for face in entry_of(row).get("faces", ()))
