"""Where splits come from: folders, archives, MATLAB files and CSV."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from ssh_tf.data.annotations import ATTRIBUTES, AnnotatedImage, annotated
from ssh_tf.data.readers.wider import read_annotations, split_layout
from ssh_tf.data.sources import BoxesOn, Source, missing, open_annotations, open_wider
from ssh_tf.errors import UserError
from tests.support.small import WIDER_BOXES, encode, picture, write_wider


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


def write_mat(root: Path, entries: list[AnnotatedImage], **renamed: str) -> None:
    """Writes annotations as WIDER's own MATLAB files have them, some events or images renamed."""

    def cells(values: list[object]) -> np.ndarray:
        column = np.empty((len(values), 1), object)
        for i, value in enumerate(values):
            column[i, 0] = value
        return column

    def stem(entry: AnnotatedImage) -> str:
        return Path(entry.name).stem

    events = sorted({entry.name.split("/")[0] for entry in entries})
    of = {event: [e for e in entries if e.name.startswith(event)] for event in events}
    content = {
        "event_list": cells([renamed.get(v, v) for v in events]),
        "file_list": cells([cells([renamed.get(stem(e), stem(e)) for e in of[v]]) for v in events]),
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


VOC = "<annotation><object><name>face</name><bndbox>{}</bndbox></object></annotation>".format(
    "".join(f"<{k}>{v}</{k}>" for k, v in {"xmin": 2, "ymin": 3, "xmax": 31, "ymax": 42}.items())
)
COCO = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40]}],
    "categories": [{"id": 1, "name": "face"}],
}
FORMATS = {
    "csv": ("boxes.csv", "image,x,y,w,h\na.png,1,2,30,40\n"),
    "coco": ("boxes.json", json.dumps(COCO)),
    "wider": ("boxes.txt", "a.png\n1\n1 2 30 40\n"),
    "voc": ("boxes/Annotations/a.xml", VOC),
    "voc, flat": ("boxes/a.xml", VOC),
    "yolo": ("boxes/labels/a.txt", f"0 {16 / 96} {22 / 64} {30 / 96} {40 / 64}\n"),
    "yolo, flat": ("boxes/a.txt", f"0 {16 / 96} {22 / 64} {30 / 96} {40 / 64}\n"),
}


@pytest.mark.parametrize(("name", "text"), FORMATS.values(), ids=FORMATS.keys())
def test_every_format_is_told_by_its_path(tmp_path: Path, name: str, text: str):
    (tmp_path / "photos" / ".thumbnails").mkdir(parents=True)
    (tmp_path / "photos" / "a.png").write_bytes(encode(picture(64, 96), ".png"))
    (tmp_path / "photos" / ".thumbnails" / "a.png").write_bytes(b"")
    file = tmp_path / name
    (file.parent / ".ipynb_checkpoints").mkdir(parents=True)
    file.write_text(text)
    (file.parent / ".ipynb_checkpoints" / file.name).write_text(text)
    source = open_annotations(tmp_path / Path(name).parts[0], tmp_path / "photos")
    (entry,) = source.entries
    assert (entry.name, source.name, source.given_attributes) == ("a.png", "boxes", [])
    np.testing.assert_allclose(entry.boxes, [[1, 2, 30, 40]], atol=1e-4)
    assert source.images.size("a.png") is not None


def test_two_images_of_one_label_are_refused(tmp_path: Path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "a.jpg"):
        (tmp_path / "photos" / name).write_bytes(encode(picture(64, 96), name[1:]))
    with pytest.raises(UserError, match=r"holds a\.jpg and a\.png: expected one image for each"):
        open_annotations(tmp_path / "labels", tmp_path / "photos")


def test_yolo_s_labels_need_their_images(tmp_path: Path):
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    with pytest.raises(UserError, match=r"fractions of the images\. Name the images' folder"):
        open_annotations(tmp_path)


@pytest.mark.parametrize(("on", "box"), [("upright", [0, 0, 64, 96]), ("stored", [0, 0, 96, 64])])
def test_yolo_s_fractions_are_of_the_image_as_it_was_annotated(
    tmp_path: Path, on: BoxesOn, box: list[float]
):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "photos").mkdir()
    Image.fromarray(picture(64, 96)).save(tmp_path / "photos" / "a.jpg", exif=exif)
    (tmp_path / "a.txt").write_text("0 0.5 0.5 1 1\n")
    (entry,) = open_annotations(tmp_path, tmp_path / "photos", boxes_on=on, kind="yolo").entries
    assert entry.boxes.tolist() == [box]


@pytest.mark.parametrize("split", ["../train", "a/b", "", "a b"])
def test_a_split_is_no_path(root: Path, split: str):
    with pytest.raises(UserError, match="A split is named by letters"):
        open_wider(root, split)


@pytest.mark.parametrize("renamed", [{"E": ".."}, {"a": "../../a"}, {"E": "/etc"}, {"E": "C:"}])
def test_matlab_names_that_lead_out_of_the_folder_are_refused(root: Path, renamed: dict[str, str]):
    split_layout(root, "train").annotations.unlink()
    write_mat(root, [annotated("E/a.jpg", [[1, 2, 3, 4]])], **renamed)
    with pytest.raises(UserError, match="expected an image name that stays inside"):
        open_wider(root, "train")


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
