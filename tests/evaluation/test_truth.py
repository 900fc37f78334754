"""Ground truth: the official files, text annotations, and parts of them."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from ssh_tf.data.annotations import AnnotatedImage
from ssh_tf.errors import UserError
from ssh_tf.evaluation.truth import (
    SETTINGS,
    all_faces,
    load_ground_truth,
    read_truth,
    subset,
)
from tests.support.small import encode, picture

Table = Sequence[Sequence[float]]

A, B = [0, 0, 9, 9], [100, 0, 9, 9]


def _image(name: str, boxes: Table, invalid: Sequence[int]) -> AnnotatedImage:
    attributes = np.zeros((len(boxes), 6), np.int64)
    attributes[:, 3] = invalid
    return AnnotatedImage(name, np.array(boxes, np.float32).reshape(-1, 4), attributes)


def test_all_faces_ignores_invalid_and_degenerate_ones() -> None:
    image = _image("e/a.jpg", [A, B, [5, 5, 0, 4], [5, 5, 4, -1], [7, 7, 9, 3]], [0, 1, 0, 0, 0])
    truth = all_faces([image])
    assert truth.names == ["e/a"]
    assert truth.counted["all"][0].tolist() == [0, 4]
    assert len(truth.faces[0]) == 5


def test_subset_keeps_the_named_images_in_order() -> None:
    images = [_image(f"e/{name}.jpg", [A, B], [0, 1]) for name in "abc"]
    part = subset(all_faces(images), ["e/c.jpg", "e/a"])
    assert part.names == ["e/a", "e/c"]
    assert [kept.tolist() for kept in part.counted["all"]] == [[0], [0]]
    assert len(part.faces) == 2


def test_subset_names_an_unknown_image() -> None:
    with pytest.raises(UserError, match=r"no image e/z \(1 of 2 names unknown\)"):
        subset(all_faces([_image("e/a.jpg", [A], [0])]), ["e/a", "e/z.jpg"])


def _cells(values: Sequence[object]) -> np.ndarray:
    cells = np.empty((len(values), 1), object)
    cells[:, 0] = values
    return cells


def _write_official(folder: Path) -> None:
    """Two events with two images and one, in the official files' nesting."""
    boxes = [_cells([np.array([A, B], np.int32), np.array([A], np.int32)]), _cells([np.array([B])])]
    files = [_cells(["a", "b"]), _cells(["c"])]
    common = {
        "event_list": _cells(["e", "f"]),
        "file_list": _cells(files),
        "face_bbx_list": _cells(boxes),
    }
    savemat(folder / "wider_face_val.mat", common)
    kept = [_cells([np.array([[1], [2]], np.uint8), np.zeros((0, 1))]), _cells([np.array([[1]])])]
    for setting in SETTINGS:
        savemat(folder / f"wider_{setting}_val.mat", {**common, "gt_list": _cells(kept)})


def test_ground_truth_is_read_from_the_official_files(tmp_path: Path) -> None:
    _write_official(tmp_path)
    truth = load_ground_truth(tmp_path)
    assert truth.names == ["e/a", "e/b", "f/c"]
    assert [faces.tolist() for faces in truth.faces] == [[A, B], [A], [B]]
    assert truth.faces[0].dtype == np.int32
    assert {s: [k.tolist() for k in kept] for s, kept in truth.counted.items()} == {
        setting: [[0, 1], [], [0]] for setting in SETTINGS
    }


def test_missing_or_damaged_ground_truth_is_named(tmp_path: Path) -> None:
    _write_official(tmp_path)
    (tmp_path / "wider_hard_val.mat").write_bytes(b"no")
    with pytest.raises(UserError, match=r"wider_hard_val\.mat: expected a MATLAB file with"):
        load_ground_truth(tmp_path)
    (tmp_path / "wider_hard_val.mat").unlink()
    with pytest.raises(UserError, match=r"wider_hard_val\.mat does not exist"):
        load_ground_truth(tmp_path)


def test_official_ground_truth_has_the_published_counts(test_data: Path) -> None:
    truth = load_ground_truth(test_data / "wider" / "ground_truth")
    assert len(truth.names) == 3226
    assert sum(map(len, truth.faces)) == 39708
    counts = {setting: sum(map(len, kept)) for setting, kept in truth.counted.items()}
    assert counts == {"easy": 7211, "medium": 13319, "hard": 31958}


FORMS = {
    "boxes.csv": "image,x,y,w,h\ne/a.jpg,10,12,20,24\n",
    "boxes.json": json.dumps(
        {
            "images": [{"id": 1, "file_name": "e/a.jpg", "width": 96, "height": 64}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 12, 20, 24]}],
            "categories": [{"id": 1, "name": "face"}],
        }
    ),
    "boxes.txt": "e/a.jpg\n1\n10 12 20 24\n",
    # 10/96, ...: center and size as fractions.
    "labels/e/a.txt": f"0 {20 / 96} {24 / 64} {20 / 96} {24 / 64}\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_annotations_of_any_form_are_a_ground_truth(tmp_path: Path, name: str) -> None:
    for path in (tmp_path / "images" / "e" / "a.jpg", tmp_path / name):
        path.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "images" / "e" / "a.jpg").write_bytes(encode(picture()))
    (tmp_path / name).write_text(FORMS[name])
    path = tmp_path / "labels" if name.startswith("labels") else tmp_path / name
    truth = read_truth(path, tmp_path / "images")
    assert truth.names == ["e/a"]
    assert truth.faces[0].tolist() == [[10, 12, 20, 24]]
    assert truth.upright == (name != "boxes.txt")
