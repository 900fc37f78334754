"""Tests of the input pipeline: boxes stay on faces, nothing is lost, order is reproducible."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ssh_tf.config import DataConfig
from ssh_tf.data.pipeline import training_dataset
from ssh_tf.data.records import to_example
from ssh_tf.errors import UserError
from ssh_tf.geometry.targets import FACE_PADDING, FACE_ROWS
from ssh_tf.imaging.scale import resize
from tests.support.small import encode, picture

NO_FACE = np.zeros((0, 4), np.float32)
ONE_FACE = np.array([[1, 1, 5, 6]], np.float32)

Sample = tuple[np.ndarray, np.ndarray]


def write_records(folder: Path, samples: Sequence[Sample], shards: int = 2, name: str = "") -> str:
    """Writes `(image, corners)` pairs, named `0`, `1`, ... after `name`, as a data set of PNGs."""
    folder.mkdir()
    entries = []
    for shard in range(min(shards, len(samples))):
        path = folder / f"{shard}.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for i in range(shard, len(samples), shards):
                writer.write(png_example(f"{name}{i}", *samples[i]))
        entries.append({"name": path.name, "bytes": path.stat().st_size})
    faces = sum(len(corners) for _, corners in samples)
    manifest = {"schema": 1, "images": len(samples), "faces": faces, "shards": entries}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return str(folder)


def write_shard(folder: Path, *examples: bytes) -> str:
    """Writes examples as a data set of one shard."""
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "a.tfrecord")) as writer:
        for example in examples:
            writer.write(example)
    shard = {"name": "a.tfrecord", "bytes": (folder / "a.tfrecord").stat().st_size}
    manifest = {"schema": 1, "images": len(examples), "faces": 1, "shards": [shard]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return str(folder)


def png_example(name: str, image: np.ndarray, corners: np.ndarray, **more: int) -> bytes:
    return to_example(
        encode(image, ".png"),
        name=name,
        size=image.shape[:2],
        corners=corners,
        attributes=np.zeros((len(corners), 6), int),
        **more,
    )


def tiny(count: int) -> list[Sample]:
    return [(picture(8, 10, seed=i), ONE_FACE) for i in range(count)]


def take(
    records: str | dict[str, float],
    count: int,
    *,
    batch: int = 1,
    seed: int = 0,
    skip: int = 0,
    share: tuple[int, int] = (1, 0),
    **settings: Any,
) -> list[dict[str, np.ndarray]]:
    tf.random.set_seed(0)  # Shuffling also looks at the global seed, which other tests may set.
    config = DataConfig(**{"records": records, "shorter_px": 8, "longer_px": 10, **settings})
    pipelines, pipeline = share
    dataset = training_dataset(
        config, batch=batch, seed=seed, skip=skip, pipelines=pipelines, pipeline=pipeline
    )
    return list(dataset.take(count).as_numpy_iterator())


def faces_of(element: dict[str, np.ndarray], i: int = 0) -> np.ndarray:
    """The faces of one image, without padding."""
    faces = element["faces"][i]
    return faces[(faces != FACE_PADDING).any(axis=1)]


def names(elements: Sequence[dict[str, np.ndarray]]) -> list[str]:
    return [name.decode() for element in elements for name in element["names"]]


def assert_same(left: Sequence[dict[str, Any]], right: Sequence[dict[str, Any]]) -> None:
    for a, b in zip(left, right, strict=True):
        for key in ("names", "images", "sizes", "faces"):
            np.testing.assert_array_equal(a[key], b[key])


def marked(corners: Sequence[int]) -> np.ndarray:
    """Black, with a white box at `corners` and a green upper left corner that tells a flip."""
    x1, y1, x2, y2 = corners
    image = np.zeros((40, 60, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    image[:4, :4, 1] = 255
    return image


@pytest.mark.parametrize("shorter_px", [40, 80, 60], ids=["x1", "x2", "x1.5"])
def test_a_painted_marker_stays_under_its_box(tmp_path: Path, shorter_px: int):
    corners = [[8, 10, 20, 30], [40, 6, 60, 18], [30, 24, 36, 40]]
    samples = [(marked(box), np.array([box], np.float32)) for box in corners]
    flips = set()
    records = write_records(tmp_path / "r", samples)
    for element in take(records, 24, shorter_px=shorter_px, longer_px=200):
        height, width = element["sizes"][0]
        image, scale = element["images"][0, :height, :width], shorter_px / 40
        rows, columns = np.nonzero(image[..., 0] > 127)  # red: the box alone
        marker = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        flipped = bool(image[0, -1, 1] > 127)
        # Official corners count as inclusive when mirrored: one source px further left.
        expected = np.array(marker) - (np.array([scale, 0, scale, 0]) if flipped else 0)
        np.testing.assert_allclose(faces_of(element), [expected], atol=0.01)
        flips.add(flipped)
    assert flips == {False, True}


def test_about_half_of_the_images_are_mirrored_and_none_without_flip(tmp_path: Path):
    records = write_records(tmp_path / "r", tiny(1))
    original = picture(8, 10).astype(np.float32)
    mirrored = [not np.array_equal(e["images"][0], original) for e in take(records, 64)]
    assert 20 <= sum(mirrored) <= 44
    plain = take(records, 16, flip=False)
    assert all(np.array_equal(element["images"][0], original) for element in plain)


def test_padding_rows_are_minus_one_and_the_canvas_beyond_an_image_is_zero(tmp_path: Path):
    # Twice as large, 22 x 40 and 23 x 40 px lie on canvases of steps of 10 px: 24 x 40.
    low, high = picture(11, 20, seed=1), picture(12, 20, seed=2)
    many = np.array([[1, 2, 9, 8], [3, 4, 12, 11]], np.float32)
    records = write_records(tmp_path / "r", [(low, ONE_FACE), (high, many)])
    settings = {"flip": False, "shorter_px": 24, "longer_px": 40, "canvas_steps": 4}
    (element,) = take(records, 1, batch=2, **settings)
    assert element["images"].shape == (2, 24, 40, 3)
    assert element["faces"].shape == (2, FACE_ROWS - 1, 4)
    first = names([element]).index("0")
    assert element["sizes"][first].tolist() == [22, 40]
    assert element["sizes"][1 - first].tolist() == [24, 40]
    assert FACE_PADDING == -1
    np.testing.assert_allclose(element["faces"][first][:2], [[2, 2, 10, 12], [-1] * 4])
    np.testing.assert_allclose(faces_of(element, 1 - first), many * 2)
    canvas = element["images"][first].copy()
    np.testing.assert_array_equal(canvas[:22], resize(low, tf.constant(2.0, tf.float64)))
    assert not canvas[22:].any()


def test_elements_have_the_documented_types(tmp_path: Path):
    config = DataConfig(records=write_records(tmp_path / "r", tiny(2)))
    spec = training_dataset(config, batch=2, seed=0).element_spec
    assert spec["images"] == tf.TensorSpec([2, None, None, 3], tf.float32)
    assert spec["sizes"] == tf.TensorSpec([2, 2], tf.int32)
    assert spec["faces"] == tf.TensorSpec([2, None, 4], tf.float32)
    assert spec["names"] == tf.TensorSpec([2], tf.string)


def test_pixels_are_rgb_gray_levels(tmp_path: Path):
    records = write_records(tmp_path / "r", tiny(1))
    (element,) = take(records, 1, flip=False)
    np.testing.assert_array_equal(element["images"][0], picture(8, 10).astype(np.float32))


def test_the_seed_decides_the_order(tmp_path: Path):
    records = write_records(tmp_path / "r", tiny(12))
    first, again, other = (take(records, 20, seed=seed) for seed in (5, 5, 6))
    assert_same(first, again)
    assert names(first)[:12] != names(other)[:12]


@pytest.mark.parametrize(  # within the first pass of twelve and beyond the second; at its end
    ("skips", "shuffle_images"), [((5, 31), 4), ((12,), 100)]
)
def test_skipping_continues_where_an_undisturbed_run_would_be(
    tmp_path: Path, skips: tuple[int, ...], shuffle_images: int
):
    records = write_records(tmp_path / "r", tiny(12), shards=3)
    whole = take(records, max(skips) + 10, seed=2, shuffle_images=shuffle_images)
    for skip in skips:
        resumed = take(records, 10, seed=2, shuffle_images=shuffle_images, skip=skip)
        assert_same(resumed, whole[skip : skip + 10])


def mixed(count: int) -> list[Sample]:
    """Wide and high images, two to one."""
    return [(picture(*((8, 10), (10, 8), (8, 10))[i % 3], seed=i), ONE_FACE) for i in range(count)]


def test_images_of_a_batch_share_a_canvas_and_none_is_lost(tmp_path: Path):
    elements = take(write_records(tmp_path / "r", mixed(12)), 24, batch=2)
    assert {element["images"].shape[1:3] for element in elements} == {(8, 10), (10, 8)}
    # Four passes of twelve images; one or two may wait for the next at the end.
    counts = [names(elements).count(str(i)) for i in range(12)]
    assert min(counts) >= 3
    assert max(counts) <= 5


def test_skipping_counts_batches(tmp_path: Path):
    records = write_records(tmp_path / "r", mixed(12))
    whole = take(records, 15, batch=2, distort_colors=True)
    for skip in (1, 11):
        resumed = take(records, 4, batch=2, skip=skip, distort_colors=True)
        assert_same(resumed, whole[skip : skip + 4])


@pytest.mark.parametrize("batch", [1, 2])
def test_pipelines_share_the_batches_by_turns(tmp_path: Path, batch: int):
    records = write_records(tmp_path / "r", mixed(12))
    whole = take(records, 12, batch=batch)
    for own in range(3):
        assert_same(take(records, 3, batch=batch, share=(3, own), skip=3), whole[3 + own :: 3])


@pytest.mark.parametrize("shuffle_images", [3, 100], ids=["small buffer", "whole set"])
def test_every_pass_sees_every_image_once(tmp_path: Path, shuffle_images: int):
    records = write_records(tmp_path / "r", tiny(9), shards=4)
    seen = names(take(records, 27, shuffle_images=shuffle_images))
    passes = [seen[:9], seen[9:18], seen[18:]]
    assert all(sorted(one, key=int) == [str(i) for i in range(9)] for one in passes)
    assert passes[0] != passes[1] != passes[2]


def test_images_without_a_face_are_left_out_or_kept(tmp_path: Path):
    samples = [
        (image, face) for (image, _), face in zip(tiny(4), itertools.cycle([NO_FACE, ONE_FACE]))
    ]
    records = write_records(tmp_path / "r", samples)
    assert sorted(names(take(records, 4))) == ["1", "1", "3", "3"]
    assert sorted(names(take(records, 4, drop_empty=False))) == ["0", "1", "2", "3"]


def test_images_whose_annotated_boxes_all_vanished_stay_as_negatives(tmp_path: Path):
    boxes = (("0", NO_FACE, 0), ("1", NO_FACE, 2), ("2", ONE_FACE, 1))
    examples = [png_example(n, picture(8, 10), found, annotated=count) for n, found, count in boxes]
    records = write_shard(tmp_path / "r", *examples)
    assert sorted(names(take(records, 4))) == ["1", "1", "2", "2"]


def test_photos_are_turned_upright_with_their_faces(tmp_path: Path):
    image, corners = picture(8, 10), np.array([[1, 2, 4, 6]], np.float32)
    records = write_shard(tmp_path / "r", png_example("0", image, corners, orientation=6))
    (element,) = take(records, 1, flip=False)
    # A quarter to the right: x = 8 - y, y = x.
    np.testing.assert_array_equal(element["images"][0], np.rot90(image, -1))
    np.testing.assert_allclose(faces_of(element), [[2, 1, 6, 4]], atol=1e-5)


def test_a_batch_without_faces_has_padding_alone(tmp_path: Path):
    samples = [(picture(8, 10), NO_FACE)] * 2
    (element,) = take(write_records(tmp_path / "r", samples), 1, batch=2, drop_empty=False)
    assert (element["faces"] == FACE_PADDING).all()


@pytest.mark.parametrize("count", [31, 32, 2000])
def test_any_number_of_faces_arrives_without_loss(tmp_path: Path, count: int):
    places = range(count)
    corners = np.array([[i % 60, i // 60, i % 60 + 3, i // 60 + 4] for i in places], np.float32)
    samples = [(picture(64, 96), corners), (picture(64, 96), ONE_FACE)]
    settings = {"shorter_px": 128, "longer_px": 1000, "flip": False}
    (element,) = take(write_records(tmp_path / "r", samples), 1, batch=2, **settings)
    first = names([element]).index("0")
    np.testing.assert_allclose(faces_of(element, first), corners * 2, atol=1e-3)
    assert (element["faces"][1 - first][1:] == FACE_PADDING).all()
    assert element["faces"].shape[1] % FACE_ROWS == FACE_ROWS - 1


def two_folders(tmp_path: Path) -> dict[str, float]:
    """`a0` to `a2`, and `b0` to `b5`; the first folder counts three times as much."""
    first = write_records(tmp_path / "a", tiny(3), name="a")
    return {first: 3.0, write_records(tmp_path / "b", tiny(6), name="b"): 1.0}


def test_folders_are_mixed_by_their_weights_each_in_whole_passes(tmp_path: Path):
    seen = names(take(two_folders(tmp_path), 120))
    first, second = ([name for name in seen if name[0] == folder] for folder in "ab")
    assert 75 <= len(first) <= 105  # 90 expected
    assert sorted(first[:3]) == sorted(first[3:6]) == ["a0", "a1", "a2"]
    assert sorted(second[:6]) == ["b0", "b1", "b2", "b3", "b4", "b5"]
    assert len({"".join(name[0] for name in seen[i : i + 8]) for i in range(0, 120, 8)}) > 5


def test_mixed_folders_continue_where_an_undisturbed_run_would_be(tmp_path: Path):
    records = two_folders(tmp_path)
    whole = take(records, 13, batch=2, seed=2)
    assert_same(take(records, 6, batch=2, seed=2, skip=7), whole[7:])


def test_a_folder_of_a_mixture_without_a_face_is_refused(tmp_path: Path):
    faceless = write_records(tmp_path / "none", [(picture(8, 10), NO_FACE)])
    with pytest.raises(UserError, match="none has no image to train on"):
        take(two_folders(tmp_path) | {faceless: 1.0}, 1)


def flat(count: int) -> list[Sample]:
    """Images of one color each, 10, 20, ..., with a face that fills them."""
    face = np.array([[0, 0, 10, 10]], np.float32)
    return [(np.full((10, 10, 3), 10 * i + 10, np.uint8), face) for i in range(count)]


def test_mosaics_hold_four_images_and_none_is_lost(tmp_path: Path):
    records = write_records(tmp_path / "r", flat(8))
    settings = {"crop_px": 40, "crop_factors": (1.0,), "mosaic_probability": 0.5}
    elements = take(records, 48, **settings)
    mosaics = [element for element in elements if "+" in names([element])[0]]
    assert 16 <= len(mosaics) <= 32
    for element in mosaics:
        parts = [int(name) for name in names([element])[0].split("+")]
        image = element["images"][0]
        assert image.shape == (40, 40, 3)
        assert element["sizes"].tolist() == [[40, 40]]
        assert image[10::20, 10::20, 0].ravel().tolist() == [10 * part + 10 for part in parts]
        # Each square, of half the side, is filled by its face (mirrored: official corners, -1 px).
        assert faces_of(element)[:, [1, 3]].tolist() == [[0, 20], [0, 20], [20, 40], [20, 40]]
    seen = [part for element in elements for part in names([element])[0].split("+")]
    counts = [seen.count(str(i)) for i in range(8)]
    assert max(counts) - min(counts) <= 2


def test_skipping_counts_mosaics_and_all_changes_of_pixels_are_stateless(tmp_path: Path):
    settings = {"crop_px": 16, "crop_factors": (0.5, 1.5), "mosaic_probability": 0.4}
    changes = ("erase", "gray", "blur", "jpeg")
    settings |= {f"{change}_probability": 0.5 for change in changes} | {"distort_colors": True}
    records = write_records(tmp_path / "r", tiny(12))
    whole = take(records, 11, batch=2, **settings)
    assert_same(take(records, 6, batch=2, skip=5, **settings), whole[5:])
    assert len({element["images"].tobytes() for element in whole}) == 11


def test_pixels_beyond_an_image_stay_zero_when_it_is_changed(tmp_path: Path):
    records = write_records(tmp_path / "r", [(picture(11, 20), ONE_FACE)])
    settings = {"shorter_px": 24, "longer_px": 40, "canvas_steps": 4, "blur_probability": 1.0}
    (element,) = take(records, 1, distort_colors=True, jpeg_probability=1.0, **settings)
    assert element["images"].shape == (1, 24, 40, 3)
    assert element["images"][0, 21].any()
    assert not element["images"][0, 22:].any()


def test_a_data_set_without_anything_to_train_on_is_refused(tmp_path: Path):
    empty = write_records(tmp_path / "empty", [])
    faceless = write_records(tmp_path / "faceless", [(picture(8, 10), NO_FACE)])
    for records, drop_empty in ((empty, False), (faceless, True)):
        with pytest.raises(UserError, match="has no image to train on"):
            take(records, 1, drop_empty=drop_empty)


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"has no manifest.json"):
        take(str(tmp_path), 1)
