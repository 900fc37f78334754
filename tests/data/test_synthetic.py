"""Tests of the generated data set."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssh_tf.data.annotations import ATTRIBUTES
from ssh_tf.data.readers.wider import find_split, read_annotations
from ssh_tf.data.synthetic import (
    LARGEST_FACE_PX,
    SMALLEST_FACE_PX,
    SMALLEST_SIDE_PX,
    draw_image,
    generate,
    scene,
)
from ssh_tf.errors import UserError

SMALL = {"size": (128, 128)}


def digests(root: Path) -> dict[str, str]:
    """The SHA-256 of every file below `root`."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }


def faces_of(root: Path, split: str = "train") -> dict[str, list[list[float]]]:
    images = read_annotations(find_split(root, split).annotations)
    return {image.name: image.boxes.tolist() for image in images}


@pytest.fixture(scope="module")
def drawn() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """150 pictures of 160 x 192 px with their boxes and attributes."""
    return [draw_image(np.random.default_rng([0, i]), 160, 192) for i in range(150)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 12 pictures."""
    out = tmp_path_factory.mktemp("synthetic")
    generate(out, images=12, seed=5, **SMALL)
    return out


def test_same_seed_gives_the_same_bytes(root: Path, tmp_path: Path):
    generate(tmp_path, images=12, seed=5, **SMALL)
    assert len(digests(root)) == 13
    assert digests(tmp_path) == digests(root)


def test_pictures_do_not_depend_on_how_many_are_drawn(root: Path, tmp_path: Path):
    generate(tmp_path, images=5, seed=5, **SMALL)
    fewer = {name: digest for name, digest in digests(tmp_path).items() if name.endswith("jpg")}
    assert len(fewer) == 5
    assert fewer.items() <= digests(root).items()
    assert faces_of(tmp_path).items() <= faces_of(root).items()


@pytest.mark.parametrize(("seed", "split"), [(6, "train"), (5, "val")])
def test_another_seed_or_split_differs(root: Path, tmp_path: Path, seed: int, split: str):
    generate(tmp_path, images=3, seed=seed, split=split, **SMALL)
    assert not set(digests(tmp_path).values()) & set(digests(root).values())


def test_picture_does_not_depend_on_the_number_of_threads():
    threads = cv2.getNumThreads()
    pictures = []
    for count in (1, 4):
        cv2.setNumThreads(count)
        pictures.append(draw_image(np.random.default_rng(3), 480, 640)[0])
    cv2.setNumThreads(threads)
    np.testing.assert_array_equal(*pictures)


def test_written_pictures_are_named_as_wider_does_and_hold_their_boxes(root: Path):
    split = find_split(root, "train")
    on_disk = {p.relative_to(split.images_dir).as_posix() for p in split.images_dir.glob("*/*")}
    images = read_annotations(split.annotations)
    assert {image.name for image in images} == on_disk
    for image in images:
        event = image.name.split("/")[0].replace("--", "_")
        assert image.name.split("/")[1].startswith(f"{event}_")
        height, width = cv2.imread(str(split.images_dir / image.name)).shape[:2]
        assert (image.boxes[:, :2] >= 0).all()
        assert (image.boxes[:, :2] + image.boxes[:, 2:] <= [width, height]).all()


def test_sizes_and_aspect_ratios_vary_around_the_given_size(root: Path):
    split = find_split(root, "train")
    files = split.images_dir.glob("*/*")
    sizes = np.array([cv2.imread(str(file)).shape[:2] for file in files])
    assert len({tuple(size) for size in sizes.tolist()}) > 8
    assert np.exp(np.log(sizes).mean()) == pytest.approx(128, rel=0.1)
    assert sizes.min() >= SMALLEST_SIDE_PX


def test_drawn_arrays_have_the_stated_types(drawn):
    for rgb, boxes, attributes in drawn:
        assert rgb.shape == (160, 192, 3)
        assert rgb.dtype == np.uint8
        assert boxes.shape == (len(boxes), 4)
        assert boxes.dtype == np.float32
        assert attributes.shape == (len(boxes), len(ATTRIBUTES))
        assert attributes.dtype == np.int64


def test_boxes_are_whole_inside_and_of_the_stated_sizes(drawn):
    boxes = np.concatenate([boxes for _, boxes, _ in drawn])
    assert (boxes == np.rint(boxes)).all()
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= [192, 160]).all()
    assert boxes[:, 3].min() >= SMALLEST_FACE_PX
    assert 0.8 * 160 < boxes[:, 3].max() <= min(LARGEST_FACE_PX, 0.9 * 160 + 1)
    assert np.median(boxes[:, 3] / boxes[:, 2]) == pytest.approx(1.25, abs=0.05)


def test_few_pictures_are_empty_few_are_crowds_most_have_1_to_6(drawn):
    counts = np.array([len(boxes) for _, boxes, _ in drawn])
    assert 0.04 < (counts == 0).mean() < 0.14
    assert 0.03 < (counts >= 15).mean() < 0.13
    assert ((counts >= 1) & (counts <= 6)).mean() > 0.7


def test_every_attribute_takes_all_its_values(drawn):
    attributes = np.concatenate([attributes for _, _, attributes in drawn])
    assert attributes.max(axis=0).tolist() == [2, 1, 1, 1, 2, 1]
    assert attributes.min(axis=0).tolist() == [0] * 6
    # Hard faces are the exception.
    assert ((attributes > 0).mean(axis=0) < 0.5).all()


def test_faces_hardly_overlap(drawn):
    for _, boxes, _ in drawn:
        low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        ends = boxes[:, :2] + boxes[:, 2:]
        high = np.minimum(ends[:, None], ends[None])
        shared = np.maximum(high - low, 0).prod(axis=2)
        area = boxes[:, 2:].prod(axis=1)
        iou = shared / (area[:, None] + area[None] - shared)
        np.fill_diagonal(iou, 0)
        assert iou.max(initial=0) <= 0.3


def contrast(rgb: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """How much darker the band of the eyes is than the cheeks and nose below it, in gray levels."""
    levels = []
    for x, y, w, h in boxes.astype(int):
        inner = rgb[y : y + h, x + w // 5 : x + w - w // 5].mean(axis=(1, 2))
        eyes, cheeks = inner[int(0.32 * h) : int(0.48 * h)], inner[int(0.5 * h) : int(0.68 * h)]
        levels.append(cheeks.mean() - eyes.mean())
    return np.array(levels)


@pytest.mark.parametrize(("least", "most"), [(12, 16), (16, 60), (60, 200)])
def test_eyes_are_darker_than_cheeks_at_every_size(drawn, least: int, most: int):
    levels = []
    for rgb, boxes, attributes in drawn:
        plain = (boxes[:, 3] >= least) & (boxes[:, 3] < most) & (attributes == 0).all(axis=1)
        levels.extend(contrast(rgb, boxes[plain]))
    assert len(levels) > 20
    assert np.mean(np.array(levels) > 2) > 0.75


def test_blurred_faces_are_smoother(drawn):
    roughness = {0: [], 2: []}
    for rgb, boxes, attributes in drawn:
        for (x, y, w, h), flags in zip(boxes.astype(int), attributes, strict=True):
            if h > 40 and flags[0] in roughness and not flags[1:].any():
                gray = cv2.cvtColor(rgb[y : y + h, x : x + w], cv2.COLOR_RGB2GRAY)
                thumbnail = cv2.resize(gray, (24, 30), interpolation=cv2.INTER_AREA)
                steps = np.abs(np.diff(thumbnail.astype(float), axis=0))
                roughness[flags[0]].append(steps.mean() / gray.std())
    assert np.median(roughness[2]) < 0.8 * np.median(roughness[0])


@pytest.mark.parametrize("shape", [(64, 64), (64, 300), (300, 64)])
def test_narrow_pictures_hold_their_faces(shape: tuple[int, int]):
    for index in range(20):
        rgb, boxes, _ = draw_image(np.random.default_rng([1, index]), *shape)
        assert rgb.shape[:2] == shape
        assert (boxes[:, :2] + boxes[:, 2:] <= [shape[1], shape[0]]).all()
        assert (boxes[:, 2:] >= 8).all()


def test_splits_share_a_root_but_an_existing_one_is_never_mixed(tmp_path: Path):
    generate(tmp_path, images=2, seed=0, **SMALL)
    generate(tmp_path, images=2, seed=0, split="val", **SMALL)
    before = digests(tmp_path)
    with pytest.raises(UserError, match="WIDER_val exists already"):
        generate(tmp_path, images=3, seed=1, split="val", **SMALL)
    assert digests(tmp_path) == before
    assert len(faces_of(tmp_path, "train")) == len(faces_of(tmp_path, "val")) == 2


def test_failure_midway_leaves_nothing_behind(tmp_path: Path):
    ticks = iter([None])

    def progress(stage: str, total: int) -> Callable[[], None]:
        return lambda: next(ticks)  # the second picture raises StopIteration

    with pytest.raises(StopIteration):
        generate(tmp_path, images=3, seed=0, progress=progress, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_each_picture_is_reported_once(tmp_path: Path):
    seen: list[str] = []
    progress = lambda stage, total: lambda: seen.append(f"{stage} of {total}")  # noqa: E731
    generate(tmp_path, images=3, seed=0, progress=progress, **SMALL)
    assert seen == ["draw train of 3"] * 3


def test_no_face_is_smaller_than_asked_for(tmp_path: Path):
    generate(tmp_path, images=12, seed=0, smallest_px=40, **SMALL)
    heights = [box[3] for boxes in faces_of(tmp_path).values() for box in boxes]
    assert min(heights) >= 40


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": 0}, "images must be at least 1. Received: 0"),
        ({"seed": -1}, "seed must be 0 or more. Received: -1"),
        ({"size": (128, 50)}, "width and height must be at least .* Received: 50 x 128"),
        ({"split": "../x"}, "split must be letters.*Received: '../x'"),
        ({"split": ""}, "split must be letters"),
    ],
)
def test_unusable_setting_is_named(tmp_path: Path, settings: dict[str, object], message: str):
    with pytest.raises(UserError, match=message):
        generate(tmp_path, **({"images": 1, "seed": 0, **SMALL} | settings))
    assert list(tmp_path.iterdir()) == []


def test_output_that_is_a_file_is_a_user_error(tmp_path: Path):
    (tmp_path / "taken").touch()
    with pytest.raises(UserError, match="taken is not writable"):
        generate(tmp_path / "taken", images=1, seed=0, **SMALL)


@pytest.mark.parametrize(
    ("share", "flags"),
    [
        # The lowest 15 % of the height are the chin: about 6 % of the face.
        pytest.param(0.15, [(1, 0)], id="partial"),
        pytest.param(0.6, [(2, 0)], id="heavy"),
        pytest.param(0.8, [(2, 1)], id="invalid"),
        pytest.param(1.0, [], id="not-listed"),
    ],
)
def test_occlusion_follows_the_covered_share(
    monkeypatch: pytest.MonkeyPatch, share: float, flags: list[tuple[int, int]]
):
    occluded = []

    def cover_from_below(_rng, picture, person) -> None:
        _, y, _, height = person.box()
        picture.owner[round(y + (1 - share) * height) :] = -1
        occluded.append(person)

    place = scene.place_people
    monkeypatch.setattr(scene, "place_people", lambda *args: place(*args)[:1])
    monkeypatch.setattr(scene, "_draw_occluder", cover_from_below)
    for index in range(100):
        _, _, attributes = draw_image(np.random.default_rng([2, index]), 160, 160)
        if occluded and occluded.pop().look.accessory == "none":
            assert [(row[4], row[3]) for row in attributes.tolist()] == flags
            return
    pytest.fail("no face was occluded")
