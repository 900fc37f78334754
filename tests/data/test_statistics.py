"""What is in a folder of records, and which faces anchors can learn."""

from pathlib import Path

import numpy as np
import pytest

from ssh_tf.config import M1, M2, M3
from ssh_tf.data.builder import build_records
from ssh_tf.data.sources import open_wider
from ssh_tf.data.statistics import best_anchor_iou, read_contents
from ssh_tf.errors import UserError
from ssh_tf.evaluation.truth import load_ground_truth
from ssh_tf.geometry.anchors import anchor_grid
from ssh_tf.geometry.boxes import include_last_pixel, pairwise_iou
from tests.support.small import WIDER_BOXES, WIDER_FACES, write_wider

MODULES = (M1, M2, M3)


def test_contents_are_those_of_the_annotations(tmp_path: Path):
    write_wider(tmp_path / "wider")
    build_records(open_wider(tmp_path / "wider", "train"), tmp_path / "out", shards=2)
    contents = read_contents(tmp_path / "out")
    assert sorted(contents.names) == sorted(WIDER_BOXES)
    assert len(contents.faces) == WIDER_FACES
    per_image = dict(zip(contents.names, contents.faces_per_image.tolist(), strict=True))
    assert per_image == {
        "0--Parade/a.jpg": 2,
        "0--Parade/b.png": 1,
        "1--Empty/c.jpg": 0,
        "1--Empty/d.jpg": 2,
    }
    first = contents.names.index("0--Parade/b.png")
    assert contents.sizes[first].tolist() == [68, 88]
    np.testing.assert_allclose(
        contents.faces[contents.image_of == first], [[8, 8, 38, 40]], atol=1e-3
    )
    assert contents.attributes[contents.image_of == first].tolist() == [[1, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize("damage", ["byte", "manifest"])
def test_shards_that_are_not_the_manifest_s_are_named(tmp_path: Path, damage: str):
    write_wider(tmp_path / "wider")
    build_records(open_wider(tmp_path / "wider", "train"), tmp_path / "out", shards=1)
    (shard,) = (tmp_path / "out").glob("*.tfrecord")
    if damage == "byte":
        content = bytearray(shard.read_bytes())
        content[100] ^= 1
        shard.write_bytes(content)
        says = "has another checksum"
    else:
        manifest = tmp_path / "out" / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"faces": 5', '"faces": 6'))
        says = "holds 4 images and 5 faces; the manifest says 4 and 6"
    with pytest.raises(UserError, match=says):
        read_contents(tmp_path / "out")


def test_the_best_anchor_is_that_of_the_whole_grid(rng: np.random.Generator):
    sides = rng.uniform(6, 500, (60, 2))
    corners = rng.uniform(0, 500, (60, 2))
    faces = np.concatenate([corners, corners + sides], axis=1)
    for scale in (0.7, 1.5625):
        network = include_last_pixel((faces * scale).astype(np.float32))
        grids = [anchor_grid(200, 200, stride=m.stride, scales=m.anchor_scales) for m in MODULES]
        expected = np.max(
            [np.asarray(pairwise_iou(grid, network)).max(axis=0) for grid in grids], axis=0
        )
        np.testing.assert_allclose(best_anchor_iou(faces, scale, MODULES), expected, atol=1e-4)


def test_no_faces_no_overlap():
    assert best_anchor_iou(np.zeros((0, 4)), 1.0, MODULES).shape == (0,)


@pytest.mark.parametrize(
    ("scale", "setting", "percent"),
    [
        (1.5625, "easy", 96.0),
        (1.5625, "medium", 95.8),
        (1.5625, "hard", 92.1),
        (1.0, "hard", 78.7),
        (1200 / 1024, "hard", 86.3),
    ],
)
def test_official_faces_are_covered_as_published(
    test_data: Path, scale: float, setting: str, percent: float
):
    truth = load_ground_truth(test_data / "wider" / "ground_truth")
    boxes = np.concatenate(
        [f[counted] for f, counted in zip(truth.faces, truth.counted[setting], strict=True)]
    ).astype(np.float64)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    covered = best_anchor_iou(corners, scale, MODULES) >= 0.5
    assert 100 * covered.mean() == pytest.approx(percent, abs=0.06)
