"""Tests of the files of boxes: their formats, and that they are whole however the work ends."""

import csv
import io
import json
from typing import Any

import pytest

from ssh_tf.inference.writers import Entry, Writer, coco, csv_rows, json_array, json_lines

FACES = [{"box": [1.5, 2, 11.5, 22], "score": 0.9}, {"box": [0, 0, 4, 4], "score": 0.1}]
ENTRIES: list[Entry] = [
    {"image": "a,b.jpg", "height": 30, "width": 40, "faces": FACES},
    {"image": "bad\n\udcff.jpg", "error": "is not an image"},
    {"image": "none.jpg", "height": 5, "width": 6, "faces": []},
    {"video": "v.mp4", "frame": 3, "seconds": 0.12, "height": 8, "width": 9, "faces": FACES[:1]},
]


def written(writer: Writer, entries: list[Entry]) -> str:
    file = io.StringIO()
    with writer(file) as write:
        for entry in entries:
            write(entry)
    return file.getvalue()


@pytest.mark.parametrize("entries", [[], ENTRIES[:1], ENTRIES])
def test_json_is_an_array_of_the_entries(entries: list[Entry]):
    text = written(json_array, entries)
    assert json.loads(text) == entries
    assert text.isascii()
    assert len(text.splitlines()) == (len(entries) + 2 if entries else 1)


def test_json_lines_are_there_at_once():
    file = io.StringIO()
    with json_lines(file) as write:
        for i, entry in enumerate(ENTRIES):
            write(entry)
            assert json.loads(file.getvalue().splitlines()[i]) == entry


def test_csv_has_a_row_per_face():
    rows = list(csv.DictReader(io.StringIO(written(csv_rows, ENTRIES))))
    assert [row["image"] for row in rows] == ["a,b.jpg", "a,b.jpg", "v.mp4"]
    assert [float(rows[0][key]) for key in ("x1", "y1", "x2", "y2", "score")] == [
        *FACES[0]["box"],
        0.9,
    ]
    assert [row["frame"] for row in rows] == ["", "", "3"]


def test_coco_has_sizes_boxes_and_scores():
    data = json.loads(written(coco, ENTRIES))
    assert data["categories"] == [{"id": 1, "name": "face"}]
    assert data["images"] == [
        {"id": 1, "file_name": "a,b.jpg", "height": 30, "width": 40},
        {"id": 2, "file_name": "none.jpg", "height": 5, "width": 6},
        {"id": 3, "file_name": "v.mp4#3", "height": 8, "width": 9},
    ]
    assert [(row["id"], row["image_id"]) for row in data["annotations"]] == [(1, 1), (2, 1), (3, 3)]
    assert data["annotations"][0] == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [1.5, 2, 10, 20],
        "area": 200,
        "iscrowd": 0,
        "score": 0.9,
    }
    assert json.loads(written(coco, [])) == {"categories": data["categories"]} | {
        "annotations": [],
        "images": [],
    }


@pytest.mark.parametrize("writer", [json_array, coco])
def test_an_interrupted_file_is_whole(writer: Any):
    file = io.StringIO()

    def interrupted() -> None:
        with writer(file) as write:
            write(ENTRIES[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.getvalue() == written(writer, ENTRIES[:1])


def test_pycocotools_reads_the_coco_file(tmp_path):
    coco_api = pytest.importorskip("pycocotools.coco")
    (tmp_path / "c.json").write_text(written(coco, ENTRIES))
    data = coco_api.COCO(str(tmp_path / "c.json"))
    assert len(data.getImgIds()) == 3
    assert [row["bbox"] for row in data.loadAnns(data.getAnnIds(imgIds=1))] == [
        [1.5, 2, 10, 20],
        [0, 0, 4, 4],
    ]
