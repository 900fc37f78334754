"""Tests of the anchor grid."""

import numpy as np
import pytest
from keras import ops

from ssh_tf.config import ModelConfig
from ssh_tf.geometry.anchors import anchor_grid, base_anchors, grid_size
from tests.support import oracle


def count(height: int, width: int) -> list[int]:
    """Anchors of each module."""
    return [
        len(
            anchor_grid(
                grid_size(height, module.stride),
                grid_size(width, module.stride),
                stride=module.stride,
                scales=module.anchor_scales,
            )
        )
        for module in ModelConfig().modules
    ]


@pytest.mark.parametrize(
    ("scales", "expected"),
    [
        # Center 8, half a side 8 x scale.
        ((1, 2), [[0, 0, 16, 16], [-8, -8, 24, 24]]),
        ((4, 8), [[-24, -24, 40, 40], [-56, -56, 72, 72]]),
        ((16, 32), [[-120, -120, 136, 136], [-248, -248, 264, 264]]),
        ((0.25,), [[6, 6, 10, 10]]),
    ],
)
def test_base_anchors_by_hand(scales: tuple[float, ...], expected: list[list[float]]):
    assert base_anchors(scales).tolist() == expected


def test_grid_by_hand_is_rows_then_columns_then_anchors():
    anchors = ops.convert_to_numpy(anchor_grid(2, 3, stride=8, scales=(1, 2)))
    assert anchors.shape == (12, 4)
    assert anchors.dtype == np.float32
    assert anchors[:4].tolist() == [
        [0, 0, 16, 16],
        [-8, -8, 24, 24],
        [8, 0, 24, 16],  # one column on
        [0, -8, 32, 24],
    ]
    assert anchors[6].tolist() == [0, 8, 16, 24]  # second row
    assert anchors[11].tolist() == [8, 0, 40, 32]  # last cell, larger anchor


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_centers_are_8_px_from_the_cell_whatever_the_stride(stride: int):
    anchors = ops.convert_to_numpy(anchor_grid(1, 2, stride=stride, scales=(1,)))
    assert (0.5 * (anchors[:, 0] + anchors[:, 2])).tolist() == [8, 8 + stride]


@pytest.mark.parametrize(
    ("pixels", "stride", "cells"),
    [(1, 8, 1), (8, 8, 1), (9, 8, 2), (97, 8, 13), (97, 16, 7), (97, 32, 4), (1200, 32, 38)],
)
def test_cells_round_up(pixels: int, stride: int, cells: int):
    assert grid_size(pixels, stride) == cells
    assert int(grid_size(ops.convert_to_tensor(pixels), stride)) == cells


@pytest.mark.parametrize("pixels", [1, 31, 33, 97, 400, 683, 1067, 1201])
@pytest.mark.parametrize("halvings", [3, 4, 5])
def test_cells_are_what_pooling_leaves(pixels: int, halvings: int):
    left = pixels
    for _ in range(halvings):
        left = (left + 1) // 2
    assert grid_size(pixels, 2**halvings) == left


def test_78800_anchors_at_1200_x_1600():
    assert count(1200, 1600) == [60_000, 15_000, 3_800]
    assert sum(count(1200, 1600)) == 78_800


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (400, 600, [7_500, 1_900, 494]),
        (640, 640, [12_800, 3_200, 800]),
        (800, 1200, [30_000, 7_500, 1_900]),
        (1600, 2400, [120_000, 30_000, 7_500]),
        (1, 1, [2, 2, 2]),
    ],
)
def test_anchor_counts_by_hand(height: int, width: int, expected: list[int]):
    assert count(height, width) == expected


@pytest.mark.parametrize(("height", "width"), [(97, 131), (50, 60), (5, 300)])
def test_grid_agrees_with_the_oracle(height: int, width: int):
    for module in oracle.MODULES:
        expected = np.array(oracle.anchors(height, width, module))
        rows, columns = grid_size(height, module.stride), grid_size(width, module.stride)
        anchors = anchor_grid(rows, columns, stride=module.stride, scales=module.scales)
        expected[:, 2:] += 1  # half-open
        np.testing.assert_array_equal(ops.convert_to_numpy(anchors), expected)
