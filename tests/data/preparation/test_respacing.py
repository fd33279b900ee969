"""Re-spacing against the authors' numbers, scipy's own filters and hand-computed grids."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from data.preparation.respacing import (
    axis_operator,
    percentiles_to_hu,
    respaced,
    respaced_affine,
    respaced_shape,
)


@pytest.fixture(scope="module")
def authors(golden):
    return json.loads((golden / "desd.json").read_text())


@pytest.fixture(scope="module")
def ramp():
    """The volume of the golden numbers, turned to (rows, cols, slices)."""
    z, y, x = np.meshgrid(np.arange(6), np.arange(20), np.arange(24), indexing="ij")
    values = ((z * 211 + y * y * 7 + x * 37 + ((y * x) % 13) * 90) % 2600 - 1200).astype(np.int16)
    values[0, 0, 0], values[5, 19, 23] = -3024, 3071
    return values.T


@pytest.mark.parametrize("case", [0, 1])
def test_equals_the_authors_resize(authors, ramp, case):
    expected = authors["respacing"]["cases"][case]
    volume = respaced(ramp, expected["spacing_zyx"][::-1]).T
    assert volume.dtype == np.int16
    assert list(volume.shape) == expected["out_shape"]
    assert int(volume.sum()) == expected["sum"]
    assert (volume.min(), volume.max()) == (expected["min"], expected["max"])
    assert volume.ravel()[:5].tolist() == expected["first5_flat"]
    middle = volume[volume.shape[0] // 2, volume.shape[1] // 2, :6]
    assert middle.tolist() == expected["centre_row_first6"]


def test_sizes_are_the_authors(authors):
    assert authors["respacing_shapes"]
    for case in authors["respacing_shapes"]:
        shape = respaced_shape(case["rows_cols_slices"], case["spacing_xyz"])
        assert list(shape[::-1]) == case["out_zyx"]


def by_ndimage(volume, shape):
    """The same with scipy's filters over the whole volume."""
    volume = np.clip(volume, -1024, 1024).astype(float)
    factors = np.array(volume.shape) / shape
    smooth = ndimage.gaussian_filter(volume, np.maximum(0, (factors - 1) / 2), mode="mirror")
    zoomed = ndimage.zoom(smooth, 1 / factors, order=3, mode="mirror", grid_mode=True)
    return np.clip(zoomed, volume.min(), volume.max()).round()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), spacing_mm=st.tuples(*[st.floats(0.4, 5)] * 3),
       target_mm=st.sampled_from([1.0, 1.5]))
def test_equals_the_filters_of_scipy(seed, spacing_mm, target_mm):
    volume = np.random.default_rng(seed).normal(0, 900, (9, 11, 7)).astype(np.int16)
    result = respaced(volume, spacing_mm, target_mm)
    expected = by_ndimage(volume, respaced_shape(volume.shape, spacing_mm, target_mm))
    assert result.shape == expected.shape
    assert np.abs(result - expected).max() <= 1


def test_one_millimetre_only_clips():
    volume = np.random.default_rng(0).integers(-3000, 3000, (5, 6, 4)).astype(np.int16)
    assert (respaced(volume, (1, 1, 1)) == np.clip(volume, -1024, 1024)).all()


def test_is_clipped_before_it_is_resampled():
    """A metal voxel spreads as 1024 HU does, not as 30000."""
    metal = np.zeros((8, 8, 8), np.int16)
    metal[4, 4, 4] = 30000
    dense = np.minimum(metal, 1024)
    assert (respaced(metal, (1.3, 0.7, 2)) == respaced(dense, (1.3, 0.7, 2))).all()


def test_a_long_volume_is_the_same_in_slabs(monkeypatch):
    volume = np.random.default_rng(0).normal(0, 500, (10, 12, 9))
    whole = respaced(volume, (0.8, 0.8, 2))
    monkeypatch.setattr("data.preparation.respacing.SLAB_VALUES", 100)
    assert (respaced(volume, (0.8, 0.8, 2)) == whole).all()


def test_a_constant_axis_keeps_its_value():
    assert np.allclose(axis_operator(7, 12).sum(axis=1), 1)
    assert np.allclose(axis_operator(12, 7).sum(axis=1), 1)
    assert np.allclose(axis_operator(1, 5), 1)


def test_nothing_left_is_refused():
    with pytest.raises(ValueError, match="no voxel of 1 mm"):
        respaced(np.zeros((4, 4, 1), np.int16), (0.2, 1, 1))


def test_the_affine_keeps_origin_and_directions():
    affine = np.array([[0, -0.8, 0, 5], [-0.6, 0, 0, 6], [0, 0, -5, 7], [0, 0, 0, 1.0]])
    expected = [[0, -1.5, 0, 5], [-1.5, 0, 0, 6], [0, 0, -1.5, 7], [0, 0, 0, 1]]
    assert np.allclose(respaced_affine(affine, 1.5), expected)


def test_percentiles_become_the_range_of_hu():
    volume = np.arange(101.0).reshape(1, 1, 101)  # percentile p is p
    scaled = percentiles_to_hu(volume, 10, 90)
    assert np.allclose(scaled[0, 0, [10, 50, 90]], [-1024, 0, 1024])
    assert scaled.max() == pytest.approx(1024 + 10 * 2048 / 80)
    with pytest.raises(ValueError, match="nothing to rescale"):
        percentiles_to_hu(np.ones((2, 2, 2)), 1, 99)
