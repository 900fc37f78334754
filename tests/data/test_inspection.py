"""`ssh-tf inspect`: numbers and pictures."""

from pathlib import Path

import cv2

from ssh_tf.data.builder import build_records
from ssh_tf.data.inspection import inspect_records
from ssh_tf.data.sources import open_annotations, open_wider
from tests.support.small import encode, picture, write_wider


def test_numbers_and_pictures(tmp_path: Path):
    write_wider(tmp_path / "wider")
    build_records(open_wider(tmp_path / "wider", "train"), tmp_path / "out", shards=2)
    text = inspect_records(tmp_path / "out", tmp_path / "pictures")
    assert text.startswith("4 images of split train, 5 faces; all shards are as the manifest says")
    assert "faces per image    0 to 2, median 2, half of them 1 to 2" in text
    assert "blur               0: 80.0 %, 1: 20.0 %" in text
    for name in ("sizes.png", "anchors.png", "images.png"):
        drawn = cv2.imread(str(tmp_path / "pictures" / name))
        assert min(drawn.shape[:2]) > 400
        assert drawn.std() > 5


def test_a_set_without_faces_has_pictures_too(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(encode(picture(), ".png"))
    (tmp_path / "boxes.csv").write_text("image,x,y,w,h\na.png,,,,\n")
    build_records(open_annotations(tmp_path / "boxes.csv", tmp_path, split="own"), tmp_path / "out")
    text = inspect_records(tmp_path / "out", tmp_path / "pictures")
    assert text.startswith("1 images of split own, 0 faces")
    assert "blur" not in text  # nobody annotated it
    assert (tmp_path / "pictures" / "anchors.png").is_file()
