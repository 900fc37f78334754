"""Tests of finding images in folders."""

from pathlib import Path

import pytest

from ssh_tf.errors import UserError
from ssh_tf.imaging.folders import find_images


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A folder tree with images, other files and a folder with an image's name."""
    for name in (
        "b.jpg",
        "a/z.PNG",
        "a/y.jpeg",
        "a/notes.txt",
        "folder.jpg/c.png",
        "d.gif",
        "._b.jpg",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_folder_gives_its_images_in_depth_and_in_order(album: Path):
    images, skipped = find_images([str(album)])
    names = [name.as_posix() for _, name in images]
    assert names == ["a/y.jpeg", "a/z.PNG", "b.jpg", "d.gif", "folder.jpg/c.png"]
    assert all(path == album / name for path, name in images)
    assert skipped == [album / "._b.jpg", album / "a" / "notes.txt"]


def test_files_come_in_the_given_order_under_their_own_names(album: Path):
    paths = [str(album / "b.jpg"), str(album / "a" / "notes.txt"), str(album / "a")]
    names = [name.as_posix() for _, name in find_images(paths).images]
    assert names == ["b.jpg", "notes.txt", "y.jpeg", "z.PNG"]


def test_a_missing_path_and_a_folder_without_images_are_named(album: Path):
    with pytest.raises(UserError, match=r"absent does not exist\. Name an image or a folder"):
        find_images([str(album / "b.jpg"), str(album / "absent")])
    (album / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no image \(\.avif, \.bmp, "):
        find_images([str(album / "empty")])
