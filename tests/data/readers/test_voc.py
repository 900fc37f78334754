"""Tests of the Pascal VOC reader."""

from pathlib import Path

import numpy as np
import pytest

from ssh_tf.data.annotations import AnnotatedImage
from ssh_tf.data.readers.voc import read_voc
from ssh_tf.errors import UserError

FOLDER = Path("Annotations")
IMAGES = {"a": "a.png", "deep/b": "deep/b.jpg"}


def face(xmin: float, ymin: float, xmax: float, ymax: float, more: str = "", name: str = "face"):
    return (
        f"<object>\n<name>{name}</name>{more}<bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin>"
        f"<xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>\n"
    )


def document(*objects: str, head: str = "<filename>a.jpg</filename>") -> bytes:
    return f"<annotation>\n{head}\n{''.join(objects)}</annotation>".encode()


def read(*contents: bytes, **options: object) -> list[AnnotatedImage]:
    names = ["a.xml", "deep/b.xml"]
    files = [(FOLDER / name, content) for name, content in zip(names, contents, strict=False)]
    return read_voc(files, FOLDER, **{"images": IMAGES, **options})


def test_pixels_count_from_1_and_the_last_one_belongs_to_the_box():
    # The devkit: an object over the whole image of 96 x 64 px is 1, 1, 96, 64.
    (image,) = read(document(face(1, 1, 96, 64), face(11, 13, 30, 36)))
    assert image.boxes.tolist() == [[0, 0, 96, 64], [10, 12, 20, 24]]
    assert image.name == "a.png"


def test_pixels_count_from_0_where_any_file_has_a_0():
    first, second = read(document(face(10, 12, 30, 36)), document(face(0, 5, 9, 9)))
    assert first.boxes.tolist() == [[10, 12, 20, 24]]
    assert second.boxes.tolist() == [[0, 5, 9, 4]]
    assert second.name == "deep/b.jpg"


def test_objects_of_other_classes_and_parts_of_objects_are_no_faces():
    head = "<part><name>head</name><bndbox><xmin>5</xmin></bndbox></part>"
    (image,) = read(document(face(1, 2, 3, 4, name="dog"), face(11, 13, 30, 36, more=head)))
    assert image.boxes.tolist() == [[10, 12, 20, 24]]
    assert image.place(0) == "Annotations/a.xml:5"


def test_a_difficult_object_is_flagged_as_invalid():
    difficult = "<difficult>1</difficult>"
    (image,) = read(document(face(1, 1, 9, 9, more=difficult), face(1, 1, 9, 9)))
    assert image.attributes.tolist() == [[0, 0, 0, 1, 0, 0], [0] * 6]
    assert image.given == ("invalid",)


def test_an_image_may_have_no_face_and_a_stated_size():
    head = "<size><width>96</width><height>64</height><depth>3</depth></size>"
    (image,) = read(document(head=head))
    assert image.boxes.shape == (0, 4)
    assert image.declared_size == (64, 96)
    zeros = head.replace("96", "0")
    assert read(document(head=zeros))[0].declared_size is None


def test_without_an_image_of_its_name_the_stated_one_counts():
    (image,) = read(document(face(1, 1, 9, 9)), images={"b": "b.jpg"})
    assert image.name == "a.jpg"
    (image,) = read(document(face(1, 1, 9, 9)), images=None)
    assert image.name == "a.jpg"


def test_utf_16_and_latin_1_are_read():
    text = '<?xml version="1.0" encoding="{}"?><annotation><filename>é.jpg</filename></annotation>'
    for encoding in ("utf-16", "iso-8859-1"):
        (image,) = read(text.format(encoding).encode(encoding), images={})
        assert image.name == "é.jpg"


BOMB = b'<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><annotation>&b;</annotation>'
OUTSIDE = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'
BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", r"a\.xml:1: not an XML file"),
    "cut": (document(face(1, 2, 3, 4))[:-20], r"a\.xml:\d+: not an XML file"),
    "JSON": (b"{}", r"a\.xml:1: not an XML file"),
    "HTML": (b"<html><body/></html>", "expected <annotation>"),
    "billion laughs": (BOMB, r"a\.xml:1: document types and entities are refused"),
    "external entity": (OUTSIDE, r"a\.xml:1: document types and entities are refused"),
    "deep": (b"<a>" * 100_000, r"a\.xml:1: more than 100 tags in each other"),
    "unknown encoding": (b'<?xml version="1.0" encoding="klingon"?><annotation/>', "not an XML"),
    "no xmax": (document(face(1, 2, 3, 4)).replace(b"xmax", b"xm"), r"xml:3: expected px as xmax"),
    "text": (document(face("left", 2, 3, 4)), "expected px as xmin, received 'left'"),  # type: ignore[arg-type]
    "not a number": (document(face(float("nan"), 2, 3, 4)), "expected px as xmin"),
    "infinite": (document(face(1, 2, float("inf"), 4)), "expected px as xmax"),
    "other classes": (document(face(1, 2, 3, 4, name="dog")), "class 'face'. Classes there: 'dog'"),
}


@pytest.mark.parametrize(("content", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_malformed_or_hostile_ends_in_one_line(content: bytes, says: str):
    with pytest.raises(UserError, match=says) as error:
        read(content)
    assert "\n" not in str(error.value)


def test_an_image_outside_the_folder_is_refused():
    with pytest.raises(UserError, match=r"a\.xml: there is no image a\."):
        read(document(face(1, 2, 3, 4), head=""), images={})
    # Only the last part of a path counts: programs write the path on the machine of the annotator.
    (image,) = read(document(head="<filename>C:\\photos\\..\\x.jpg</filename>"), images={})
    assert image.name == "x.jpg"


def test_corners_may_have_fractions():
    (image,) = read(document(face(1.5, 2.25, 10.5, 20.25)))
    np.testing.assert_array_equal(image.boxes, [[0.5, 1.25, 10, 19]])
