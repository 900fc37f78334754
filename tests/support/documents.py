"""The documents' blocks of code, and a folder with everything that their examples name."""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

from ssh_tf.evaluation.truth import SETTINGS
from tests.support.small import WIDER_BOXES, encode, picture, write_wider

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    path
    for pattern in ("*.md", "docs/*.md", "export/*.md", "tfrecords/*.md")
    for path in sorted(ROOT.glob(pattern))
    if path.name != "CHANGELOG.md"
]
_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+?) -->\n+)?^```(?P<language>\w*)\n(?P<text>.*?)^```",
    re.M | re.S,
)
# Languages of blocks that are no program.
_DATA = ("text", "csv", "json", "yaml", "bibtex")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        document: Its file, from the repository's root.
        language: Nothing for commands.
        text: What is in it.
        reason: Why it can't be run by the tests, if it can't.
    """

    document: str
    language: str
    text: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.document}: {self.text.splitlines()[0]}"


def blocks(language: str) -> list[Block]:
    """Returns the documents' blocks of a language; those without one are commands."""
    found = []
    for path in DOCUMENTS:
        for match in _BLOCK.finditer(path.read_text(encoding="utf-8")):
            block = Block(
                path.relative_to(ROOT).as_posix(),
                {"sh": "", "bash": "", "shell": ""}.get(match["language"], match["language"]),
                match["text"],
                match["reason"],
            )
            assert block.language in ("", "python", *_DATA), block
            found += [block] if block.language == language else []
    return found


def write_world(folder: Path) -> None:
    """Writes what the documents' examples are given: photos, boxes in every format, data sets."""
    for split in ("train", "val"):
        write_wider(folder / "WIDER", split)
        write_wider(folder / "WIDER_LAYOUT", split)
    _write_official(folder / "MATS")
    _write_curves(folder / "CURVES")
    for name in ("photos", "PHOTOS", "images", "JPEGImages"):
        (folder / name).mkdir()
        (folder / name / "a.jpg").write_bytes(encode(picture()))
        (folder / name / "b.png").write_bytes(encode(picture(seed=1), ".png"))
    for name in ("photo.jpg", "a.jpg", "photo.png", "other.png"):
        (folder / name).write_bytes(encode(picture(), Path(name).suffix))
    _write_boxes(folder)
    writer = cv2.VideoWriter(
        str(folder / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (96, 64)
    )
    for seed in range(3):
        writer.write(picture(seed=seed))
    writer.release()
    shutil.copytree(ROOT / "configs", folder / "configs")


def _write_boxes(folder: Path) -> None:
    """Writes one face in `a.jpg` and none in `b.png`, as CSV, COCO, VOC and YOLO have it."""
    (folder / "boxes.csv").write_text("image,x,y,w,h\na.jpg,10,12,20,24\nb.png,,,,\n")
    coco = {
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": 96, "height": 64},
            {"id": 2, "file_name": "b.png", "width": 96, "height": 64},
        ],
        "categories": [{"id": 1, "name": "face"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 12, 20, 24]}],
    }
    for name in ("faces.json", "annotations.json"):
        (folder / name).write_text(json.dumps(coco))
    (folder / "Annotations").mkdir()
    size = "<size><width>96</width><height>64</height></size>"
    box = "<xmin>11</xmin><ymin>13</ymin><xmax>30</xmax><ymax>36</ymax>"
    face = f"<object><name>face</name><bndbox>{box}</bndbox></object>"
    for name, inside in (("a", size + face), ("b", size)):
        path = folder / "Annotations" / f"{name}.xml"
        path.write_text(f"<annotation>{inside}</annotation>")
    (folder / "labels").mkdir()
    (folder / "labels" / "classes.txt").write_text("face\n")
    (folder / "labels" / "a.txt").write_text("0 0.208 0.375 0.208 0.375\n")
    (folder / "RESULTS").mkdir()
    for name in ("a.jpg", "b.png"):
        text = f"{name}\n1\n10 12 20 24 0.9\n"
        (folder / "RESULTS" / name).with_suffix(".txt").write_text(text)


def _write_official(folder: Path) -> None:
    """Writes the official `.mat` files for `WIDER`: every face counts in every setting."""
    names = [name.partition("/") for name in WIDER_BOXES]
    events = list(dict.fromkeys(event for event, _, _ in names))
    files = [[Path(file).stem for e, _, file in names if e == event] for event in events]
    boxes = [[WIDER_BOXES[name] for name in WIDER_BOXES if name.startswith(e)] for e in events]
    common = {
        "event_list": _cells(events),
        "file_list": _cells([_cells(each) for each in files]),
        "face_bbx_list": _cells(
            [_cells([np.array(rows, float).reshape(-1, 4) for rows in each]) for each in boxes]
        ),
    }
    counted = [_cells([np.arange(len(rows))[:, None] + 1 for rows in each]) for each in boxes]
    folder.mkdir()
    savemat(folder / "wider_face_val.mat", common)
    for setting in SETTINGS:
        savemat(folder / f"wider_{setting}_val.mat", {**common, "gt_list": _cells(counted)})


def _write_curves(folder: Path) -> None:
    """Writes published curves of one method."""
    folder.mkdir()
    for setting in SETTINGS:
        curve = {"pr_cruve": np.array([[1.0, 0.5], [0.5, 1.0]]), "legend_name": "Other"}
        savemat(folder / f"wider_pr_info_other_{setting}_val.mat", curve)


def _cells(values: Sequence[object]) -> np.ndarray:
    cells = np.empty((len(values), 1), object)
    cells[:, 0] = values
    return cells
