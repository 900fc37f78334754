"""Tests of the COCO reader."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssh_tf.data.annotations import AnnotatedImage
from ssh_tf.data.readers.coco import read_coco
from ssh_tf.errors import UserError

FILE = Path("faces.json")


def small() -> dict[str, Any]:
    return {
        "images": [
            {"id": 7, "file_name": "a/b.jpg", "width": 96, "height": 64},
            {"id": 3, "file_name": "empty.jpg"},
        ],
        "annotations": [
            {"id": 10, "image_id": 7, "category_id": 2, "bbox": [1, 2.5, 30, 40], "iscrowd": 0},
            {"id": 11, "image_id": 7, "category_id": 1, "bbox": [0, 0, 90, 60], "iscrowd": 0},
            {"id": 12, "image_id": 7, "category_id": 2, "bbox": [5, 6, 7, 8], "iscrowd": 1},
            {"id": 13, "image_id": 7, "category_id": 2, "bbox": [9, 9, 9, 9], "iscrowd": 0},
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "face"}],
    }


def read(data: object, **options: str) -> list[AnnotatedImage]:
    return read_coco(json.dumps(data).encode(), FILE, **options)


def test_faces_are_read_in_the_file_s_order_without_other_classes_and_crowds():
    first, second = read(small())
    assert (first.name, second.name) == ("a/b.jpg", "empty.jpg")
    assert first.boxes.tolist() == [[1, 2.5, 30, 40], [9, 9, 9, 9]]
    assert first.place(1) == "faces.json: annotation 13"
    assert (first.declared_size, second.declared_size) == ((64, 96), None)
    assert second.boxes.shape == (0, 4)
    assert first.given == ()


def test_another_class_can_be_named():
    assert read(small(), label="person")[0].boxes.tolist() == [[0, 0, 90, 60]]


def test_pycocotools_reads_the_same_boxes(tmp_path: Path):
    coco = pytest.importorskip("pycocotools.coco")
    (tmp_path / "faces.json").write_text(json.dumps(small()))
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = coco.COCO(str(tmp_path / "faces.json"))
    for entry, item in zip(read(small()), theirs.loadImgs([7, 3]), strict=True):
        ids = theirs.getAnnIds(imgIds=item["id"], catIds=theirs.getCatIds(["face"]), iscrowd=False)
        boxes = [annotation["bbox"] for annotation in theirs.loadAnns(ids)]
        assert entry.name == item["file_name"]
        np.testing.assert_array_equal(entry.boxes, np.array(boxes).reshape(-1, 4))


def changed(group: str, index: int, **values: object) -> dict[str, Any]:
    data = small()
    data[group][index].update(values)
    return data


BROKEN: dict[str, tuple[object, str]] = {
    "a list": ([], "expected a COCO file.*received a list"),
    "a detection result": ([{"image_id": 1, "score": 0.5}], "received a list"),
    "no annotations": ({"images": [], "categories": []}, "`annotations` is not a list"),
    "images as text": (small() | {"images": ["a.jpg"]}, "`images` is not a list of objects"),
    "no box": (changed("annotations", 0, bbox=None), "annotation 10: expected `bbox`"),
    "three numbers": (changed("annotations", 0, bbox=[1, 2, 3]), "annotation 10: .*received"),
    "text in a box": (changed("annotations", 0, bbox=[1, 2, 3, "4"]), "annotation 10"),
    "true in a box": (changed("annotations", 0, bbox=[1, 2, 3, True]), "annotation 10"),
    "infinite box": (changed("annotations", 0, bbox=[1, 2, 3, float("inf")]), "annotation 10"),
    "huge number": (changed("annotations", 0, bbox=[1, 2, 3, 10**400]), "annotation 10"),
    "unknown image": (changed("annotations", 0, image_id=99), "annotation 10: its image_id 99"),
    "image as a list": (changed("annotations", 0, image_id=[7]), "annotation 10: .*`image_id`"),
    "category as a list": (changed("annotations", 0, category_id=[2]), r"annotations\[0\]"),
    "equal ids": (changed("images", 1, id=7), "two images have the same id"),
    "no name": (changed("images", 1, file_name=None), "image 3: expected its path"),
    "outside": (changed("images", 1, file_name="../a.jpg"), "image 3: .*stays inside"),
    "no such class": (changed("categories", 1, name="dog"), "Classes there: 'dog', 'person'"),
}


@pytest.mark.parametrize(("data", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_malformed_is_named(data: object, says: str):
    with pytest.raises(UserError, match=says):
        read(data)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b'{"images": [', b"[" * 100_000, b"9" * 10_000, b'{"a": 1' + b"0" * 9000],
    ids=["empty", "not UTF-8", "cut", "deep", "long number", "long number, cut"],
)
def test_hostile_json_ends_in_one_line(content: bytes):
    with pytest.raises(UserError, match=r"^faces\.json") as error:
        read_coco(content, FILE)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
