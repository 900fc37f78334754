"""Tests of the CSV reader."""

from pathlib import Path

import numpy as np
import pytest

from ssh_tf.data.annotations import AnnotatedImage
from ssh_tf.data.readers.csv import read_csv
from ssh_tf.errors import UserError


def entries_of(text: str | bytes) -> list[AnnotatedImage]:
    return read_csv(text if isinstance(text, bytes) else text.encode(), Path("boxes.csv"))


CSV = """image,x,y,w,h,blur
a.jpg,10,12,20,24,2
b/c.png,,,,,
a.jpg,1.5,2,3,4,
"""


@pytest.mark.parametrize("text", [CSV, CSV.replace("\n", "\r\n"), "\ufeff" + CSV, CSV.rstrip("\n")])
def test_csv_rows_of_an_image_are_gathered(text: str):
    first, second = entries_of(text)
    assert (first.name, second.name) == ("a.jpg", "b/c.png")
    np.testing.assert_array_equal(first.boxes, [[10, 12, 20, 24], [1.5, 2, 3, 4]])
    np.testing.assert_array_equal(first.attributes[:, 0], [2, 0])
    assert first.given == ("blur",)
    assert [first.place(i) for i in range(2)] == ["boxes.csv:2", "boxes.csv:4"]
    assert second.boxes.shape == (0, 4)


def test_corners_are_read_as_well_as_sizes():
    (image,) = entries_of("image,x1,y1,x2,y2\na.jpg,10,12,30,36\n")
    assert image.boxes.tolist() == [[10, 12, 20, 24]]
    assert image.given == ()


BROKEN_CSV = {
    "empty": ("", r"csv:1: expected a header with image,x,y,w,h"),
    "no header": ("a.jpg,1,2,3,4\n", r"csv:1: expected a header .*, received 'a.jpg,1,2,3,4'"),
    "unknown column": ("image,x,y,w,h,mood\n", "csv:1: expected a header"),
    "column twice": ("image,x,y,w,h,x\n", "csv:1: expected a header"),
    "header alone": ("image,x,y,w,h\n", "no rows"),
    "text as number": ("image,x,y,w,h\na.jpg,1,2,3,tall\n", "csv:2: expected a number of px as h"),
    "sizes and corners": ("image,x,y,w,h,x1,y1,x2,y2\n", "csv:1: expected a header"),
    "half a box": ("image,x,y,w,h\na.jpg,1,2,,4\n", "csv:2: expected a number of px as w"),
    "not a number": ("image,x,y,w,h\na.jpg,nan,2,3,4\n", "csv:2: expected a number of px as x"),
    "infinite": ("image,x,y,w,h\na.jpg,1,inf,3,4\n", "csv:2: expected a number of px as y"),
    "half an attribute": (
        "image,x,y,w,h,blur\na.jpg,1,2,3,4,0.5\n",
        "csv:2: expected a whole number as blur",
    ),
    "too few columns": ("image,x,y,w,h\na.jpg,1,2,3\n", "csv:2: the row has another number"),
    "too many columns": ("image,x,y,w,h\na.jpg,1,2,3,4,5\n", "csv:2: the row has another number"),
    "outside": ("image,x,y,w,h\n../a.jpg,1,2,3,4\n", "csv:2: expected an image name that stays"),
    "absolute": ("image,x,y,w,h\n/a.jpg,1,2,3,4\n", "csv:2: expected an image name that stays"),
    "no name": ("image,x,y,w,h\n,1,2,3,4\n", "csv:2: expected an image name that stays"),
    "open quote": ('image,x,y,w,h\n"a.jpg,1,2,3,4\n', r"csv:\d: not a row of CSV"),
    "latin-1": (b"image,x,y,w,h\n\xe9.jpg,1,2,3,4\n", "expected UTF-8"),
}


@pytest.mark.parametrize(("text", "says"), BROKEN_CSV.values(), ids=BROKEN_CSV.keys())
def test_a_malformed_csv_is_named_with_its_line(text: str | bytes, says: str):
    with pytest.raises(UserError, match=says):
        entries_of(text)
