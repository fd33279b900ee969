"""Distance maps: the reference numbers, hand-computed lines, and the map that crops carry."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from data import DATASETS, augmentation, distance_maps, load_volumes, training_loader
from data.volumes.transforms import plain_tensors, prepare_crops

HIPPOCAMPUS = DATASETS["hippocampus"]
SPACINGS = {"resolution_1_1_1": (1, 1, 1), "resolution_1.5_1.5_2": (1.5, 1.5, 2)}


def reference_label():
    """A ball, a cube and a block at the border, of section 4 of the specification."""
    i, j, k = np.indices((16, 16, 16))
    label = np.zeros((16, 16, 16), np.uint8)
    label[(i - 5) ** 2 + (j - 5) ** 2 + (k - 5) ** 2 <= 9] = 1
    label[9:14, 2:7, 8:13] = 2
    label[1:3, 12:15, 12:16] = 3
    return label


@pytest.mark.parametrize("case", SPACINGS)
def test_reference_numbers(case, golden):
    expected = json.loads((golden / "dsd_boundary.json").read_text())[case]
    maps = distance_maps(reference_label(), 5, SPACINGS[case])
    assert (list(maps.shape), str(maps.dtype)) == (expected["shape"], expected["dtype"])
    for index, one in enumerate(maps):
        numbers = expected[f"class{index}"]
        assert one.sum(dtype=np.float64) == pytest.approx(numbers["sum"], rel=1e-6)
        assert (one.min(), one.max()) == pytest.approx((numbers["min"], numbers["max"]), rel=1e-6)
        assert (one < 0).sum() == numbers["n_negative"]
        assert (one == 0).sum() == numbers["n_zero"]
    for point, values in expected["points"].items():
        where = tuple(int(n) for n in point.strip("()").split(","))
        assert maps[(slice(None), *where)].tolist() == pytest.approx(values, rel=1e-6)


def test_a_line_by_hand():
    label = np.zeros((1, 1, 9), np.uint8)
    label[0, 0, 2:7] = 1
    assert distance_maps(label, 2)[1, 0, 0].tolist() == [2, 1, 0, -1, -2, -1, 0, 1, 2]
    # In mm the 1 stays 1: -(2.5 - 1) at the faces.
    assert distance_maps(label, 2, (1, 1, 2.5))[1, 0, 0].tolist() == [
        5, 2.5, -1.5, -4, -6.5, -4, -1.5, 2.5, 5]


def test_the_border_of_the_volume_is_no_border_of_a_class():
    label = np.zeros((1, 1, 5), np.uint8)
    label[0, 0, :3] = 1
    assert distance_maps(label, 2)[1, 0, 0].tolist() == [-2, -1, 0, 1, 2]


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.7, 1.5, 2)])
def test_classes_that_are_absent_or_everywhere_are_zero(spacing):
    maps = distance_maps(np.full((4, 5, 6), 2, np.uint8), 4, spacing)
    assert maps.shape == (4, 4, 5, 6)
    assert not maps.any()


@settings(deadline=None, max_examples=30)
@given(st.tuples(*[st.integers(1, 9)] * 3), st.integers(0, 2**31),
       st.tuples(*[st.floats(0.3, 4)] * 3), st.sampled_from([0.05, 0.5, 0.95]))
def test_maps_are_those_of_scipy(shape, seed, spacing, share):
    label = (np.random.default_rng(seed).random(shape) < share).astype(np.uint8)
    inside, maps = label == 1, distance_maps(label, 2, spacing)
    if inside.any() and not inside.all():
        expected = (distance_transform_edt(~inside, sampling=spacing)
                    - np.where(inside, distance_transform_edt(inside, sampling=spacing) - 1, 0))
        np.testing.assert_allclose(maps[1], expected, rtol=1e-5, atol=1e-5)
    assert maps.dtype == np.float32 and np.isfinite(maps).all()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31))
def test_in_voxels_the_sign_is_the_class_and_classes_only_see_themselves(seed):
    label = np.random.default_rng(seed).integers(0, 4, (6, 5, 7)).astype(np.uint8)
    maps = distance_maps(label, 4)
    for index in (1, 2, 3):
        assert ((maps[index] <= 0) == (label == index)).all()
        assert (maps[index][label != index] >= 1).all()
        alone = distance_maps((label == index).astype(np.uint8), 2)[1]
        np.testing.assert_array_equal(maps[index], alone)


@pytest.fixture(scope="module")
def cases(phantoms):
    return HIPPOCAMPUS.find_cases(phantoms("hippocampus", 2, (20, 24, 18)))[0]


@pytest.mark.parametrize("unit", ["mm", "voxel"])
def test_volumes_carry_the_map_of_their_padded_label(unit, cases):
    stretched = dataclasses.replace(HIPPOCAMPUS, spacing_mm=(1.0, 1.5, 2.0))
    for volume in load_volumes(cases, stretched, (24, 24, 24), distance_unit=unit):
        assert volume["label"].shape == (1, 24, 24, 24)
        spacing = (1.0, 1.5, 2.0) if unit == "mm" else (1, 1, 1)
        expected = distance_maps(volume["label"][0].numpy(), 3, spacing)
        np.testing.assert_allclose(volume["dist_map"].numpy(), expected, rtol=1e-5)
        assert volume["dist_map"].dtype == torch.float32


def test_maps_come_only_when_asked_for(cases):
    volume = load_volumes(cases[:1], HIPPOCAMPUS, (16, 16, 16))[0]
    assert "dist_map" not in volume
    whole = load_volumes(cases[:1], HIPPOCAMPUS, distance_unit="voxel")[0]
    assert whole["dist_map"].shape == (3, 20, 24, 18)


def test_batches_hold_the_maps_and_the_same_crops_as_without(cases):
    size, batches = (16, 16, 16), []
    for unit in (None, "voxel"):
        loader = training_loader(load_volumes(cases, HIPPOCAMPUS, size, distance_unit=unit),
                                 HIPPOCAMPUS, size, batch_size=2, seed=1)
        loader.sampler.set_epoch(3)
        batches += list(loader)
    without, with_maps = batches
    assert set(with_maps) - set(without) == {"dist_map"}
    assert with_maps["dist_map"].shape == (16, 3, *size)
    assert type(with_maps["dist_map"]) is torch.Tensor
    assert torch.equal(without["image"], with_maps["image"])
    assert torch.equal(without["label"], with_maps["label"])
    for index in (1, 2):
        inside = with_maps["label"][:, 0] == index
        assert torch.equal(with_maps["dist_map"][:, index] <= 0, inside)


@settings(deadline=None, max_examples=25)
@given(st.tuples(*[st.integers(2, 14)] * 3), st.integers(0, 2**31))
def test_the_map_of_a_crop_is_the_crop_of_the_map(img_size, seed):
    """Wherever a crop's voxel came from, whatever its flips and turns, its distance came too."""
    shape = (12, 11, 10)
    label = np.random.default_rng(seed).integers(0, 3, shape).astype(np.uint8)
    label[5, 5, 5] = 1
    index = torch.arange(1, label.size + 1, dtype=torch.float32).reshape(1, *shape)
    still = dataclasses.replace(HIPPOCAMPUS, augmentation=dataclasses.replace(
        HIPPOCAMPUS.augmentation, flip_prob=0.6, rotate_prob=0.6, shift_prob=0.0))
    with plain_tensors():
        volume = prepare_crops({"image": index, "label": torch.from_numpy(label)[None],
                                "case_id": "a"}, still, img_size)
        maps = distance_maps(volume["label"][0].numpy(), 3, (0.8, 1.1, 1.9))
        # Where the volume was padded its voxels have no index of their own any more.
        numbers = torch.arange(maps[0].size, dtype=torch.float32).reshape(1, *maps.shape[1:])
        volume |= {"image": numbers, "dist_map": torch.from_numpy(maps)}
        crops = augmentation(still, img_size).set_random_state(seed)(volume)
    for crop in crops:
        came_from = crop["image"][0].long().numpy()
        np.testing.assert_array_equal(crop["dist_map"].numpy(), maps.reshape(3, -1)[:, came_from])
