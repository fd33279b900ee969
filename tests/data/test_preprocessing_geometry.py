"""Where every voxel lands in the world: orientation, spacing and resampling of whole volumes."""

import dataclasses
from itertools import permutations, product

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.affines import apply_affine
from scipy.spatial.transform import Rotation

from data import DATASETS, preprocessing
from data.volumes.transforms import case_files

CT = DATASETS["mmwhs-ct"]
RAW_CT = dataclasses.replace(CT, intensity="none")
LPS = np.diag([-0.75, -0.75, 1.0, 1.0])
LPS[:3, 3] = 40, -25, 10
SHAPE = (15, 13, 11)


def affine_of(order, signs, spacing_mm, degrees=(0, 0, 0)):
    """File axis n runs along world axis order[n]; spacing_mm is along the file's axes."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign, step) in enumerate(zip(order, signs, spacing_mm, strict=True)):
        affine[world, axis] = sign * step
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ affine[:3, :3]
    affine[:3, 3] = 12, -34, 56
    return affine


def ramp(points_mm):
    """A linear function of the position in the world, which resampling must reproduce."""
    return points_mm @ np.array([1.0, 2.0, 3.0]) + 1000


def grid_of(shape):
    """Indices of all voxels, (*shape, 3)."""
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)


def ramp_image(affine, shape=SHAPE):
    return ramp(apply_affine(affine, grid_of(shape))).astype(np.float32)


def corner_label(shape=SHAPE, value=205, side=4):
    """A block of one value at the first voxel of the file."""
    label = np.zeros(shape, np.int16)
    label[:side, :side, :side] = value
    return label


def positions(mask, affine):
    """World positions of the voxels of a mask, rounded and sorted."""
    points = apply_affine(affine, np.argwhere(np.asarray(mask))).round(3) + 0.0
    return sorted(map(tuple, points.tolist()))


def test_hearts_come_out_ras_on_the_published_grid(write_case):
    volume = preprocessing(CT)(case_files(write_case(ramp_image(LPS), corner_label(), LPS)))
    assert nibabel.aff2axcodes(volume["affine"].numpy()) == ("R", "A", "S")
    assert volume["spacing_mm"].tolist() == pytest.approx([1.5, 1.5, 2.0])
    assert volume["image"].shape == volume["label"].shape == (1, 8, 7, 6)


def test_the_corner_of_the_file_stays_where_it_was(write_case):
    volume = preprocessing(CT)(case_files(write_case(ramp_image(LPS), corner_label(), LPS)))
    # Spacing doubles on every axis, so file voxels 0 and 2 of the block of 4 are kept.
    kept = apply_affine(LPS, 2 * np.array(list(product((0, 1), repeat=3)))).round(3)
    assert positions(volume["label"][0], volume["affine"].numpy()) == sorted(
        map(tuple, kept.tolist()))


def test_left_and_right_are_not_swapped(write_case):
    volume = preprocessing(CT)(case_files(write_case(ramp_image(LPS), corner_label(), LPS)))
    # LPS: index 0 is the rightmost, front-most, lowest voxel; in RAS that is (last, last, first).
    assert volume["label"][0, -1, -1, 0] == 1
    assert volume["label"][0, 0, 0, 0] == 0


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_2_mm_lies_along_the_third_axis_of_the_file(order, write_case):
    affine = affine_of(order, (1, -1, 1), (0.75, 0.75, 1.0))
    volume = preprocessing(CT)(case_files(write_case(ramp_image(affine), corner_label(), affine)))
    expected_mm = [1.5, 1.5, 1.5]
    expected_mm[order[2]] = 2.0
    assert volume["spacing_mm"].tolist() == pytest.approx(expected_mm)
    shape = [0, 0, 0]
    for axis, world in enumerate(order):
        shape[world] = (8, 7, 6)[axis]
    assert list(volume["image"].shape) == [1, *shape]


@settings(deadline=None, max_examples=25,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(3)), signs=st.tuples(*[st.sampled_from([-1, 1])] * 3),
       spacing_mm=st.tuples(*[st.floats(0.4, 3.0)] * 3),
       degrees=st.tuples(*[st.floats(-20, 20)] * 3))
def test_any_geometry_keeps_every_position(order, signs, spacing_mm, degrees, write_case):
    affine = affine_of(order, signs, spacing_mm, degrees)
    volume = preprocessing(RAW_CT)(case_files(
        write_case(ramp_image(affine), corner_label(), affine)))
    new = volume["affine"].numpy()
    assert nibabel.aff2axcodes(new) == ("R", "A", "S")
    # MONAI leaves a volume alone whose affine is within 1e-3 of the wanted one.
    assert sorted(volume["spacing_mm"].tolist()) == pytest.approx([1.5, 1.5, 2.0], abs=1e-3)
    world = apply_affine(new, grid_of(volume["image"].shape[1:]))
    in_file = apply_affine(np.linalg.inv(affine), world)
    inside = ((in_file >= 0) & (in_file <= np.array(SHAPE) - 1)).all(-1)
    assert inside.any()
    np.testing.assert_allclose(volume["image"][0].numpy()[inside], ramp(world)[inside], atol=0.02)
    # Nearest neighbour: decided wherever the position is clear of the block's faces.
    clear = inside & (np.abs(in_file - 3.5) > 0.01).all(-1)
    in_block = (in_file < 3.5).all(-1)
    np.testing.assert_array_equal(volume["label"][0].numpy()[clear], in_block[clear])


def test_without_a_spacing_the_file_s_own_is_kept(write_case):
    affine = affine_of((2, 0, 1), (1, -1, 1), (1.0, 1.2, 0.8))
    label = corner_label(value=2)
    case = write_case(ramp_image(affine), label, affine)
    volume = preprocessing(DATASETS["hippocampus"])(case_files(case))
    assert volume["spacing_mm"].tolist() == pytest.approx([1.2, 0.8, 1.0])
    assert positions(volume["label"][0] == 2, volume["affine"].numpy()) == positions(label, affine)


def test_headers_that_differ_by_rounding_give_one_grid(write_case):
    rounded = LPS + np.diag([1e-4, 1e-4, 1e-4, 0])
    volume = preprocessing(CT)(case_files(
        write_case(ramp_image(LPS), corner_label(), LPS, rounded)))
    assert volume["image"].shape == volume["label"].shape
    assert torch.count_nonzero(volume["label"]) == 8
