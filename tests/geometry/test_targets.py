"""Tests of matching, labels and hard mining."""

import itertools

import numpy as np
import pytest
from keras import ops

from ssh_tf.geometry.anchors import anchor_grid, grid_size
from ssh_tf.geometry.targets import (
    IGNORE,
    NEGATIVE,
    POSITIVE,
    label_anchors,
    match,
    mine,
    trainable_anchors,
)
from tests.support import oracle


def tensor(values: object, dtype: str = "float32") -> object:
    return ops.convert_to_tensor(np.asarray(values), dtype=dtype)


def numpy(values: object) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(values))


# Anchors that may be trained


def trainable(anchors: list[list[float]], *sizes: tuple[int, int], border: int = 0) -> list:
    found = trainable_anchors(tensor(anchors), tensor(sizes, "int32"), allowed_border=border)
    return numpy(found).tolist()


@pytest.mark.parametrize(
    ("anchor", "border", "expected"),
    [
        # 40 px high, 60 px wide. Inclusive corners must be >= 0 and < the size.
        pytest.param([0, 0, 16, 16], 0, True, id="upper-left"),
        pytest.param([44, 24, 60, 40], 0, True, id="ends-at-the-last-pixel"),
        pytest.param([45, 24, 61, 40], 0, False, id="one-px-too-wide"),
        pytest.param([44, 25, 60, 41], 0, False, id="one-px-too-low"),
        pytest.param([-1, 0, 15, 16], 0, False, id="one-px-left"),
        pytest.param([0, -1, 16, 15], 0, False, id="one-px-above"),
        pytest.param([-5, 0, 11, 16], 5, True, id="within-the-border-left"),
        pytest.param([-6, 0, 10, 16], 5, False, id="beyond-the-border-left"),
        pytest.param([49, 24, 65, 40], 5, True, id="within-the-border-right"),
        pytest.param([50, 24, 66, 40], 5, False, id="beyond-the-border-right"),
    ],
)
def test_border_by_hand(anchor: list[float], border: int, expected: bool):
    inside = [8, 8, 24, 24]  # so that the fallback for no anchor at all does not act
    assert trainable([anchor, inside], (40, 60), border=border) == [[expected, True]]


def test_all_anchors_count_where_none_is_inside():
    # 10 x 60 px: no 16-px anchor fits the height.
    assert trainable([[0, 0, 16, 16], [8, 0, 24, 16]], (10, 60)) == [[True, True]]


def test_fallback_of_one_image_leaves_the_other_alone():
    anchors = [[0, 0, 16, 16], [8, 8, 24, 24]]
    assert trainable(anchors, (20, 20), (10, 10)) == [[True, False], [True, True]]


@pytest.mark.parametrize("border", [0, 512])
def test_cells_of_the_padding_never_count(border: int):
    # Centers 8 + 32 i: cells 0 and 32 exist in an image of 33 px, the cell at 64 does not, however
    # much border is allowed and even if no anchor is inside.
    anchors = [[0, 0, 16, 16], [32, 0, 48, 16], [64, 0, 80, 16], [0, 32, 16, 48]]
    assert trainable(anchors, (12, 33), border=border) == [[True, True, False, False]]


def test_m3_trains_every_anchor():
    anchors = anchor_grid(38, 50, stride=32, scales=(16, 32))
    found = trainable_anchors(anchors, tensor([[1200, 1600]], "int32"), allowed_border=512)
    assert numpy(found).all()


# Matching

