"""Surface distances on hand-computed geometry, their invariances, and equality with MONAI."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from scipy import ndimage

from metrics import assd_mm, hd95_mm, msd_mm, surface, surface_distances, surface_metrics

ONE_MM = (1.0, 1.0, 1.0)
FUNCTIONS = (hd95_mm, msd_mm, assd_mm)


def box(*slices, shape=(12, 12, 12)):
    mask = np.zeros(shape, dtype=bool)
    mask[slices] = True
    return mask


def blob(rng, shape, fraction=0.3, sigma=1.5):
    field = ndimage.gaussian_filter(rng.random(shape), sigma)
    return field > np.quantile(field, 1 - fraction)


def monai_values(pred, true, spacing_mm):
    pred, true = (torch.from_numpy(np.array(m))[None, None].float() for m in (pred, true))
    common = {"include_background": True, "spacing": list(spacing_mm)}
    return (
        compute_hausdorff_distance(pred, true, percentile=95, **common).item(),
        compute_average_surface_distance(pred, true, symmetric=False, **common).item(),
        compute_average_surface_distance(true, pred, symmetric=False, **common).item(),
        compute_average_surface_distance(pred, true, symmetric=True, **common).item(),
    )


@pytest.fixture(params=["transform", "search"])
def method(request, monkeypatch):
    factor = 10**9 if request.param == "transform" else 0
    monkeypatch.setattr(surface, "VOXELS_PER_POINT", factor)


# Geometry worked out by hand


@pytest.mark.parametrize(("axis", "expected_mm"), [(0, 1.0), (1, 3.0), (2, 8.0)])
def test_two_voxels_two_apart_along_each_axis(axis, expected_mm, method):
    pred, true = np.zeros((2, 5, 5, 5), bool)
    pred[1, 1, 1] = True
    true[tuple(np.add((1, 1, 1), 2 * np.eye(3, dtype=int)[axis]))] = True
    spacing_mm = (0.5, 1.5, 4.0)
    assert surface_metrics(pred, true, spacing_mm) == pytest.approx((expected_mm,) * 4)
    to_true_mm, to_pred_mm = surface_distances(pred, true, spacing_mm)
    assert to_true_mm == pytest.approx([expected_mm]) == to_pred_mm


def test_diagonal_voxels(method):
    pred, true = box(0, 0, 0), box(3, 4, 6)
    expected_mm = np.sqrt((3 * 1.0) ** 2 + (4 * 2.0) ** 2 + (6 * 0.5) ** 2)
    assert hd95_mm(pred, true, (1.0, 2.0, 0.5)) == pytest.approx(expected_mm)


def test_parallel_plates_are_their_gap_apart(method):
    assert surface_metrics(box(2), box(7), (1.5, 9.0, 9.0)) == pytest.approx((7.5,) * 4)


def test_shifted_cubes():
    pred = box(slice(2, 5), slice(2, 5), slice(2, 5))
    true = box(slice(3, 6), slice(2, 5), slice(2, 5))
    to_true_mm, to_pred_mm = surface_distances(pred, true, (2.0, 1.0, 1.0))
    # 26 surface voxels each. The 9 of the plane x = 2 are 2 mm from the plane x = 3. The rims of
    # x = 3 and x = 4, 8 voxels each, are surface of both cubes; the inner voxel of x = 4 is the
    # centre of the true cube, 1 mm from its side faces.
    assert sorted(to_true_mm) == pytest.approx([0.0] * 16 + [1.0] + [2.0] * 9)
    assert sorted(to_pred_mm) == pytest.approx(sorted(to_true_mm))
    assert msd_mm(pred, true, (2.0, 1.0, 1.0)) == pytest.approx(19 / 26)
    assert hd95_mm(pred, true, (2.0, 1.0, 1.0)) == pytest.approx(2.0)


def test_nested_cubes_with_anisotropic_spacing(method):
    inner = box(slice(4, 7), slice(4, 7), slice(4, 7))
    outer = box(slice(2, 9), slice(2, 9), slice(2, 9))
    spacing_mm = (1.0, 10.0, 10.0)
    to_outer_mm, _ = surface_distances(inner, outer, spacing_mm)
    # Only x matters: faces x = 4 and x = 6 are 2 mm inside, the 8 rim voxels of x = 5 are 3 mm.
    assert sorted(to_outer_mm) == pytest.approx([2.0] * 18 + [3.0] * 8)


def test_asymmetric_mean_misses_what_the_symmetric_one_sees():
    pred, true = box(5), box(slice(5, 11))
    assert msd_mm(pred, true, ONE_MM) == 0.0
    assert assd_mm(pred, true, ONE_MM) > 1.0
    assert msd_mm(true, pred, ONE_MM) > 1.0


def test_percentile_is_interpolated_linearly():
    pred = box(slice(0, 10), 0, 0)
    # Distances 0..9 one way and 0 the other: 0.95 * 9 = 8.55.
    assert hd95_mm(pred, box(0, 0, 0), ONE_MM) == pytest.approx(8.55)


def test_a_full_volume_has_its_shell_as_surface():
    full = np.ones((5, 5, 5), bool)
    to_full_mm, to_centre_mm = surface_distances(box(2, 2, 2, shape=(5, 5, 5)), full, ONE_MM)
    assert to_full_mm == pytest.approx([2.0])
    assert len(to_centre_mm) == 5**3 - 3**3


# Properties


spacings = st.tuples(*[st.floats(0.2, 6.0)] * 3)


@st.composite
def mask_pairs(draw):
    shape = draw(array_shapes(min_dims=3, max_dims=3, max_side=6))
    pred, true = draw(arrays(bool, shape)), draw(arrays(bool, shape))
    assume(pred.any() and true.any())
    return pred, true


@settings(max_examples=40, deadline=None)
@given(mask_pairs(), spacings)
def test_hd95_and_assd_are_symmetric_and_identity_is_zero(pair, spacing_mm):
    pred, true = pair
    hd95, msd, back, assd = surface_metrics(pred, true, spacing_mm)
    swapped = surface_metrics(true, pred, spacing_mm)
    assert swapped == pytest.approx((hd95, back, msd, assd))
    assert surface_metrics(pred, pred, spacing_mm) == (0.0,) * 4


@settings(max_examples=40, deadline=None)
@given(mask_pairs(), spacings, st.floats(0.1, 10.0))
def test_distances_scale_with_the_spacing(pair, spacing_mm, factor):
    expected = factor * np.array(surface_metrics(*pair, spacing_mm))
    scaled = surface_metrics(*pair, np.multiply(factor, spacing_mm))
    assert scaled == pytest.approx(expected, rel=1e-4)


@settings(max_examples=40, deadline=None)
@given(mask_pairs(), spacings, st.permutations(range(3)), st.sets(st.integers(0, 2)))
def test_flips_and_axis_permutations_change_nothing(pair, spacing_mm, order, flipped):
    moved = [np.flip(mask, tuple(flipped)).transpose(order) for mask in pair]
    moved_spacing_mm = [spacing_mm[axis] for axis in order]
    assert surface_metrics(*moved, moved_spacing_mm) == pytest.approx(
        surface_metrics(*pair, spacing_mm), rel=1e-4
    )


@settings(max_examples=30, deadline=None)
@given(mask_pairs(), spacings)
def test_search_transform_and_brute_force_agree(pair, spacing_mm):
    surfaces = [np.argwhere(m & ~ndimage.binary_erosion(m)) for m in pair]
    pred, true = surfaces
    gaps = (pred[:, None] - true[None]) * np.array(spacing_mm)  # (N, M, 3)
    to_each_other = np.linalg.norm(gaps, axis=-1)
    for factor in (0, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(surface, "VOXELS_PER_POINT", factor)
            to_true_mm, to_pred_mm = surface_distances(*pair, spacing_mm)
        assert to_true_mm == pytest.approx(to_each_other.min(axis=1), rel=1e-4)
        assert to_pred_mm == pytest.approx(to_each_other.min(axis=0), rel=1e-4)


@pytest.mark.parametrize("offset", [(0, 0, 0), (7, 0, 3)])
def test_padding_the_volume_changes_nothing(offset):
    rng = np.random.default_rng(3)
    pair = [blob(rng, (7, 8, 9)) for _ in range(2)]
    padded = [np.pad(mask, [(o, 5) for o in offset]) for mask in pair]
    assert surface_metrics(*padded, ONE_MM) == surface_metrics(*pair, ONE_MM)


# MONAI as the oracle


@pytest.mark.parametrize("spacing_mm", [ONE_MM, (1.5, 1.5, 2.0), (0.4, 3.0, 1.1)])
@pytest.mark.parametrize("seed", range(4))
def test_random_blobs_equal_monai(seed, spacing_mm, method):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(8, 20, 3))
    pred, true = blob(rng, shape), blob(rng, shape)  # a third of the volume: touches the border
    assert surface_metrics(pred, true, spacing_mm) == pytest.approx(
        monai_values(pred, true, spacing_mm), abs=1e-4
    )


@pytest.mark.parametrize("seed", range(3))
def test_noisy_masks_equal_monai(seed, method):
    rng = np.random.default_rng(seed)
    true = blob(rng, (24, 20, 22), fraction=0.1)
    pred = np.roll(true, 2, axis=0) ^ (rng.random(true.shape) < 0.01)
    spacing_mm = (0.8, 0.8, 5.0)
    assert surface_metrics(pred, true, spacing_mm) == pytest.approx(
        monai_values(pred, true, spacing_mm), abs=1e-4
    )


BORDER_MASKS = {
    "full": np.ones((4, 5, 6), bool),
    "corner voxel": box(0, 0, 0, shape=(4, 5, 6)),
    "far corner voxel": box(3, 4, 5, shape=(4, 5, 6)),
    "inner voxel": box(2, 2, 2, shape=(4, 5, 6)),
    "face": box(slice(None), slice(None), 0, shape=(4, 5, 6)),
    "edge": box(3, 4, slice(None), shape=(4, 5, 6)),
    "half": box(slice(0, 2), shape=(4, 5, 6)),
    "corner box": box(slice(2, 4), slice(3, 5), slice(4, 6), shape=(4, 5, 6)),
}


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(BORDER_MASKS, 2)))
def test_border_touching_masks_equal_monai(first, second):
    pred, true = BORDER_MASKS[first], BORDER_MASKS[second]
    spacing_mm = (1.5, 0.7, 3.0)
    for pair in ((pred, true), (true, pred)):
        assert surface_metrics(*pair, spacing_mm) == pytest.approx(
            monai_values(*pair, spacing_mm), abs=1e-4
        )


def test_a_volume_of_one_slice_equals_monai():
    rng = np.random.default_rng(0)
    pred, true = rng.random((2, 9, 8, 1)) < 0.3
    expected = monai_values(pred, true, (1.0, 2.0, 3.0))
    assert surface_metrics(pred, true, (1.0, 2.0, 3.0)) == pytest.approx(expected, abs=1e-4)


# Forms of input, empty masks, errors


def test_tensors_memory_layouts_and_single_metrics_agree():
    rng = np.random.default_rng(1)
    pred, true = (blob(rng, (9, 10, 11)) for _ in range(2))
    spacing_mm = (1.0, 2.0, 3.0)
    expected = surface_metrics(pred, true, spacing_mm)
    tensors = torch.from_numpy(pred), torch.from_numpy(true)
    assert surface_metrics(*tensors, torch.tensor(spacing_mm)) == expected
    assert surface_metrics(np.asfortranarray(pred), true, spacing_mm) == expected
    singles = expected.hd95_mm, expected.msd_mm, expected.assd_mm
    assert tuple(function(pred, true, spacing_mm) for function in FUNCTIONS) == singles
    assert all(type(value) is float for value in expected)


def test_inputs_are_left_alone():
    rng = np.random.default_rng(2)
    pred, true = (blob(rng, (6, 6, 6)) for _ in range(2))
    before = pred.copy(), true.copy()
    surface_metrics(pred, true, ONE_MM)
    assert np.array_equal(pred, before[0]) and np.array_equal(true, before[1])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_empty_rule(function):
    empty, some = np.zeros((3, 4, 12), bool), box(1, 1, 1, shape=(3, 4, 12))
    spacing_mm = (1.0, 1.0, 1.0)
    assert function(empty, empty, spacing_mm) == 0.0
    assert function(empty, some, spacing_mm) == function(some, empty, spacing_mm) == 13.0
    assert function(empty, some, (4.0, 4.0, 4.0)) == 52.0


def test_surface_distances_refuse_empty_masks():
    empty, some = np.zeros((3, 3, 3), bool), np.ones((3, 3, 3), bool)
    with pytest.raises(ValueError, match=r"empty mask: pred_mask;"):
        surface_distances(empty, some, ONE_MM)
    with pytest.raises(ValueError, match=r"empty mask: pred_mask and true_mask;"):
        surface_distances(empty, empty, ONE_MM)


@pytest.mark.parametrize(
    "spacing_mm", [1.0, (1.0, 1.0), (1, 0, 1), (1, -2, 1), (1, np.nan, 1), (1, np.inf, 1), "abc"]
)
@pytest.mark.parametrize("value", [True, False])
def test_bad_spacing_is_named(spacing_mm, value):
    mask = np.full((2, 2, 2), value)
    with pytest.raises(ValueError, match="spacing_mm must be three positive numbers.*got"):
        hd95_mm(mask, mask, spacing_mm)


def test_bad_masks_are_named():
    mask = np.ones((2, 2, 2), bool)
    with pytest.raises(ValueError, match="pred_mask must be boolean, got dtype float32"):
        hd95_mm(torch.ones(2, 2, 2), mask, ONE_MM)
    with pytest.raises(ValueError, match="three axes"):
        assd_mm(mask, mask[0], ONE_MM)
    with pytest.raises(ValueError, match="has shape"):
        surface_distances(mask, mask[1:], ONE_MM)
