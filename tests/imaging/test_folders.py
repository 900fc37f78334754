"""Tests of finding images in folders."""

from collections.abc import Iterator
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


def test_hidden_folders_are_skipped_and_linked_ones_entered(tmp_path: Path):
    for name in ("photos/a.jpg", "photos/.ipynb_checkpoints/a-checkpoint.jpg", "disk/sub/b.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    photos = tmp_path / "photos"
    (photos / "2019").symlink_to(tmp_path / "disk")
    (photos / "c.jpg").symlink_to(tmp_path / "disk" / "sub" / "b.jpg")
    images, skipped = find_images([photos])
    assert [name.as_posix() for _, name in images] == ["2019/sub/b.jpg", "a.jpg", "c.jpg"]
    assert skipped == [photos / ".ipynb_checkpoints"]


def test_links_in_a_circle_are_entered_once(tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x.jpg").touch()
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "nowhere.jpg").symlink_to(tmp_path / "absent")
    (tmp_path / "a" / "round.jpg").symlink_to(tmp_path / "a" / "round.jpg")
    images, skipped = find_images([tmp_path])
    assert [name.as_posix() for _, name in images] == ["a/x.jpg"]
    names = sorted(path.relative_to(tmp_path).as_posix() for path in skipped)
    assert names == ["a/b/up", "a/nowhere.jpg", "a/round.jpg", "a/self"]


def test_a_hidden_folder_that_is_named_is_searched(tmp_path: Path):
    (tmp_path / ".cache" / "sub").mkdir(parents=True)
    (tmp_path / ".cache" / "sub" / "a.jpg").touch()
    assert len(find_images([tmp_path / ".cache"]).images) == 1


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "[1]", "https://example.com/a.jpg"])
def test_a_name_that_can_t_be_is_told_as_it_was_given(name: str):
    with pytest.raises(UserError) as caught:
        find_images([name])
    assert str(caught.value).startswith(f"{name} does not exist")


def test_names_of_255_bytes_are_found(tmp_path: Path):
    name = "\u4e2d" * 83 + "ab.jpg"  # 83 letters of 3 bytes each
    assert len(name.encode()) == 255
    (tmp_path / name).touch()
    assert find_images([tmp_path]).images == [(tmp_path / name, Path(name))]


def test_a_folder_that_can_t_be_read_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.jpg").touch()
    read = Path.iterdir

    def iterdir(folder: Path) -> Iterator[Path]:
        if folder.name == "closed":
            raise PermissionError
        return read(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    images, skipped = find_images([tmp_path])
    assert (len(images), skipped) == (1, [tmp_path / "closed"])
