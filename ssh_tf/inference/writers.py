"""Detections as text files, written entry by entry: JSON, JSON lines, CSV and COCO.

An entry is what `gallery` and `video` yield: `image` or `video` (its path), for a video `frame` and
`seconds`, then `height`, `width` and `faces` (each a `box` and a `score`), or `error` alone.
"""

import contextlib
import csv
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, TextIO

Entry = dict[str, Any]
Sink = Callable[[Entry], None]
Writer = Callable[[TextIO], contextlib.AbstractContextManager[Sink]]

_CSV_COLUMNS = ("image", "frame", "seconds", "x1", "y1", "x2", "y2", "score")


def source_of(entry: Entry) -> str:
    """Returns the path of the image or video that an entry is of."""
    return str(entry["image"] if "image" in entry else entry["video"])


@contextlib.contextmanager
def json_array(file: TextIO) -> Iterator[Sink]:
    """Writes one JSON array, an entry per line, which is whole also after an exception."""
    before = "[\n"

    def write(entry: Entry) -> None:
        nonlocal before
        file.write(before + json.dumps(entry))
        before = ",\n"

    try:
        yield write
    finally:
        file.write("[]\n" if before == "[\n" else "\n]\n")


@contextlib.contextmanager
def json_lines(file: TextIO) -> Iterator[Sink]:
    """Writes one JSON object per line, each at once: others may read along."""

    def write(entry: Entry) -> None:
        file.write(json.dumps(entry) + "\n")
        file.flush()

    yield write


@contextlib.contextmanager
def csv_rows(file: TextIO) -> Iterator[Sink]:
    """Writes a row per face; an image without faces has none."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)

    def write(entry: Entry) -> None:
        start = (source_of(entry), entry.get("frame", ""), entry.get("seconds", ""))
        for face in entry.get("faces", ()):
            writer.writerow((*start, *face["box"], face["score"]))

    yield write


@contextlib.contextmanager
def coco(file: TextIO) -> Iterator[Sink]:
    """Writes a COCO data set: images, one category, an annotation with a score per face.

    A frame of a video is called `<video>#<frame>`. Entries with an error are left out. The list of
    images waits in a temporary file, so that memory stays flat.
    """
    images = annotations = 0
    file.write('{"categories": [{"id": 1, "name": "face"}],\n"annotations": [')
    with tempfile.TemporaryFile("w+", encoding="ascii") as waiting:

        def write(entry: Entry) -> None:
            nonlocal images, annotations
            if "height" not in entry:
                return
            waiting.write(",\n" if images else "\n")
            images += 1
            name = source_of(entry) + (f"#{entry['frame']}" if "frame" in entry else "")
            size = {"height": entry["height"], "width": entry["width"]}
            waiting.write(json.dumps({"id": images, "file_name": name, **size}))
            for face in entry["faces"]:
                file.write(",\n" if annotations else "\n")
                annotations += 1
                file.write(json.dumps(_annotation(annotations, images, face)))

        try:
            yield write
        finally:
            file.write('],\n"images": [')
            waiting.seek(0)
            shutil.copyfileobj(waiting, file)
            file.write("]}\n")


def _annotation(number: int, image: int, face: dict[str, Any]) -> dict[str, Any]:
    x1, y1, x2, y2 = face["box"]
    width, height = round(x2 - x1, 2), round(y2 - y1, 2)
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": [x1, y1, width, height],
        "area": round(width * height, 2),
        "iscrowd": 0,
        "score": face["score"],
    }
