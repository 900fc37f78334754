"""Tests of the records builder: what it writes and how it refuses broken input."""

import hashlib
import io
import json
import re
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ssh_tf.data.annotations import ATTRIBUTES, training_corners
from ssh_tf.data.builder import build_records
from ssh_tf.data.checks import Checks, checked_size
from ssh_tf.data.manifest import read_manifest
from ssh_tf.data.readers.wider import split_layout
from ssh_tf.data.records import parse_example
from ssh_tf.data.sources import Source, open_annotations, open_wider
from ssh_tf.errors import UserError
from ssh_tf.files import folder_lock
from ssh_tf.imaging.decoder import decode
from tests.conftest import REPOSITORY
from tests.support.small import WIDER_BOXES, WIDER_FACES, encode, picture, write_wider


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set of four pictures."""
    write_wider(tmp_path / "wider")
    return tmp_path / "wider"


def records(folder: Path) -> Iterator[dict[str, tf.Tensor]]:
    for shard in read_manifest(folder)["shards"]:
        yield from map(parse_example, tf.data.TFRecordDataset(str(folder / shard["name"])))


def content(folder: Path) -> dict[str, bytes]:
    """Every file but the empty one that a lock is held on."""
    files = [path for path in sorted(folder.iterdir()) if path.name != ".lock"]
    return {path.name: path.read_bytes() for path in files}


def test_every_image_is_stored_once_with_its_original_bytes(root: Path, tmp_path: Path):
    build_records(open_wider(root, "train"), tmp_path / "out", shards=2)
    stored = [(r["name"].numpy().decode(), r["encoded"].numpy()) for r in records(tmp_path / "out")]
    images = root / "WIDER_train" / "images"
    assert sorted(stored) == [(name, (images / name).read_bytes()) for name in sorted(WIDER_BOXES)]


def test_faces_are_the_official_training_boxes_in_whole_pixels(root: Path, tmp_path: Path):
    build_records(open_wider(root, "train"), tmp_path / "out", shards=2)
    for record in records(tmp_path / "out"):
        boxes = np.array(WIDER_BOXES[record["name"].numpy().decode()]).reshape(-1, 4)
        expected, _ = training_corners(boxes, *record["size"].numpy())
        np.testing.assert_allclose(record["faces"], expected, atol=1e-3)
    # d.jpg is 76 x 72: the box that crosses its border is clipped, the one without width is gone.
    faces = {r["name"].numpy(): r["faces"].numpy() for r in records(tmp_path / "out")}
    np.testing.assert_allclose(
        faces[b"1--Empty/d.jpg"], [[5, 5, 25, 25], [0, 40, 20, 76]], atol=1e-3
    )


def test_attributes_stay_with_their_faces(root: Path, tmp_path: Path):
    annotations = split_layout(root, "train").annotations
    text = "1--Empty/d.jpg\n3\n5 5 20 20 1 0 0 0 0 0\n9 9 0 9 2 0 0 0 0 0\n9 9 9 9 0 1 0 0 2 1\n"
    annotations.write_text(text)
    build_records(open_wider(root, "train"), tmp_path / "out", shards=1)
    (shard,) = (tmp_path / "out").glob("*.tfrecord")
    (record,) = tf.data.TFRecordDataset(str(shard))
    feature = tf.train.Example.FromString(record.numpy()).features.feature
    assert list(feature["image/object/face/blur"].int64_list.value) == [1, 0]
    assert list(feature["image/object/face/occlusion"].int64_list.value) == [0, 2]


def test_the_manifest_counts_and_hashes_what_lies_there(root: Path, tmp_path: Path):
    returned = build_records(open_wider(root, "train"), tmp_path / "out", shards=3, seed=7)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert returned == manifest
    assert (manifest["schema"], manifest["split"], manifest["seed"]) == (1, "train", 7)
    assert (manifest["images"], manifest["faces"]) == (4, WIDER_FACES)
    assert manifest["annotated_faces"] == WIDER_FACES + 1
    assert sum(shard["images"] for shard in manifest["shards"]) == 4
    assert sum(shard["faces"] for shard in manifest["shards"]) == WIDER_FACES
    source = split_layout(root, "train").annotations.read_bytes()
    assert manifest["source_sha256"] == hashlib.sha256(source).hexdigest()
    for shard in manifest["shards"]:
        data = (tmp_path / "out" / shard["name"]).read_bytes()
        assert (shard["bytes"], shard["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_nothing_but_shards_and_manifest_is_left(root: Path, tmp_path: Path):
    build_records(open_wider(root, "train"), tmp_path / "out", shards=2)
    assert list(content(tmp_path / "out")) == [
        "manifest.json",
        "wider_train-00000-of-00002.tfrecord",
        "wider_train-00001-of-00002.tfrecord",
    ]


def test_the_number_of_workers_changes_no_byte(root: Path, tmp_path: Path):
    build_records(open_wider(root, "train"), tmp_path / "one", shards=2, workers=1)
    build_records(open_wider(root, "train"), tmp_path / "two", shards=2, workers=3)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_the_seed_decides_the_order(root: Path, tmp_path: Path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        build_records(open_wider(root, "train"), tmp_path / name, shards=1, seed=seed)
    orders = {
        name: [r["name"].numpy() for r in records(tmp_path / name)] for name in ("a", "b", "c")
    }
    assert orders["a"] == orders["b"] != orders["c"]
    assert sorted(orders["a"]) == sorted(orders["c"])


def test_there_are_never_more_shards_than_images(root: Path, tmp_path: Path):
    manifest = build_records(open_wider(root, "train"), tmp_path / "out", shards=100)
    assert [shard["images"] for shard in manifest["shards"]] == [1, 1, 1, 1]


def test_progress_ticks_once_per_image(root: Path, tmp_path: Path):
    ticks = []

    def progress(stage: str, total: int) -> Callable[[], None]:
        assert (stage, total) == ("records", 4)
        return lambda: ticks.append(stage)

    build_records(open_wider(root, "train"), tmp_path / "out", shards=2, progress=progress)
    assert len(ticks) == 4


def images(root: Path) -> Path:
    return split_layout(root, "train").images_dir


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing root": (lambda root: root.rename(root.with_name("gone")), "wider does not exist"),
    "empty root": (empty, r"wider has no split 'train'"),
    "no images": (lambda root: empty(images(root)), "images is empty"),
    "no annotations": (
        lambda root: split_layout(root, "train").annotations.unlink(),
        "wider_face_train_bbx_gt.txt does not exist",
    ),
    "empty annotations": (
        lambda root: split_layout(root, "train").annotations.write_text("\n"),
        "bbx_gt.txt:1: expected an image name, received an empty file",
    ),
    "missing image": (
        lambda root: (images(root) / "0--Parade/b.png").unlink(),
        r"0--Parade/b.png does not exist. Expected an image that .*bbx_gt.txt names",
    ),
    "truncated jpeg": (
        lambda root: truncate(images(root) / "0--Parade/a.jpg"),
        r"0--Parade/a.jpg is truncated or corrupt \(jpeg::Uncompress failed. [^{\[]*\). Fetch it",
    ),
    "truncated png": (
        lambda root: truncate(images(root) / "0--Parade/b.png"),
        "0--Parade/b.png is truncated or corrupt",
    ),
    "text named .jpg": (
        lambda root: (images(root) / "1--Empty/d.jpg").write_text("hello"),
        r"1--Empty/d.jpg is neither JPEG nor PNG \(it begins with b'hello'\)",
    ),
    "empty image": (
        lambda root: (images(root) / "1--Empty/d.jpg").write_text(""),
        "1--Empty/d.jpg is neither JPEG nor PNG",
    ),
    "three bytes of a jpeg": (
        lambda root: (images(root) / "1--Empty/d.jpg").write_bytes(b"\xff\xd8\xff"),
        "1--Empty/d.jpg is truncated or corrupt",
    ),
}


@pytest.mark.parametrize(("damage", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_input_is_named_in_one_line_and_leaves_no_data_set(
    root: Path, tmp_path: Path, damage: Callable[[Path], object], says: str
):
    damage(root)
    with pytest.raises(UserError, match=says) as error:
        build_records(open_wider(root, "train"), tmp_path / "out", shards=2)
    assert "\n" not in str(error.value)
    left = [path.name for path in (tmp_path / "out").glob("*")]
    assert "manifest.json" not in left
    assert not [name for name in left if ".tmp" in name]


def test_an_unknown_split_is_refused_with_those_there(root: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"no split 'val'.*Splits there: train"):
        build_records(open_wider(root, "val"), tmp_path / "out")


def test_a_failed_build_can_be_repeated_in_the_same_folder(root: Path, tmp_path: Path):
    whole = (images(root) / "1--Empty/d.jpg").read_bytes()
    truncate(images(root) / "1--Empty/d.jpg")
    with pytest.raises(UserError, match="truncated"):
        build_records(open_wider(root, "train"), tmp_path / "out", shards=4)
    (images(root) / "1--Empty/d.jpg").write_bytes(whole)
    build_records(open_wider(root, "train"), tmp_path / "out", shards=4)
    assert len(list(records(tmp_path / "out"))) == 4


def test_an_output_that_is_a_file_is_refused(root: Path, tmp_path: Path):
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match=r"Output folder .*out is not writable"):
        build_records(open_wider(root, "train"), tmp_path / "out")


def test_a_folder_that_holds_a_data_set_is_left_alone(root: Path, tmp_path: Path):
    build_records(open_wider(root, "train"), tmp_path / "out", shards=1)
    before = content(tmp_path / "out")
    for other in ({"shards": 2}, {"shards": 1, "seed": 1}, {"shards": 1, "checks": Checks("none")}):
        with pytest.raises(UserError, match="out already holds a data set"):
            build_records(open_wider(root, "train"), tmp_path / "out", **other)
    annotations = split_layout(root, "train").annotations
    annotations.write_text(annotations.read_text() + "1--Empty/e.jpg\n0\n")
    with pytest.raises(UserError, match="out already holds a data set"):
        build_records(open_wider(root, "train"), tmp_path / "out", checks=Checks(on_error="skip"))
    assert content(tmp_path / "out") == before


def test_a_finished_build_is_left_as_it_is(root: Path, tmp_path: Path):
    manifest = build_records(open_wider(root, "train"), tmp_path / "out", shards=1)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.*")}
    assert build_records(open_wider(root, "train"), tmp_path / "out", shards=1) == manifest
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.*")} == times


def test_a_finished_but_damaged_build_is_not_called_finished(root: Path, tmp_path: Path):
    build_records(open_wider(root, "train"), tmp_path / "out", shards=1)
    (shard,) = (tmp_path / "out").glob("*.tfrecord")
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(UserError, match="or a damaged one"):
        build_records(open_wider(root, "train"), tmp_path / "out", shards=1)


@pytest.mark.parametrize(
    "numbers", [{"shards": 0}, {"workers": 0}, {"shards": -1}, {"workers": 10**6}, {"seed": -1}]
)
def test_numbers_that_make_no_sense_are_refused(
    root: Path, tmp_path: Path, numbers: dict[str, int]
):
    with pytest.raises(UserError, match="shards and workers must be at least 1"):
        build_records(open_wider(root, "train"), tmp_path / "out", **numbers)


def test_checked_size_is_height_and_width():
    assert checked_size(encode(picture(40, 70), ".png"), "a.png") == (40, 70)


def test_real_images_are_stored_whole(test_data: Path, tmp_path: Path):
    manifest = build_records(
        open_wider(test_data / "wider_mini", "val"), tmp_path / "out", shards=2
    )
    assert (manifest["images"], manifest["annotated_faces"]) == (23, 449)
    assert len(list(records(tmp_path / "out"))) == 23


# A build that was stopped


class StoppedError(Exception):
    pass


def stop_after(ticks: int) -> Callable[[str, int], Callable[[], None]]:
    """Progress that stops the build after so many images."""

    def progress(stage: str, total: int) -> Callable[[], None]:
        left = iter(range(ticks))

        def tick() -> None:
            if next(left, None) is None:
                raise StoppedError

        return tick

    return progress


@pytest.mark.parametrize("ticks", [0, 1, 2, 3])
def test_a_stopped_build_is_finished_with_the_same_bytes(root: Path, tmp_path: Path, ticks: int):
    source = open_wider(root, "train")
    build_records(source, tmp_path / "straight", shards=4)
    with pytest.raises(StoppedError):
        build_records(source, tmp_path / "out", shards=4, progress=stop_after(ticks))
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tfrecord")}
    assert len(kept) == ticks
    build_records(source, tmp_path / "out", shards=4)
    assert content(tmp_path / "out") == content(tmp_path / "straight")
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())  # not made again


def test_a_build_stopped_before_its_last_clean_up_is_finished(root: Path, tmp_path: Path):
    source = open_wider(root, "train")
    manifest = build_records(source, tmp_path / "out", shards=2)
    before = content(tmp_path / "out")
    (tmp_path / "out" / ".build").mkdir()
    assert build_records(source, tmp_path / "out", shards=2) == manifest
    assert content(tmp_path / "out") == before


def test_finished_shards_that_are_not_what_they_were_are_written_again(root: Path, tmp_path: Path):
    source = open_wider(root, "train")
    with pytest.raises(StoppedError):
        build_records(source, tmp_path / "out", shards=4, progress=stop_after(2))
    whole = tmp_path / "out" / "wider_train-00000-of-00004.tfrecord"
    damaged = tmp_path / "out" / "wider_train-00001-of-00004.tfrecord"
    whole.write_bytes(b"cut")
    damaged.write_bytes(bytes(damaged.stat().st_size))  # of the right length
    build_records(source, tmp_path / "out", shards=4)
    build_records(source, tmp_path / "straight", shards=4)
    assert content(tmp_path / "out") == content(tmp_path / "straight")


def damaged_notes() -> dict[str, Callable[[str], str]]:
    def changed(**values: object) -> Callable[[str], str]:
        return lambda text: json.dumps(json.loads(text) | values)

    def shard(**values: object) -> Callable[[str], str]:
        return lambda text: json.dumps(
            json.loads(text) | {"shard": json.loads(text).get("shard", {}) | values}
        )

    return {
        "empty": lambda text: "",
        "cut": lambda text: text[: len(text) // 2],
        "a list": lambda text: "[1]",
        "deep": lambda text: "[" * 100_000,
        "no shard": changed(shard=None),
        "another plan": changed(plan={}),
        "negative": shard(images=-1),
        "text as number": shard(faces="2"),
        "outside": shard(name="../../a.tfrecord"),
        "another file": shard(name="wider_train-00001-of-00002.tfrecord"),
    }


@pytest.mark.parametrize("damage", damaged_notes().values(), ids=damaged_notes().keys())
def test_damaged_notes_are_as_good_as_none(
    root: Path, tmp_path: Path, damage: Callable[[str], str]
):
    source = open_wider(root, "train")
    build_records(source, tmp_path / "straight", shards=2)
    with pytest.raises(StoppedError):
        build_records(source, tmp_path / "out", shards=2, progress=stop_after(3))
    for note in (tmp_path / "out" / ".build").glob("wider*.json"):
        note.write_text(damage(note.read_text()))
    (tmp_path / "out" / ".build" / "plan.json").write_text("{")
    build_records(source, tmp_path / "out", shards=2)
    assert content(tmp_path / "out") == content(tmp_path / "straight")


@pytest.mark.parametrize("other", [{"shards": 2}, {"seed": 1}, {"checks": Checks("header")}])
def test_part_of_another_build_is_left_alone(root: Path, tmp_path: Path, other: dict[str, object]):
    source = open_wider(root, "train")
    with pytest.raises(StoppedError):
        build_records(source, tmp_path / "out", shards=4, progress=stop_after(2))
    with pytest.raises(UserError, match=r"holds part of another build"):
        build_records(source, tmp_path / "out", **{"shards": 4, **other})


def test_a_build_that_a_broken_image_stopped_goes_on_without_it(root: Path, tmp_path: Path):
    truncate(images(root) / "1--Empty/d.jpg")
    source, skip = open_wider(root, "train"), Checks(on_error="skip")
    with pytest.raises(UserError, match="truncated"):
        build_records(source, tmp_path / "out", shards=4)
    build_records(source, tmp_path / "straight", shards=4, checks=skip)
    with pytest.raises(StoppedError):
        build_records(source, tmp_path / "out", shards=4, checks=skip, progress=stop_after(3))
    with pytest.raises(UserError, match="truncated"):  # What was left out is not forgotten.
        build_records(source, tmp_path / "out", shards=4)
    build_records(source, tmp_path / "out", shards=4, checks=skip)
    assert content(tmp_path / "out") == content(tmp_path / "straight")


def test_a_second_builder_in_a_folder_stops(root: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    with (
        folder_lock(tmp_path / "out", "data set"),
        pytest.raises(UserError, match="another process works on this data set"),
    ):
        build_records(open_wider(root, "train"), tmp_path / "out")


def test_a_full_disk_is_said_and_a_second_call_completes(root: Path, tmp_path: Path):
    source = open_wider(root, "train")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:  # The kernel refuses to write on, as it does on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        with pytest.raises(UserError, match=r"can't be written: File too large\. .* goes on"):
            build_records(source, tmp_path / "out", shards=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert not (tmp_path / "out" / "manifest.json").exists()
    build_records(source, tmp_path / "out", shards=2)
    assert len(list(records(tmp_path / "out"))) == 4


# Broken images, and what is done about them


def test_skipped_images_are_named_with_their_reason(root: Path, tmp_path: Path):
    truncate(images(root) / "0--Parade/a.jpg")
    (images(root) / "1--Empty/c.jpg").unlink()
    source = open_wider(root, "train")
    manifest = build_records(source, tmp_path / "out", checks=Checks(on_error="skip"))
    reasons = {image["name"]: image["reason"] for image in manifest["skipped"]}
    assert sorted(reasons) == ["0--Parade/a.jpg", "1--Empty/c.jpg"]
    assert "truncated or corrupt" in reasons["0--Parade/a.jpg"]
    assert "does not exist" in reasons["1--Empty/c.jpg"]
    assert (manifest["images"], manifest["faces"]) == (2, WIDER_FACES - 2)
    assert sorted(r["name"].numpy() for r in records(tmp_path / "out")) == [
        b"0--Parade/b.png",
        b"1--Empty/d.jpg",
    ]


def test_a_shard_whose_images_are_all_left_out_is_no_file(root: Path, tmp_path: Path):
    truncate(images(root) / "0--Parade/a.jpg")
    source, checks = open_wider(root, "train"), Checks(on_error="skip")
    manifest = build_records(source, tmp_path / "out", shards=4, checks=checks)
    files = sorted(path.name for path in (tmp_path / "out").glob("*.tfrecord"))
    assert files == [shard["name"] for shard in manifest["shards"]]
    assert len(files) == 3
    assert all(shard["bytes"] for shard in manifest["shards"])
    assert build_records(source, tmp_path / "out", shards=4, checks=checks) == manifest


def test_a_data_set_without_any_image_left_is_refused(root: Path, tmp_path: Path):
    for name in WIDER_BOXES:
        truncate(images(root) / name)
    with pytest.raises(UserError, match=r"All 4 images of .* had to be left out"):
        build_records(open_wider(root, "train"), tmp_path / "out", checks=Checks(on_error="skip"))


def write_csv(folder: Path, *rows: str) -> Source:
    (folder / "boxes.csv").write_text("\n".join(["image,x,y,w,h", *rows, ""]))
    return open_annotations(folder / "boxes.csv", folder)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a.jpg,0.2,0.3,0.5,0.5", "it seems to be in fractions"),
        ("a.jpg,5,5,-3,9", "its width or height is negative"),
        ("a.jpg,5,5,0,9", "its width or height is 0"),
        ("a.jpg,96,5,20,20", "it lies outside the image of 96 x 64 px"),
        ("a.jpg,5,-30,20,20", "it lies outside the image"),
        ("a.jpg,5,5,0.4,9", "it is narrower or lower than 1 px"),
    ],
)
def test_boxes_that_vanish_are_named_with_file_and_row(tmp_path: Path, row: str, reason: str):
    (tmp_path / "a.jpg").write_bytes(encode(picture(64, 96)))
    source = write_csv(tmp_path, "a.jpg,1,2,30,40", row)
    with pytest.raises(UserError, match=rf"1 of 2 boxes .* 1%: .*boxes\.csv:3: {reason}"):
        build_records(source, tmp_path / "out")
    manifest = build_records(source, tmp_path / "out", checks=Checks(allow_lost=True))
    assert (manifest["faces"], manifest["annotated_faces"]) == (1, 2)
    (lost,) = manifest["lost_boxes"]
    assert re.search(rf"boxes\.csv:3: {reason}", lost)


def test_boxes_are_cut_at_the_border_where_they_do_not_follow_wider(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(encode(picture(64, 96)))
    source = write_csv(tmp_path, "a.jpg,-10,-5,30,40", "a.jpg,90,60,30,40")
    build_records(source, tmp_path / "out")
    (record,) = records(tmp_path / "out")
    np.testing.assert_allclose(record["faces"], [[0, 0, 20, 35], [90, 60, 96, 64]], atol=1e-4)


def test_one_lost_box_in_a_hundred_is_no_error(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(encode(picture(64, 96)))
    rows = ["a.jpg,1,2,30,40"] * 99
    manifest = build_records(write_csv(tmp_path, *rows, "a.jpg,1,2,0,0"), tmp_path / "out")
    assert len(manifest["lost_boxes"]) == 1
    with pytest.raises(UserError, match="2 of 101 boxes"):
        build_records(
            write_csv(tmp_path, *rows, "a.jpg,1,2,0,0", "a.jpg,1,2,0,0"), tmp_path / "other"
        )


def test_shards_are_named_after_the_data(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(encode(picture(64, 96)))
    manifest = build_records(write_csv(tmp_path, "a.jpg,1,2,30,40"), tmp_path / "out")
    assert manifest["shards"][0]["name"] == "boxes-00000-of-00001.tfrecord"
    assert (manifest["name"], manifest["split"], manifest["attributes"]) == ("boxes", "train", [])


def test_the_attributes_that_the_annotations_have_are_listed(root: Path, tmp_path: Path):
    assert build_records(open_wider(root, "train"), tmp_path / "out")["attributes"] == [*ATTRIBUTES]


def test_an_image_whose_boxes_all_vanish_differs_from_one_without_boxes(root: Path, tmp_path: Path):
    annotations = split_layout(root, "train").annotations
    annotations.write_text("0--Parade/a.jpg\n0\n1--Empty/d.jpg\n2\n9 9 0 9\n9 9 9 0\n")
    build_records(open_wider(root, "train"), tmp_path / "out")
    found = {
        r["name"].numpy(): (len(r["faces"]), int(r["annotated"])) for r in records(tmp_path / "out")
    }
    assert found == {b"0--Parade/a.jpg": (0, 0), b"1--Empty/d.jpg": (0, 2)}


def test_a_name_that_is_too_long_for_any_file_is_a_missing_image(tmp_path: Path):
    with pytest.raises(UserError, match=r"a\.jpg does not exist"):
        build_records(write_csv(tmp_path, f"{'a' * 300}.jpg,1,2,30,40"), tmp_path / "out")


def test_a_missing_image_whose_name_looks_the_same_is_hinted_at(tmp_path: Path):
    (tmp_path / "e\u0301.jpg").write_bytes(encode(picture(64, 96)))  # e and a combining accent
    with pytest.raises(UserError, match=r"There is 'e\\u0301.jpg', which differs in its bytes"):
        build_records(write_csv(tmp_path, "\u00e9.jpg,1,2,30,40"), tmp_path / "out")


def test_what_each_way_of_verifying_sees(root: Path, tmp_path: Path):
    path = images(root) / "0--Parade/a.jpg"
    whole = path.read_bytes()
    damage = {
        "cut": whole[:-200],
        "cut, with an end marker": whole[:-200] + b"\xff\xd9",
        "header": whole[:30],
    }
    seen = {}
    for name, data in damage.items():
        for verify in ("none", "header", "full"):
            try:
                assert checked_size(data, "a.jpg", verify=verify) == (64, 96)
            except UserError:
                seen.setdefault(name, []).append(verify)
    # Decoders fill with gray what is missing of a JPEG that ends early but properly.
    assert seen == {
        "cut": ["header", "full"],
        "cut, with an end marker": ["full"],
        "header": ["none", "header", "full"],
    }


def kind(image: np.ndarray, suffix: str, *options: int) -> Callable[[], bytes]:
    return lambda: encode(image, suffix, *options)


def pillow(mode: str, form: str, **options: object) -> Callable[[], bytes]:
    """An image as Pillow writes it: what OpenCV can't."""

    def write() -> bytes:
        pil = pytest.importorskip("PIL.Image")
        buffer = io.BytesIO()
        pil.fromarray(picture(40, 70)).convert(mode).save(buffer, form, **options)
        return buffer.getvalue()

    return write


