"""The same boxes through every format: WIDER -> COCO -> VOC -> YOLO -> WIDER."""

import json
from pathlib import Path

import numpy as np
import pytest

from ssh_tf.data.annotations import AnnotatedImage, annotated
from ssh_tf.data.readers.wider import write_annotations
from ssh_tf.data.sources import open_annotations
from tests.support.small import encode, picture

SIZE = (64, 96)


def write_coco(folder: Path, entries: list[AnnotatedImage]) -> Path:
    boxes = [(i, box) for i, entry in enumerate(entries) for box in entry.boxes.tolist()]
    data = {
        "images": [{"id": i, "file_name": entry.name} for i, entry in enumerate(entries)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": 1, "bbox": box}
            for n, (i, box) in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "face"}],
    }
    (folder / "faces.json").write_text(json.dumps(data))
    return folder / "faces.json"


def write_voc(folder: Path, entries: list[AnnotatedImage]) -> Path:
    for entry in entries:
        file = (folder / "VOC" / entry.name).with_suffix(".xml")
        file.parent.mkdir(parents=True, exist_ok=True)
        objects = "".join(
            f"<object><name>face</name><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
            f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
            for x, y, w, h in entry.boxes.tolist()
        )
        file.write_text(f"<annotation><folder>VOC</folder>{objects}</annotation>")
    return folder / "VOC"


def write_yolo(folder: Path, entries: list[AnnotatedImage]) -> Path:
    height, width = SIZE
    for entry in entries:
        file = (folder / "labels" / entry.name).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = (
            f"0 {(x + w / 2) / width:.6f} {(y + h / 2) / height:.6f} "
            f"{w / width:.6f} {h / height:.6f}\n"
            for x, y, w, h in entry.boxes.tolist()
        )
        file.write_text("".join(rows))
    return folder / "labels"


def write_wider(folder: Path, entries: list[AnnotatedImage]) -> Path:
    write_annotations(folder / "faces.txt", entries)
    return folder / "faces.txt"


@pytest.fixture
def entries(tmp_path: Path, rng: np.random.Generator) -> list[AnnotatedImage]:
    """Three images below `tmp_path`, with many, one and no face."""
    faces = {"0--A/a.jpg": 40, "0--A/b.jpg": 1, "1--B/c.jpg": 0}
    for name in faces:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encode(picture(*SIZE)))
    return [
        annotated(name, [[*rng.integers(0, 30, 2), *rng.integers(1, 30, 2)] for _ in range(count)])
        for name, count in faces.items()
    ]


def test_boxes_are_equal_within_rounding(tmp_path: Path, entries: list[AnnotatedImage]):
    found = entries
    for write in (write_wider, write_coco, write_voc, write_yolo, write_wider):
        found = open_annotations(write(tmp_path, found), tmp_path).entries
        assert [entry.name for entry in found] == [entry.name for entry in entries]
        for entry, original in zip(found, entries, strict=True):
            # YOLO's six digits of 96 px are 5e-5 px, for the center and for half of the size.
            np.testing.assert_allclose(entry.boxes, original.boxes, atol=2e-4)
