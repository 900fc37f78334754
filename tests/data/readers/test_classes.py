"""Tests of how the class that is the face is found."""

import pytest

from ssh_tf.data.readers.classes import face_class
from ssh_tf.errors import UserError


@pytest.mark.parametrize(
    ("classes", "wanted", "found"),
    [
        ({"face", "person"}, None, "face"),
        ({"Face"}, None, "Face"),
        ({"person", "head"}, "head", "head"),
        ({"person", "Head"}, "head", "Head"),
        ({"0"}, None, "0"),
        ({"0", "1"}, "1", "1"),
        (set(), None, None),
        (set(), "head", None),
        ({"face", "Face"}, "Face", "Face"),
    ],
)
def test_the_class_is_the_named_one_or_else_face(
    classes: set[str], wanted: str | None, found: str | None
):
    assert face_class(classes, wanted, "set") == found


@pytest.mark.parametrize(
    ("classes", "wanted"),
    [({"person"}, None), ({"0", "1"}, None), ({"face"}, "head"), ({"face", "Face"}, "FACE")],
)
def test_another_class_is_never_taken_for_it(classes: set[str], wanted: str | None):
    with pytest.raises(UserError, match=r"set: expected boxes of class .* Classes there: '"):
        face_class(classes, wanted, "set")