def rotated() -> bytes:
    """A JPEG whose EXIF says that it lies on its side."""
    pil = pytest.importorskip("PIL.Image")
    exif = pil.Exif()
    exif[0x0112] = 6
    return pillow("RGB", "JPEG", exif=exif)()


GREY = picture(40, 70)[..., 0]
KINDS = {
    "gray jpeg": kind(GREY, ".jpg"),
    "progressive jpeg": kind(picture(40, 70), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "cmyk jpeg": pillow("CMYK", "JPEG"),
    "exif-rotated jpeg": rotated,
    "gray png": kind(GREY, ".png"),
    "palette png": pillow("P", "PNG"),
    "black and white png": pillow("1", "PNG"),
    "alpha png": pillow("RGBA", "PNG"),
    "16 bit png": kind(picture(40, 70).astype(np.uint16) * 257, ".png"),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_image_is_stored_as_it_is_and_decodes_to_its_stored_size(
    root: Path, tmp_path: Path, make: Callable[[], bytes]
):
    data = make()
    (images(root) / "1--Empty/d.jpg").write_bytes(data)
    build_records(open_wider(root, "train"), tmp_path / "out", shards=1)
    (record,) = [r for r in records(tmp_path / "out") if r["name"] == b"1--Empty/d.jpg"]
    assert record["encoded"].numpy() == data
    assert record["size"].numpy().tolist() == [40, 70]  # EXIF does not turn it
    assert decode(record["encoded"]).shape == (40, 70, 3)


@pytest.mark.parametrize("form", ["GIF", "BMP", "WEBP", "TIFF"])
def test_other_formats_are_refused_by_name(root: Path, tmp_path: Path, form: str):
    (images(root) / "1--Empty/d.jpg").write_bytes(pillow("RGB", form)())
    with pytest.raises(UserError, match=r"d\.jpg is neither JPEG nor PNG"):
        build_records(open_wider(root, "train"), tmp_path / "out")


def test_official_counts_are_compared(root: Path, tmp_path: Path):
    assert build_records(open_wider(root, "train"), tmp_path / "a")["official"] is False
    (tmp_path / "boxes.csv").write_text("image,x,y,w,h\n0--Parade/a.jpg,1,2,30,40\n")
    own = open_annotations(tmp_path / "boxes.csv", images(root))
    assert build_records(own, tmp_path / "b")["official"] is None


def test_the_documented_example_reads_the_records(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    build_records(open_wider(root, "train"), tmp_path / "tfrecords" / "wider_train", shards=2)
    page = (REPOSITORY / "tfrecords" / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    exec(example, found)
    dataset = list(found["dataset"])
    assert len(dataset) == 4
    assert sum(len(boxes) for _, boxes in dataset) == WIDER_FACES
    for image, boxes in dataset:
        assert image.dtype == tf.uint8
        assert ((boxes >= 0) & (boxes <= 1)).numpy().all()
