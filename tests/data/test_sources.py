"""Where splits come from: folders, archives, MATLAB files and CSV."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from ssh_tf.data.annotations import ATTRIBUTES, AnnotatedImage
from ssh_tf.data.readers.wider import read_annotations, split_layout
from ssh_tf.data.sources import Source, missing, open_wider
from ssh_tf.errors import UserError
from tests.support.small import WIDER_BOXES, write_wider


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_wider(tmp_path / "wider")
    return tmp_path / "wider"


def pack(root: Path, *, annotations: bool = True) -> None:
    """Turns a folder in WIDER's layout into its archives."""
    for name in ("WIDER_train", "wider_face_split") if annotations else ("WIDER_train",):
        with zipfile.ZipFile(root / f"{name}.zip", "w") as archive:
            for path in sorted((root / name).rglob("*")):
                archive.write(path, path.relative_to(root))
        shutil.rmtree(root / name)


def write_mat(root: Path, entries: list[AnnotatedImage]) -> None:
    """Writes annotations as WIDER's own MATLAB files have them."""

    def cells(values: list[object]) -> np.ndarray:
        column = np.empty((len(values), 1), object)
        for i, value in enumerate(values):
            column[i, 0] = value
        return column

    events = sorted({entry.name.split("/")[0] for entry in entries})
    of = {event: [e for e in entries if e.name.startswith(event)] for event in events}
    content = {
        "event_list": cells(events),
        "file_list": cells([cells([Path(e.name).stem for e in of[v]]) for v in events]),
        "face_bbx_list": cells([cells([e.boxes for e in of[v]]) for v in events]),
    }
    for i, name in enumerate(ATTRIBUTES):
        content[f"{name}_label_list"] = cells(
            [cells([e.attributes[:, [i]] for e in of[v]]) for v in events]
        )
    savemat(root / "wider_face_split" / "wider_face_train.mat", content)


def assert_same_entries(ours: list[AnnotatedImage], theirs: list[AnnotatedImage]) -> None:
    assert [entry.name for entry in ours] == [entry.name for entry in theirs]
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.boxes, two.boxes)
        np.testing.assert_array_equal(one.attributes, two.attributes)


def content(source: Source) -> dict[str, bytes]:
    return {entry.name: source.images.read(entry.name) for entry in source.entries}


@pytest.mark.parametrize("annotations", [True, False], ids=["all packed", "images packed"])
def test_archives_are_read_in_place_and_give_the_same(root: Path, annotations: bool):
    folder = open_wider(root, "train")
    before = content(folder)
    pack(root, annotations=annotations)
    packed = open_wider(root, "train")
    assert content(packed) == before
    assert packed.sha256 == folder.sha256
    assert_same_entries(packed.entries, folder.entries)
    assert not list(missing(packed))
    assert not (root / "WIDER_train").exists()


def test_matlab_annotations_give_the_same_as_text(root: Path):
    entries = open_wider(root, "train").entries
    jpegs = [AnnotatedImage(e.name.replace(".png", ".jpg"), e.boxes, e.attributes) for e in entries]
    write_mat(root, jpegs)
    (root / "wider_face_split" / "wider_face_train_bbx_gt.txt").unlink()
    assert_same_entries(open_wider(root, "train").entries, jpegs)


def test_the_official_matlab_file_agrees_with_the_official_text(test_data: Path, tmp_path: Path):
    folder = tmp_path / "wider_face_split"
    folder.mkdir()
    shutil.copy(test_data / "wider" / "ground_truth" / "wider_face_val.mat", folder)
    (tmp_path / "WIDER_val" / "images" / "0").mkdir(parents=True)
    source = open_wider(tmp_path, "val")
    text = read_annotations(test_data / "wider" / "wider_face_split" / "wider_face_val_bbx_gt.txt")
    assert_same_entries(
        sorted(source.entries, key=lambda e: e.name), sorted(text, key=lambda e: e.name)
    )
    assert (len(source.entries), sum(len(e.boxes) for e in source.entries)) == (3226, 39708)
    assert source.official_counts == (3226, 39708)
    assert len(list(missing(source))) == 3226


def test_only_a_split_of_wider_s_events_is_compared_with_the_official_counts(root: Path):
    assert open_wider(root, "train").official_counts == (12880, 159424)
    annotations = split_layout(root, "train").annotations
    annotations.write_text("own/picture.jpg\n0\n")
    assert open_wider(root, "train").official_counts is None


def corrupt_image(root: Path) -> None:
    content = bytearray((root / "WIDER_train.zip").read_bytes())
    content[200] ^= 255  # inside the first image
    (root / "WIDER_train.zip").write_bytes(content)


BROKEN_ARCHIVES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no archive": (
        lambda root: (root / "WIDER_train.zip").write_text("<html>404</html>"),
        r"WIDER_train.zip is not a whole archive .* Download it again",
    ),
    "cut archive": (
        lambda root: (root / "WIDER_train.zip").write_bytes(
            (root / "WIDER_train.zip").read_bytes()[:-40]
        ),
        r"WIDER_train.zip is not a whole archive",
    ),
    "no annotations": (
        lambda root: (root / "wider_face_split.zip").unlink(),
        r"wider_face_train_bbx_gt.txt does not exist, nor wider_face_train.mat",
    ),
}


@pytest.mark.parametrize(("damage", "says"), BROKEN_ARCHIVES.values(), ids=BROKEN_ARCHIVES.keys())
def test_a_broken_archive_is_named(root: Path, damage: Callable[[Path], object], says: str):
    pack(root)
    damage(root)
    with pytest.raises(UserError, match=says):
        open_wider(root, "train")


def test_a_damaged_member_is_named_when_it_is_read(root: Path):
    pack(root)
    corrupt_image(root)
    source = open_wider(root, "train")
    with pytest.raises(UserError, match=r"WIDER_train.zip: WIDER_train/images/0--Parade/a.jpg"):
        source.images.read("0--Parade/a.jpg")


def test_an_image_that_can_not_be_read_is_named(root: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    source = open_wider(root, "train")
    monkeypatch.setattr(Path, "read_bytes", refuse)  # permissions do not stop a superuser
    with pytest.raises(UserError, match=r"0--Parade/a.jpg can't be read \(Permission denied\)"):
        source.images.read("0--Parade/a.jpg")


def test_an_archive_without_an_annotated_image_misses_it(root: Path):
    (split_layout(root, "train").images_dir / "0--Parade" / "a.jpg").unlink()
    pack(root)
    assert list(missing(open_wider(root, "train"))) == ["0--Parade/a.jpg"]


@pytest.mark.parametrize("damage", ["empty", "other"])
def test_a_broken_matlab_file_is_named(root: Path, damage: str):
    annotations = split_layout(root, "train").annotations
    annotations.unlink()
    file = annotations.with_name("wider_face_train.mat")
    if damage == "empty":
        file.write_bytes(b"")
    else:
        savemat(file, {"something": 1})
    with pytest.raises(UserError, match=r"wider_face_train.mat: expected a MATLAB file with"):
        open_wider(root, "train")


def test_boxes_are_those_of_the_fixture(root: Path):
    found = {entry.name: entry.boxes.tolist() for entry in open_wider(root, "train").entries}
    assert found == WIDER_BOXES