TILES = [[20.0 * (i % 10), 20.0 * (i // 10), 20.0 * (i % 10) + 16, 0] for i in range(100)]
for tile in TILES:
    tile[3] = tile[1] + 16


def test_best_face_by_hand():
    faces = [[0, 0, 4, 16], [0, 0, 8, 16], [20, 0, 36, 16]]
    iou, face = match(tensor(TILES[:3]), tensor([faces]))
    # 8 x 16 of 16 x 16; itself; nothing.
    assert numpy(iou).tolist() == [[0.5, 1.0, 0.0]]
    assert numpy(face)[0, :2].tolist() == [faces[1], faces[2]]


@pytest.mark.parametrize("count", [1, 31, 32, 33, 63, 64, 65, 100])
def test_each_anchor_finds_its_face_among_any_number(count: int):
    order = np.random.default_rng(count).permutation(count)
    wider = np.array(TILES, np.float32)[:count] + np.float32([0, 0, 1, 0])
    faces = wider[order]
    iou, face = match(tensor(TILES[:count]), tensor(faces[None]))
    np.testing.assert_allclose(numpy(iou)[0], 16 / 17, rtol=1e-6)
    np.testing.assert_array_equal(numpy(face)[0], wider)


@pytest.mark.parametrize(
    ("first", "second"), list(itertools.combinations([0, 5, 31, 32, 33, 63, 64, 69], 2))
)
def test_first_of_equal_faces_wins_within_and_across_chunks(first: int, second: int):
    faces = np.tile(np.float32([300, 300, 310, 310]), (70, 1))
    # Both share 128 of 256 px with the anchor: equal IoU, unlike boxes.
    faces[first], faces[second] = [0, 0, 8, 16], [8, 0, 16, 16]
    iou, face = match(tensor([[0, 0, 16, 16]]), tensor(faces[None]))
    assert numpy(iou).tolist() == [[0.5]]
    assert numpy(face)[0, 0].tolist() == faces[first].tolist()


def test_later_better_face_wins():
    faces = np.zeros((1, 40, 4), np.float32)
    faces[0, 3], faces[0, 35] = [0, 0, 8, 16], [0, 0, 12, 16]
    iou, _ = match(tensor([[0, 0, 16, 16]]), tensor(faces))
    assert numpy(iou).tolist() == [[0.75]]


def test_no_face_overlaps_nothing():
    iou, face = match(tensor(TILES), tensor(np.zeros((2, 0, 4))))
    assert numpy(iou).tolist() == [[0.0] * 100] * 2
    assert numpy(face).shape == (2, 100, 4)


@pytest.mark.parametrize("count", [1, 32, 50])
def test_padding_row_never_matches(count: int):
    anchors = anchor_grid(4, 4, stride=32, scales=(16, 32))  # all of them cover the corner (0, 0)
    iou, _ = match(anchors, tensor(np.zeros((1, count, 4))))
    assert not numpy(iou).any()


def test_padding_rows_change_nothing(rng: np.random.Generator):
    faces = random_faces(rng, 40)
    padded = np.concatenate([faces, np.zeros((30, 4), np.float32)])
    anchors = anchor_grid(12, 12, stride=8, scales=(1, 2))
    for alone, joined in zip(
        match(anchors, tensor(faces[None])), match(anchors, tensor(padded[None])), strict=True
    ):
        np.testing.assert_array_equal(numpy(alone), numpy(joined))


def random_faces(rng: np.random.Generator, count: int) -> np.ndarray:
    corners = rng.uniform(-10, 90, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(4, 60, (count, 2))], axis=-1)
    return boxes.astype(np.float32)


def test_matching_agrees_with_the_oracle(rng: np.random.Generator):
    faces = random_faces(rng, 45)
    anchors = oracle.anchors(97, 97, oracle.MODULES[0])
    official = [[oracle.iou(anchor, face) for face in faces.tolist()] for anchor in anchors]
    half_open = np.float32([0, 0, 1, 1])
    iou, face = match(tensor(anchors + half_open), tensor(faces[None] + half_open))
    np.testing.assert_allclose(numpy(iou)[0], np.max(official, axis=1), rtol=1e-5, atol=1e-7)
    best = faces[np.argmax(official, axis=1)] + half_open
    np.testing.assert_array_equal(numpy(face)[0], best)


# Labels


def labels_of(iou: list[float], *, inclusive: bool = True, trainable: bool = True) -> list[int]:
    labels = label_anchors(
        tensor([iou]),
        tensor([[trainable] * len(iou)], "bool"),
        positive_iou=0.5,
        positive_inclusive=inclusive,
        negative_iou=0.3,
    )
    return numpy(labels)[0].tolist()


def test_labels_at_the_thresholds():
    below = [float(np.nextafter(np.float32(x), np.float32(0))) for x in (0.3, 0.5)]
    iou = [0.0, below[0], 0.3, below[1], 0.5, 1.0]
    assert labels_of(iou) == [NEGATIVE, NEGATIVE, IGNORE, IGNORE, POSITIVE, POSITIVE]


def test_paper_wants_more_than_half():
    assert labels_of([0.5, 0.51], inclusive=False) == [IGNORE, POSITIVE]


def test_anchors_that_may_not_be_trained_are_ignored():
    assert labels_of([0.0, 0.4, 0.9], trainable=False) == [IGNORE] * 3


def test_no_face_claims_its_best_anchor():
    # IoU 0.4 is the best this face has: it stays without a positive anchor.
    assert labels_of([0.4, 0.1]) == [IGNORE, NEGATIVE]


# Mining

P, N, I = POSITIVE, NEGATIVE, IGNORE  # noqa: E741


@pytest.mark.parametrize(
    ("labels", "probability", "expected"),
    [
        pytest.param(
            [P, P, P, N, N, N],
            [0.9, 0.2, 0.5, 0.1, 0.7, 0.3],
            # 4 samples, at most 2 positive: the least face-like ones; then the most face-like 2.
            [I, P, P, I, N, N],
            id="too-many-of-both",
        ),
        pytest.param(
            [P, N, N, N, N, N],
            [0.5, 0.1, 0.6, 0.2, 0.3, 0.4],
            [P, I, N, I, N, N],  # 1 positive leaves room for 3
            id="negatives-fill-up",
        ),
        pytest.param(
            [I, N, N, N, N, N],
            [0.9, 0.5, 0.1, 0.2, 0.3, 0.4],
            [I, N, I, N, N, N],
            id="no-positive",
        ),
        pytest.param([P, P, P, I], [0.3, 0.2, 0.1, 0.9], [I, P, P, I], id="no-negative"),
        pytest.param([P, N, I, I], [0, 0, 1, 1], [P, N, I, I], id="fewer-than-samples"),
        pytest.param([I, I], [1, 1], [I, I], id="nothing-labeled"),
        pytest.param([P, N], [1, 0], [P, N], id="certain-ones-count-too"),
        pytest.param([N, N, N, N, N], [0.5] * 5, [N, N, N, N, I], id="ties-in-order"),
        pytest.param([P, P, P], [0.5] * 3, [P, P, I], id="positive-ties-in-order"),
    ],
)
def test_mining_by_hand(labels: list[int], probability: list[float], expected: list[int]):
    mined = mine(tensor([labels], "int32"), tensor([probability]), samples=4, positive_fraction=0.5)
    assert numpy(mined)[0].tolist() == expected


def test_each_image_is_mined_by_itself():
    labels, probability = [[P, P, N], [N, N, N]], [[0.1, 0.9, 0.5], [0.1, 0.9, 0.5]]
    mined = mine(tensor(labels, "int32"), tensor(probability), samples=2, positive_fraction=0.5)
    assert numpy(mined).tolist() == [[P, I, N], [I, N, N]]


def test_a_share_below_one_anchor_keeps_no_positive():
    labels, probability = tensor([[P, N, N]], "int32"), tensor([[0.1, 0.2, 0.3]])
    mined = mine(labels, probability, samples=2, positive_fraction=0.25)
    assert numpy(mined).tolist() == [[I, N, N]]


@pytest.mark.parametrize(("positives", "kept"), [(0, 0), (1, 1), (64, 64), (65, 64), (300, 64)])
def test_official_numbers_are_64_of_256(rng: np.random.Generator, positives: int, kept: int):
    labels = np.where(np.arange(1000) < positives, P, N)
    probability = rng.uniform(size=1000)
    mined = numpy(
        mine(tensor([labels], "int32"), tensor([probability]), samples=256, positive_fraction=0.25)
    )
    assert np.sum(mined == P) == kept
    assert np.sum(mined == N) == 256 - kept


@pytest.mark.parametrize("seed", range(5))
def test_mining_agrees_with_the_oracle(seed: int):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(100, 1500))
    labels = rng.choice([P, N, I], count, p=[0.15, 0.7, 0.15])
    probability = rng.permutation(count) / count
    expected = labels.copy()
    oracle.mine(expected, probability)
    mined = mine(
        tensor([labels], "int32"), tensor([probability]), samples=256, positive_fraction=0.25
    )
    np.testing.assert_array_equal(numpy(mined)[0], expected)


def test_every_module_has_anchors_on_every_small_image():
    for size in [(1, 1), (1, 300), (7, 5), (31, 33)]:
        for module in oracle.MODULES:
            cells = [grid_size(side, module.stride) for side in size]
            anchors = anchor_grid(*cells, stride=module.stride, scales=module.scales)
            sizes = tensor([size], "int32")
            found = numpy(trainable_anchors(anchors, sizes, allowed_border=module.border))
            assert found.shape == (1, 2 * cells[0] * cells[1])
            assert found.any()
