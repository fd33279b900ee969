"""The way back from the resampled RAS grid to the file's own."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.affines import apply_affine
from scipy.spatial.transform import Rotation
from torch.nn.functional import one_hot

from data import DATASETS, Case, case_files, preprocessing
from data.nifti.geometry import AxisMap, grid_map, native_planes

CT = dataclasses.replace(DATASETS["mmwhs-ct"], intensity="none")   # resamples to 1.5, 1.5, 2 mm
MR = dataclasses.replace(DATASETS["hippocampus"], intensity="none")  # keeps the file's voxels
SIZE_MM = 70


def affine_of(order, signs, spacing_mm, degrees=(0, 0, 0)):
    """File axis n runs along world axis order[n], turned by the three angles."""
    linear = np.zeros((3, 3))
    for axis, (world, sign, step) in enumerate(zip(order, signs, spacing_mm, strict=True)):
        linear[world, axis] = sign * step
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ linear
    affine[:3, 3] = 12, -34, 56
    return affine


def slabs_of(logits, axis, rows):
    """Logits (K, H, W, D) cut along a spatial axis."""
    size = logits.shape[1 + axis]
    for start in range(0, size, rows):
        yield start, logits.narrow(1 + axis, start, min(rows, size - start))


def restored(logits, grid, rows=7):
    """Argmax on the native grid, from slabs of a few rows."""
    label_map = np.full([axis.size for axis in grid.axes], 255, np.uint8)
    for planes, native in native_planes(slabs_of(logits, grid.axes[2].model_axis, rows), grid):
        assert (label_map[:, :, planes] == 255).all()  # each plane comes once
        label_map[:, :, planes] = native.argmax(0).numpy()
    return label_map


def two_balls(shape, spacing_mm):
    """Classes 1 and 2: balls of 20 and 14 mm radius, away from the border."""
    at_mm = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) * spacing_mm
    label = np.zeros(shape, np.uint8)
    label[((at_mm - [30, 36, 33]) ** 2).sum(-1) < 20**2] = 1
    label[((at_mm - [36, 33, 45]) ** 2).sum(-1) < 14**2] = 2
    return label


def round_trip(save, path, dataset, label, affine):
    """A label map sent through the preprocessing and back."""
    values = np.array([value for value, index in dataset.label_values.items() if index < 3])[:3]
    file = save(path, values[label].astype(np.int16), affine)
    volume = preprocessing(dataset)(case_files(Case("case", file, file)))
    grid = grid_map(affine, label.shape, volume["affine"].numpy(), volume["label"].shape[1:])
    return restored(one_hot(volume["label"][0].long(), 3).movedim(-1, 0).float(), grid), grid


GEOMETRY = {"order": st.permutations(range(3)), "signs": st.tuples(*[st.sampled_from([-1, 1])] * 3),
            "spacing_mm": st.tuples(*[st.floats(0.6, 2.5)] * 3),
            "degrees": st.tuples(*[st.floats(-40, 40)] * 3)}


@settings(deadline=None, max_examples=25)
@given(**GEOMETRY)
def test_resampled_labels_come_back(order, signs, spacing_mm, degrees, save, tmp_path_factory):
    shape = tuple(int(SIZE_MM / step) for step in spacing_mm)
    label = two_balls(shape, spacing_mm)
    back, _ = round_trip(save, tmp_path_factory.getbasetemp() / "round_trip.nii", CT, label,
                         affine_of(order, signs, spacing_mm, degrees))
    for index in (1, 2):
        overlap = ((back == index) & (label == index)).sum()
        assert 2 * overlap / ((back == index).sum() + (label == index).sum()) > 0.9


@settings(deadline=None, max_examples=25)
@given(shape=st.tuples(*[st.integers(2, 9)] * 3), seed=st.integers(0, 99), **GEOMETRY)
def test_without_resampling_the_way_back_is_exact(order, signs, spacing_mm, degrees, shape, seed,
                                                  save, tmp_path_factory):
    label = np.random.default_rng(seed).integers(0, 3, shape).astype(np.uint8)
    back, grid = round_trip(save, tmp_path_factory.getbasetemp() / "exact.nii", MR, label,
                            affine_of(order, signs, spacing_mm, degrees))
    assert not any(axis.neighbours()[2].any() for axis in grid.axes)
    np.testing.assert_array_equal(back, label)


def test_a_file_on_the_resampled_grid_comes_back_exactly(save, tmp_path):
    label = np.random.default_rng(1).integers(0, 3, (9, 8, 7)).astype(np.uint8)
    back, grid = round_trip(save, tmp_path / "a.nii", CT, label,
                            affine_of((1, 0, 2), (-1, 1, -1), (1.5, 1.5, 2.0), (10, 0, 0)))
    assert not any(axis.neighbours()[2].any() for axis in grid.axes)
    np.testing.assert_array_equal(back, label)


@settings(deadline=None, max_examples=40)
@given(native_shape=st.tuples(*[st.integers(1, 12)] * 3), rows=st.integers(1, 9), **GEOMETRY)
def test_linear_logits_are_reproduced_at_the_voxels_positions(native_shape, rows, order, signs,
                                                              spacing_mm, degrees):
    """Interpolation by world position as the oracle, with every cut into slabs."""
    native = affine_of(order, signs, spacing_mm, degrees)
    model = affine_of(order, (1, 1, 1), (1.5, 1.5, 2.0), degrees)[:, [*np.argsort(order), 3]]
    corners = apply_affine(np.linalg.inv(model) @ native, np.array(
        np.meshgrid(*[(0, n - 1) for n in native_shape])).reshape(3, -1).T)
    model[:3, 3] = apply_affine(model, corners.min(0) - 0.25)
    model_shape = tuple(np.ceil(np.ptp(corners, axis=0) + 1.5).astype(int))
    ramp = np.array([[1.0, 2.0, 3.0], [-2.0, 0.5, 1.0]])

    def values(affine, shape):
        index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
        return np.moveaxis(apply_affine(affine, index) @ ramp.T, -1, 0)

    grid = grid_map(native, native_shape, model, model_shape)
    logits = torch.from_numpy(values(model, model_shape)).float()
    found = np.full((2, *native_shape), np.nan)
    for planes, part in native_planes(slabs_of(logits, grid.axes[2].model_axis, rows), grid):
        found[..., planes] = part.numpy()
    np.testing.assert_allclose(found, values(native, native_shape), atol=0.02)


def test_one_axis_by_hand():
    lower, upper, weight = AxisMap(0, -0.75, 3.0, size=6, model_size=4).neighbours()
    # positions 3, 2.25, 1.5, 0.75, 0, and -0.75, which is moved to the border
    assert lower.tolist() == [3, 2, 1, 0, 0, 0]
    assert upper.tolist() == [3, 3, 2, 1, 0, 0]
    assert weight.tolist() == [0, 0.25, 0.5, 0.75, 0, 0]


def test_rounding_in_a_header_does_not_blur():
    lower, upper, weight = AxisMap(1, 1 + 1e-6, -1e-5, size=200, model_size=200).neighbours()
    assert lower.tolist() == upper.tolist() == list(range(200)) and not weight.any()


def test_axes_are_found_by_hand():
    grid = grid_map(affine_of((2, 0, 1), (1, -1, 1), (2.0, 3.0, 0.5)), (4, 5, 6),
                    np.diag([1.0, 1.0, 1.0, 1.0]), (60, 61, 62))
    assert [axis.model_axis for axis in grid.axes] == [2, 0, 1]
    assert [axis.scale for axis in grid.axes] == pytest.approx([2, -3, 0.5])
    assert [axis.offset for axis in grid.axes] == pytest.approx([56, 12, -34])
    assert [axis.size for axis in grid.axes] == [4, 5, 6]


def test_a_sheared_grid_is_refused():
    sheared = np.eye(4)
    sheared[1, 2] = 0.1
    with pytest.raises(ValueError, match="sheared, by up to 3.9 voxels"):
        grid_map(sheared, (40, 40, 40), np.eye(4), (40, 40, 40))


@pytest.mark.parametrize(("voxels", "accepted"), [(0.09, True), (-0.09, True), (0.11, False),
                                                  (-0.11, False), (1.0, False)])
def test_a_tenth_of_a_voxel_over_the_volume_is_rounding(voxels, accepted):
    affine = np.eye(4)
    affine[1, 2] = voxels / 39  # from the first of 40 slices to the last
    if accepted:
        assert [axis.model_axis for axis in grid_map(affine, (40, 40, 40), np.eye(4),
                                                     (40, 40, 40)).axes] == [0, 1, 2]
        return
    with pytest.raises(ValueError, match=f"sheared, by up to {abs(voxels):.2g} voxels .toler"):
        grid_map(affine, (40, 40, 40), np.eye(4), (40, 40, 40))


def test_no_more_than_a_few_planes_at_a_time(monkeypatch):
    import data.nifti.geometry
    monkeypatch.setattr(data.nifti.geometry, "CHUNK_VALUES", 2 * 3 * 4 * 5)
    grid = grid_map(np.eye(4), (4, 5, 17), np.eye(4), (4, 5, 17))
    logits = torch.rand(3, 4, 5, 17)
    parts = [(planes.tolist(), native.clone())
             for planes, native in native_planes(slabs_of(logits, 2, 9), grid)]
    assert [planes for planes, _ in parts] == [
        [0, 1], [2, 3], [4, 5], [6, 7], [8], [9, 10], [11, 12], [13, 14], [15, 16]]
    assert torch.equal(torch.cat([native for _, native in parts], -1), logits)


def test_slabs_that_do_not_reach_the_end_are_a_mistake():
    grid = grid_map(np.eye(4), (4, 4, 4), np.eye(4), (4, 4, 4))
    with pytest.raises(AssertionError, match="3 of 4 planes"):
        list(native_planes([(0, torch.rand(2, 4, 4, 3))], grid))
