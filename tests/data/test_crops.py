"""Crops: padding, centres, and augmentation that moves image and label as one."""

import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.meta_obj import get_track_meta, set_track_meta

from data import DATASETS, augmentation
from data.volumes import transforms
from data.volumes.transforms import has_foreground, plain_tensors, prepare_crops

CT, HIPPOCAMPUS = DATASETS["mmwhs-ct"], DATASETS["hippocampus"]
SHAPE = (12, 11, 10)


def always(dataset, **changes):
    """The dataset with flips and rotations always, and no shift of the intensity."""
    how = dict(flip_prob=1.0, rotate_prob=1.0, shift_prob=0.0) | changes
    return dataclasses.replace(dataset, augmentation=dataclasses.replace(
        dataset.augmentation, **how))


def numbered_volume(shape=SHAPE, seed=0, foreground=0.1):
    """Each voxel's value is its flat index plus 1, so a crop tells where it came from."""
    size = int(np.prod(shape))
    label = np.random.default_rng(seed).random(shape) < foreground
    label.flat[size // 2] = True
    image = torch.arange(1, size + 1, dtype=torch.float32).reshape(1, *shape)
    return {"image": image, "label": torch.from_numpy(label.astype(np.uint8))[None],
            "case_id": "a"}


def crops_of(dataset, volume, img_size, seed=0):
    """Crops as the training loader makes them."""
    with plain_tensors():
        prepared = prepare_crops(volume, dataset, img_size)
        return augmentation(dataset, img_size).set_random_state(seed)(prepared)


def line(values):
    """A volume that varies along its first axis only."""
    return torch.tensor(values, dtype=torch.float32)[None, :, None, None].expand(1, -1, 3, 3)


@pytest.mark.parametrize(("dataset", "expected"), [(CT, [1, 0, 1, 2, 3, 2]),
                                                   (HIPPOCAMPUS, [0, 0, 1, 2, 3, 3])])
def test_image_and_label_are_padded_alike(dataset, expected):
    volume = {"image": line([0, 1, 2, 3]), "label": line([0, 1, 2, 3]).to(torch.uint8),
              "case_id": "a"}
    padded = prepare_crops(volume, dataset, (6, 3, 3))
    assert padded["image"][0, :, 1, 1].tolist() == expected
    assert padded["label"][0, :, 1, 1].tolist() == expected
    assert padded["label"].dtype == torch.uint8


@pytest.mark.parametrize(("size", "expected"), [(5, [0, 1, 2, 3, 3]), (7, [0, 0, 1, 2, 3, 3, 3])])
def test_the_odd_voxel_of_padding_is_at_the_end(size, expected):
    volume = {"image": line([0, 1, 2, 3]), "label": line([0, 1, 2, 3]).to(torch.uint8),
              "case_id": "a"}
    padded = prepare_crops(volume, HIPPOCAMPUS, (size, 3, 3))
    assert padded["image"][0, :, 1, 1].tolist() == expected
    assert padded["label"][0, :, 1, 1].tolist() == expected


@pytest.mark.parametrize("dataset", [CT, HIPPOCAMPUS], ids=lambda dataset: dataset.name)
def test_volumes_much_smaller_than_the_crop_are_padded_too(dataset):
    padded = prepare_crops(numbered_volume((8, 9, 40)), dataset, (32, 32, 32))
    assert padded["image"].shape == padded["label"].shape == (1, 32, 32, 40)


def test_large_volumes_are_not_padded():
    volume = numbered_volume()
    padded = prepare_crops(volume, CT, (8, 8, 8))
    assert torch.equal(padded["image"], volume["image"])


def test_crop_centres_are_the_voxels_of_the_label():
    label = torch.zeros(1, 3, 4, 5, dtype=torch.uint8)
    label[0, 0, 0, 2], label[0, 2, 3, 4] = 1, 2
    image = torch.ones(1, 3, 4, 5)
    image[0, 0, 0, :2] = 0  # air: no background to be centred on
    image[0, 0, 1, 0] = -1
    volume = {"image": image, "label": label, "case_id": "a"}
    prepared = prepare_crops(volume, HIPPOCAMPUS, (2, 2, 2))
    assert list(prepared["foreground_indices"]) == [2, 59]
    assert list(prepared["background_indices"]) == [3, 4, *range(6, 59)]
    assert len(prepare_crops(volume, CT, (2, 2, 2))["background_indices"]) == 1


def test_each_class_has_as_many_centres_as_the_others(monkeypatch):
    """Class 1 has voxels 0 to 5, class 3 voxels 10 and 11: three times each."""
    label = torch.zeros(1, 3, 4, 5, dtype=torch.uint8)
    label.view(-1)[:6], label.view(-1)[10:12] = 1, 3
    volume = {"image": torch.ones(1, 3, 4, 5), "label": label, "case_id": "a"}
    how = dataclasses.replace(CT.augmentation, centres="classes")
    dataset = dataclasses.replace(CT, augmentation=how)
    centres = prepare_crops(volume, dataset, (2, 2, 2))["foreground_indices"]
    assert list(centres) == [0, 1, 2, 3, 4, 5, 10, 10, 10, 11, 11, 11]
    monkeypatch.setattr(transforms, "MAX_CENTRES", 4)  # two for each of two classes
    centres = prepare_crops(volume, dataset, (2, 2, 2))["foreground_indices"]
    assert list(centres) == [0, 3, 10, 11] and centres.dtype == np.int32
    nothing = prepare_crops(empty_volume(), dataset, (2, 2, 2))
    assert not has_foreground(nothing)


def test_a_small_class_is_in_half_of_the_crops():
    """It is one voxel of a thousand; crops of one voxel show what they are centred on."""
    label = torch.ones(1, 10, 10, 10, dtype=torch.uint8)
    label[0, 5, 5, 5] = 2
    volume = {"image": torch.ones(1, 10, 10, 10), "label": label, "case_id": "a"}
    how = dataclasses.replace(CT.augmentation, centres="classes", num_crops=400)
    dataset = dataclasses.replace(CT, augmentation=how)
    shown = [int(crop["label"]) for crop in crops_of(dataset, volume, (1, 1, 1), 0)]
    assert 150 < shown.count(2) < 250


def empty_volume():
    return numbered_volume() | {"label": torch.zeros(1, *SHAPE, dtype=torch.uint8)}


@pytest.mark.parametrize("dataset", [CT, HIPPOCAMPUS])
def test_a_volume_without_foreground_is_cropped_at_random(dataset):
    prepared = prepare_crops(empty_volume(), dataset, (4, 4, 4))
    assert not has_foreground(prepared)
    assert len(prepared["foreground_indices"]) == math.prod(SHAPE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        crops = [crop for seed in range(40)
                 for crop in crops_of(dataset, empty_volume(), (4, 4, 4), seed)]
    assert not any(crop["label"].any() for crop in crops)
    places = {float(crop["image"].min()) for crop in crops}
    assert len(places) > 30


def test_the_centres_of_a_large_volume_without_foreground_are_thinned(monkeypatch):
    monkeypatch.setattr(transforms, "MAX_CENTRES", 10)
    centres = prepare_crops(empty_volume(), CT, (4, 4, 4))["foreground_indices"]
    assert len(set(centres)) == 10
    assert (centres[0], centres[-1]) == (0, math.prod(SHAPE) - 1)


def test_foreground_is_known_where_it_is():
    assert has_foreground(prepare_crops(numbered_volume(), CT, (4, 4, 4)))


@pytest.mark.parametrize(("dataset", "number"), [(CT, 2), (HIPPOCAMPUS, 8)])
@pytest.mark.parametrize("img_size", [(8, 8, 8), (8, 8, 4), (8, 4, 8), (4, 8, 8), (4, 6, 8),
                                      (16, 16, 16)])
def test_number_and_shape_of_crops(dataset, number, img_size):
    for seed in range(3):
        crops = crops_of(always(dataset), numbered_volume(), img_size, seed)
        assert len(crops) == number
        for crop in crops:
            assert set(crop) == {"image", "label", "case_id"}
            assert crop["image"].shape == crop["label"].shape == (1, *img_size)
            assert type(crop["image"]) is type(crop["label"]) is torch.Tensor
            assert (crop["image"].dtype, crop["label"].dtype) == (torch.float32, torch.uint8)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([CT, HIPPOCAMPUS]), st.tuples(*[st.integers(2, 10)] * 3),
       st.integers(0, 2**31))
def test_image_and_label_move_as_one(dataset, img_size, seed):
    volume = numbered_volume(seed=seed)
    for crop in crops_of(always(dataset), volume, img_size, seed):
        index = crop["image"].long() - 1
        assert torch.equal(volume["label"].flatten()[index], crop["label"])
        assert index.unique().numel() == index.numel(), "each voxel of a crop is another one"
        sides = [axis.max() - axis.min() + 1 for axis in np.unravel_index(index.numpy(), SHAPE)]
        assert sorted(sides) == sorted(img_size), "a crop is a box of the volume"


def test_flips_and_rotations_happen():
    volume, seen = numbered_volume((8, 8, 8)), set()
    for seed in range(12):
        for crop in crops_of(always(CT), volume, (8, 8, 8), seed):
            seen.add(int(crop["image"][0, 0, 0, 0]))
    # All three axes are always flipped; a quarter turn of the first two then moves the corner.
    assert seen <= {8 * (8 * x + y) + 7 + 1 for x in (0, 7) for y in (0, 7)}
    assert len(seen) >= 3


def test_without_luck_a_crop_is_the_volume():
    still = always(CT, flip_prob=0.0, rotate_prob=0.0)
    for crop in crops_of(still, numbered_volume(), SHAPE):
        assert torch.equal(crop["image"], numbered_volume()["image"])


def test_the_intensity_is_shifted_by_one_number_of_at_most_a_tenth():
    shifted = always(CT, flip_prob=0.0, rotate_prob=0.0, shift_prob=1.0)
    volume = numbered_volume()
    volume["image"] = volume["image"] / volume["image"].numel()
    shifts = []
    for seed in range(4):
        for crop in crops_of(shifted, volume, SHAPE, seed):
            shift = crop["image"] - volume["image"]
            assert shift.max() - shift.min() < 1e-6
            assert torch.equal(crop["label"], volume["label"])
            shifts.append(float(shift.mean()))
    assert max(map(abs, shifts)) <= 0.1 + 1e-6
    assert len({round(shift, 4) for shift in shifts}) > 1


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.tuples(*[st.integers(1, 9)] * 3))
def test_crops_centred_on_foreground_contain_it(seed, img_size):
    volume = numbered_volume(seed=seed, foreground=0.0)
    for crop in crops_of(always(CT), volume, img_size, seed):
        assert crop["label"].any()


@pytest.mark.parametrize("before", [True, False])
def test_the_switch_of_metadata_is_put_back(before):
    kept = get_track_meta()
    try:
        set_track_meta(before)
        with plain_tensors():
            assert get_track_meta() is False
        assert get_track_meta() is before
        with pytest.raises(RuntimeError), plain_tensors():
            raise RuntimeError
        assert get_track_meta() is before
    finally:
        set_track_meta(kept)
