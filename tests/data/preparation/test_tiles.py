"""Which slices and which part of them become tiles."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.preparation.tiles import (
    TILE_DEPTH,
    TILE_STRIDE,
    tile_names,
    tile_ranges,
    tiles,
    trim_range,
)


@pytest.fixture(scope="module")
def authors(golden):
    return json.loads((golden / "desd.json").read_text())


def test_ranges_are_the_authors(authors):
    expected = {int(depth): ranges for depth, ranges in authors["tiles_depth_to_ranges"].items()}
    assert {depth: [list(one) for one in tile_ranges(depth)] for depth in expected} == expected


def test_trims_are_the_authors(authors):
    expected = {int(size): kept for size, kept in authors["inplane_trim_w_to_range"].items()}
    assert {size: list(trim_range(size)) for size in expected} == expected


@given(st.integers(13, 2000))
def test_tiles_cover_every_slice_and_step_evenly(depth):
    ranges = tile_ranges(depth)
    assert ranges[0][0] == 0 and ranges[-1][1] == depth
    assert all(stop - start == min(TILE_DEPTH, depth) for start, stop in ranges)
    steps = [later[0] - start for (start, _), later in zip(ranges, ranges[1:], strict=False)]
    assert all(step == TILE_STRIDE for step in steps[:-1])
    assert all(0 < step <= TILE_STRIDE for step in steps)


def test_each_axis_is_trimmed_by_its_own_size():
    (tile, _), = tiles(np.zeros((400, 300, 20), np.int16), np.eye(4))
    assert tile.shape == (320, 300, 20)


def test_a_tile_lies_where_its_voxels_lay():
    affine = np.array([[0, -1, 0, 10], [-1, 0, 0, 20], [0, 0, -1, 30], [0, 0, 0, 1.0]])
    volume = np.arange(330 * 2 * 30).reshape(330, 2, 30)
    found = list(tiles(volume, affine))
    assert [tile.shape for tile, _ in found] == [(264, 2, 24)] * 2
    second, of_second = found[1]
    assert second[0, 0, 0] == volume[33, 0, 6]
    assert np.allclose(of_second[:3, 3], [10, 20 - 33, 30 - 6])
    assert np.allclose(of_second[:3, :3], affine[:3, :3])


def test_names_count_the_tiles():
    assert tile_names("a_010-020", 48) == [f"a_010-020_dep{n}.nii" for n in range(3)]
    assert tile_names("a", 12) == []
