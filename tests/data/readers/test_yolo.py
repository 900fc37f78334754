"""Tests of the reader of YOLO's labels."""

from pathlib import Path

import numpy as np
import pytest

from ssh_tf.data.annotations import AnnotatedImage
from ssh_tf.data.readers.yolo import class_names, read_yolo
from ssh_tf.errors import UserError

IMAGES = {"a": "a.png", "b": "b.jpg"}


def read(folder: Path, label: str | None = None, **texts: str) -> list[AnnotatedImage]:
    files = [(folder / f"{name}.txt", text.encode()) for name, text in texts.items()]
    return read_yolo(files, folder, images=IMAGES, size=lambda name: (64, 96), label=label)


def test_boxes_are_centers_and_sizes_as_fractions(tmp_path: Path):
    # 96 x 64 px: center (48, 16), size 24 x 32.
    first, second = read(tmp_path, a="0 0.5 0.25 0.25 0.5\n\n")
    np.testing.assert_allclose(first.boxes, [[36, 0, 24, 32]])
    assert (first.name, first.place(0)) == ("a.png", f"{tmp_path / 'a.txt'}:1")
    assert (second.name, second.boxes.shape) == ("b.jpg", (0, 4))


def test_an_empty_file_is_an_image_without_a_face(tmp_path: Path):
    assert all(image.boxes.shape == (0, 4) for image in read(tmp_path, a=""))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "person\nface\n"),
        ("data.yaml", "names: [person, face]\n"),
        ("data.yaml", "names:\n  0: person\n  1: face\n"),
    ],
)
def test_names_of_classes_choose_the_face(tmp_path: Path, name: str, text: str):
    (tmp_path / name).write_text(text)
    rows = "0 0.5 0.5 1 1\n1 0.25 0.5 0.5 1\n"
    assert read(tmp_path, a=rows)[0].boxes.tolist() == [[0, 0, 48, 64]]
    assert read(tmp_path, "person", a=rows)[0].boxes.tolist() == [[0, 0, 96, 64]]


def test_names_are_also_found_up_to_two_folders_up(tmp_path: Path):
    (tmp_path / "data.yaml").write_text("names: [face]\n")
    for folder in ("labels", "labels/train", "train/labels"):
        assert class_names(tmp_path / folder) == {"0": "face"}
    assert class_names(tmp_path / "a" / "b" / "labels") == {}


def test_without_names_classes_are_numbers(tmp_path: Path):
    rows = "3 0.5 0.5 1 1\n"
    assert read(tmp_path, "3", a=rows)[0].boxes.tolist() == [[0, 0, 96, 64]]
    with pytest.raises(UserError, match="Classes there: '3'"):
        read(tmp_path, a=rows)


BROKEN = {
    "pixels": ("0 48 16 24 32", r"a\.txt:1: expected .*fractions"),
    "four columns": ("0 0.5 0.5 0.5", r"a\.txt:1: expected a row `class x y w h`"),
    "landmarks": ("0 0.5 0.5 0.5 0.5" + " 0.1" * 10, r"a\.txt:1: expected a row"),
    "name as class": ("face 0.5 0.5 0.5 0.5", r"a\.txt:1: expected a row"),
    "text": ("0 0.5 0.5 0.5 wide", r"a\.txt:1: expected a row"),
    "not a number": ("\n0 0.5 0.5 0.5 nan", r"a\.txt:2: expected a row"),
}


@pytest.mark.parametrize(("text", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_a_malformed_row_is_named(tmp_path: Path, text: str, says: str):
    with pytest.raises(UserError, match=says):
        read(tmp_path, a=text)


def test_a_label_without_an_image_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"c\.txt: there is no image c\."):
        read(tmp_path, c="0 0.5 0.5 0.5 0.5")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "names: face",
        "names: [[face]]",
        "[" * 5000,
        "names: {0: *a}",
        "names: 7",
        "a: b: c",
        "nc: 1",
    ],
)
def test_malformed_or_hostile_names_end_in_one_line(tmp_path: Path, text: str):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(UserError, match=r"data\.yaml: expected `names`") as error:
        class_names(tmp_path)
    assert "\n" not in str(error.value)
