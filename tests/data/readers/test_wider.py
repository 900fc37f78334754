"""Tests of the WIDER FACE reader, writer and training boxes."""

from pathlib import Path

import numpy as np
import pytest

from ssh_tf.data.annotations import ATTRIBUTES, AnnotatedImage
from ssh_tf.data.readers.wider import find_split, read_annotations, write_annotations
from ssh_tf.errors import UserError

ZEROS = "0 0 0 0 0 0 0 0 0 0"
ROW = "10 20 30 40 2 1 1 0 2 1"


def write(folder: Path, text: str | bytes) -> Path:
    file = folder / "wider_face_train_bbx_gt.txt"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A WIDER folder with a split `train` of one picture."""
    for folder in ("WIDER_train/images/0--Parade", "wider_face_split"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "WIDER_train/images/0--Parade/a.jpg").touch()
    write(tmp_path / "wider_face_split", f"0--Parade/a.jpg\n1\n{ROW}\n")
    return tmp_path


def test_official_val_file_has_3226_images_and_39708_faces(test_data: Path):
    images = read_annotations(test_data / "wider/wider_face_split/wider_face_val_bbx_gt.txt")
    assert len(images) == 3226
    assert sum(len(image.boxes) for image in images) == 39708


def test_writing_the_official_val_file_reproduces_its_bytes(test_data: Path, tmp_path: Path):
    official = test_data / "wider/wider_face_split/wider_face_val_bbx_gt.txt"
    write_annotations(tmp_path / "copy.txt", read_annotations(official))
    assert (tmp_path / "copy.txt").read_bytes() == official.read_bytes()


def test_columns_keep_their_order(tmp_path: Path):
    (image,) = read_annotations(write(tmp_path, f"e/a.jpg\n1\n{ROW}\n"))
    assert image.name == "e/a.jpg"
    assert image.boxes.dtype == np.float32
    assert image.boxes.tolist() == [[10, 20, 30, 40]]
    assert dict(zip(ATTRIBUTES, image.attributes[0].tolist(), strict=True)) == {
        "blur": 2,
        "expression": 1,
        "illumination": 1,
        "invalid": 0,
        "occlusion": 2,
        "pose": 1,
    }


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"a.jpg\n0\nb.jpg\n1\n{ROW}\nc.jpg\n0\n", id="no-row-after-zero"),
        pytest.param(f"a.jpg\n0\n{ZEROS}\nb.jpg\n1\n{ROW}\nc.jpg\n0\n{ZEROS}\n", id="zero-row"),
        pytest.param(f"a.jpg\n0\n0 0 0 0\nb.jpg\n1\n{ROW}\nc.jpg\n0\n", id="zero-row-of-a-box"),
        pytest.param(f"a.jpg \n0\t\n{ZEROS} \nb.jpg\n1 \n{ROW} \nc.jpg\n0", id="trailing-blanks"),
        pytest.param(f"a.jpg\r\n0\r\n{ZEROS}\r\nb.jpg\r\n1\r\n{ROW}\r\nc.jpg\r\n0\r\n", id="crlf"),
        pytest.param(f"\n\na.jpg\n\n0\n\n{ZEROS}\n\nb.jpg\n1\n\n{ROW}\nc.jpg\n0\n\n", id="blanks"),
        pytest.param(f"\ufeffa.jpg\n0\nb.jpg\n1\n{ROW}\nc.jpg\n0\n{ZEROS}", id="bom"),
        pytest.param(f"./a.jpg\n0\n./b.jpg\n1\n{ROW}\n.//c.jpg\n0\n", id="dots"),
    ],
)
def test_every_form_found_in_the_wild_reads_the_same(tmp_path: Path, text: str):
    images = read_annotations(write(tmp_path, text))
    assert [image.name for image in images] == ["a.jpg", "b.jpg", "c.jpg"]
    assert [image.boxes.shape for image in images] == [(0, 4), (1, 4), (0, 4)]
    assert [image.attributes.shape for image in images] == [(0, 6), (1, 6), (0, 6)]
    assert images[1].attributes.tolist() == [[2, 1, 1, 0, 2, 1]]


@pytest.mark.parametrize(
    ("row", "box"),
    [
        pytest.param("5 6 0 0 0 0 0 1 0 0", [5, 6, 0, 0], id="zero-size"),
        pytest.param(ZEROS, [0, 0, 0, 0], id="zero-row-that-is-counted"),
        pytest.param("5 6 -7 8 0 0 0 0 0 0", [5, 6, -7, 8], id="negative-size"),
        pytest.param("-5 -6 9000 8 0 0 0 0 0 0", [-5, -6, 9000, 8], id="over-the-border"),
        pytest.param("1.5 2.25 3 1e1", [1.5, 2.25, 3, 10], id="box-alone-in-fractions"),
    ],
)
def test_odd_boxes_are_kept_as_annotated(tmp_path: Path, row: str, box: list[float]):
    (image,) = read_annotations(write(tmp_path, f"a.jpg\n1\n{row}\n"))
    assert image.boxes.tolist() == [box]


def test_attributes_of_a_row_without_them_are_zero(tmp_path: Path):
    (image,) = read_annotations(write(tmp_path, f"a.jpg\n2\n1 2 3 4\n{ROW}\n"))
    assert image.attributes.tolist() == [[0] * 6, [2, 1, 1, 0, 2, 1]]


@pytest.mark.parametrize("name", ["my photos/a b.jpg", "1_2", "größe.png", "0--P/3 5.jpg"])
def test_unusual_names_are_names(tmp_path: Path, name: str):
    (image,) = read_annotations(write(tmp_path, f"{name}\n1\n{ROW}\n"))
    assert image.name == name


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        pytest.param("a.jpg\n1\n1 2 three 4\n", 3, "face row of numbers.*three", id="word"),
        pytest.param("a.jpg\n1\n1 2 3,5 4\n", 3, "face row of numbers", id="decimal-comma"),
        pytest.param("a.jpg\n1\n1 2 3 4 0\n", 3, "4 .*or 10 .*columns, not 5", id="5-columns"),
        pytest.param(f"a.jpg\n1\n{ROW} 0\n", 3, "columns, not 11", id="11-columns"),
        pytest.param("a.jpg\n1\n12\n", 3, "columns, not 1,", id="1-column"),
        pytest.param(f"a.jpg\n2\n{ROW}\nb.jpg\n0\n", 4, "image name.*fewer rows", id="few-rows"),
        pytest.param(f"a.jpg\n1\n{ROW}\n{ROW}\n", 4, "an image name.*more rows", id="many-rows"),
        pytest.param(f"a.jpg\n0\n{ROW}\n", 3, "an image name.*more rows", id="row-after-zero"),
        pytest.param(f"a.jpg\n3\n{ROW}\n{ROW}\n", 4, "3 face rows.*ends after 2", id="cut-off"),
        pytest.param("a.jpg\n", 1, "number of faces.*file ends", id="cut-off-after-name"),
        pytest.param(f"a.jpg\n{ROW}\n", 2, "number of faces", id="no-count"),
        pytest.param("a.jpg\nb.jpg\n0\n", 2, "number of faces.*b.jpg", id="name-for-count"),
        pytest.param("a.jpg\n-1\n", 2, "whole number from 0.*-1", id="negative-count"),
        pytest.param(f"a.jpg\n1.0\n{ROW}\n", 2, "whole number", id="fractional-count"),
        pytest.param("a.jpg\n" + "9" * 5000, 2, "whole number", id="endless-count"),
        pytest.param("a.jpg\n1\nnan 2 3 4\n", 3, "finite", id="nan"),
        pytest.param("a.jpg\n1\n1 2 inf 4\n", 3, "finite", id="inf"),
        pytest.param("a.jpg\n1\n1 2 1e300 4\n", 3, "finite", id="huge"),
        pytest.param("a.jpg\n1\n1 2 3 4 0.9 0 0 0 0 0\n", 3, "whole", id="score-for-attribute"),
        pytest.param("a.jpg\n0\nb.jpg\n0\n./a.jpg\n0\n", 5, "once.*line 1", id="duplicate"),
        pytest.param("../a.jpg\n0\n", 1, "inside the images folder", id="parent"),
        pytest.param("e/../../a.jpg\n0\n", 1, "inside the images folder", id="parent-later"),
        pytest.param("/etc/a.jpg\n0\n", 1, "inside the images folder", id="absolute"),
        pytest.param("C:/a.jpg\n0\n", 1, "inside the images folder", id="drive"),
        pytest.param(".\n0\n", 1, "inside the images folder", id="dot"),
        pytest.param("e\\a.jpg\n0\n", 1, "`/` between", id="backslash"),
        pytest.param("1 2 3 4\n", 1, "an image name", id="row-first"),
        pytest.param(b"a.jpg\n0\n\nb\xff.jpg\n0\n", 4, r"UTF-8 text.*\\xff", id="not-utf-8"),
        pytest.param("a.jpg\n0\n".encode("utf-16-le"), 1, "an image name", id="utf-16"),
        pytest.param("", 1, "empty file", id="empty"),
        pytest.param(" \n\n", 1, "empty file", id="blank"),
    ],
)
def test_malformed_file_is_named_with_its_line(
    tmp_path: Path, text: str | bytes, line: int, message: str
):
    file = write(tmp_path, text)
    with pytest.raises(UserError, match=message) as caught:
        read_annotations(file)
    assert str(caught.value).startswith(f"{file}:{line}: expected ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(file))


def test_absent_annotation_file_is_a_user_error(tmp_path: Path):
    with pytest.raises(UserError, match="does not exist"):
        read_annotations(tmp_path / "none.txt")


def test_reader_returns_what_the_writer_was_given(tmp_path: Path, rng: np.random.Generator):
    images = [
        AnnotatedImage(
            f"{count}--Event/{count} a.jpg",
            rng.normal(0, 300, (count, 4)).astype(np.float32),
            rng.integers(0, 3, (count, 6)),
        )
        for count in (3, 0, 1)
    ]
    write_annotations(tmp_path / "a.txt", images)
    for read, given in zip(read_annotations(tmp_path / "a.txt"), images, strict=True):
        assert read.name == given.name
        np.testing.assert_array_equal(read.boxes, given.boxes)
        np.testing.assert_array_equal(read.attributes, given.attributes)


def test_writer_writes_whole_numbers_without_a_point_and_the_zero_row(tmp_path: Path):
    boxes = np.array([[1, -0.0, 2.5, 1e6]], np.float32)
    faces = AnnotatedImage("a.jpg", boxes, np.array([[2, 0, 0, 1, 0, 0]]))
    none = AnnotatedImage("b.jpg", np.zeros((0, 4), np.float32), np.zeros((0, 6), np.int64))
    write_annotations(tmp_path / "a.txt", [faces, none])
    expected = f"a.jpg\n1\n1 0 2.5 1000000 2 0 0 1 0 0 \nb.jpg\n0\n{ZEROS} \n"
    assert (tmp_path / "a.txt").read_text() == expected


def test_find_split_names_both_places(root: Path):
    found = find_split(root, "train")
    assert found.images_dir == root / "WIDER_train/images"
    assert [image.name for image in read_annotations(found.annotations)] == ["0--Parade/a.jpg"]


def test_find_split_finds_the_real_layout(test_data: Path):
    found = find_split(test_data / "wider_mini", "val")
    for image in read_annotations(found.annotations):
        assert (found.images_dir / image.name).is_file()


def test_missing_root_says_where_wider_comes_from(tmp_path: Path):
    with pytest.raises(UserError, match=r"nowhere does not exist.*shuoyang1213\.me/WIDERFACE"):
        find_split(tmp_path / "nowhere", "train")


def test_missing_split_lists_the_ones_there(root: Path):
    with pytest.raises(UserError, match=r"no split 'val'.*Splits there: train\."):
        find_split(root, "val")


def test_folder_without_any_split_says_where_wider_comes_from(tmp_path: Path):
    with pytest.raises(UserError, match=r"no split 'val'.*shuoyang1213\.me/WIDERFACE"):
        find_split(tmp_path, "val")


def test_empty_images_folder_says_where_wider_comes_from(root: Path):
    (root / "WIDER_val/images").mkdir(parents=True)
    with pytest.raises(UserError, match=r"images is empty.*shuoyang1213\.me/WIDERFACE"):
        find_split(root, "val")


def test_missing_annotation_file_is_named(root: Path):
    (root / "wider_face_split/wider_face_train_bbx_gt.txt").unlink()
    with pytest.raises(UserError, match=r"wider_face_train_bbx_gt\.txt does not exist"):
        find_split(root, "train")
