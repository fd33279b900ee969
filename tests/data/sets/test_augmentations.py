"""The anatomical augmentation: what it keeps of the patient, and how far it goes."""

import dataclasses

import numpy as np
import pytest
import torch
from monai.transforms import Randomizable

from configs.recipes import AUGMENTATIONS as NAMES
from data import AUGMENTATIONS, DATASETS, augmentation
from data.sets.augmentations import Augmentation
from data.volumes.loaders import reseed
from data.volumes.transforms import plain_tensors, prepare_crops

SIZE = (24, 24, 24)
NOTHING = dict(flip_prob=0.0, affine_prob=0.0, shift_prob=0.0, contrast_prob=0.0, gamma_prob=0.0,
               blur_prob=0.0)


def anatomical(name="hippocampus", **changes):
    """The dataset with this augmentation, whose probabilities may be changed."""
    dataset = DATASETS[name]
    how = AUGMENTATIONS["anatomical"](dataset.augmentation, dataset.symmetric)
    return dataclasses.replace(dataset, augmentation=dataclasses.replace(how, **changes))


def crops_of(dataset, image, label, seed):
    """Crops of the whole volume."""
    volume = {"image": image, "label": label, "case_id": "a"}
    with plain_tensors():
        prepared = prepare_crops(volume, dataset, SIZE)
        return augmentation(dataset, SIZE).set_random_state(seed)(prepared)


def grid(axis):
    """A volume that grows along one axis, from -1 to 1."""
    shape = [1, 1, 1]
    shape[axis] = SIZE[axis]
    return torch.linspace(-1, 1, SIZE[axis]).reshape(1, *shape).expand(1, *SIZE).clone()


def brick():
    """A label of two boxes, one in front of the other, far from the rim: (1, 24, 24, 24)."""
    label = torch.zeros(1, *SIZE, dtype=torch.uint8)
    label[:, 9:15, 6:12, 9:15], label[:, 9:15, 12:18, 9:15] = 1, 2
    return label


def test_names_are_those_of_the_command_line():
    assert tuple(AUGMENTATIONS) == NAMES


@pytest.mark.parametrize("name", DATASETS)
def test_published_changes_nothing_and_anatomical_keeps_the_crops(name):
    own = DATASETS[name].augmentation
    assert AUGMENTATIONS["published"](own, True) is own
    other = AUGMENTATIONS["anatomical"](own, True)
    assert (other.num_crops, other.positive, other.negative, other.shift_prob) == (
        own.num_crops, own.positive, own.negative, own.shift_prob)


@pytest.mark.parametrize(("name", "axes"), [("hippocampus", (0,)), ("msd-brats", (0,)),
                                            ("mmwhs-ct", ()), ("mmwhs-mr", ())])
def test_what_is_not_symmetric_is_not_mirrored(name, axes):
    assert anatomical(name).augmentation.flip_axes == axes


def test_front_stays_front_and_up_stays_up():
    dataset, turned = anatomical(affine_prob=1.0, **{
        name: 0.0 for name in ("contrast_prob", "gamma_prob", "blur_prob", "shift_prob")}), 0
    for axis, sides in ((0, {-1.0, 1.0}), (1, {1.0}), (2, {1.0})):
        found = set()
        for seed in range(6):
            for crop in crops_of(dataset, grid(axis), brick(), seed):
                image, middle = crop["image"][0], [12, 12, 12]
                first, last = (image[tuple(place if d == axis else m
                                           for d, m in enumerate(middle))] for place in (2, -3))
                found.add(float(torch.sign(last - first)))
                turned += not torch.equal(image, grid(axis)[0])
        assert found == sides
    assert turned >= 100  # of 144 crops


def test_image_and_label_move_as_one():
    label = brick()
    for seed in range(4):
        for crop in crops_of(anatomical(**NOTHING | {"affine_prob": 1.0, "flip_prob": 0.5}),
                             (label > 0).float(), label, seed):
            moved = crop["label"]
            assert moved.dtype == torch.uint8 and set(moved.unique().tolist()) == {0, 1, 2}
            # An interpolated box is above a half where the nearest voxel is inside, but at edges.
            apart = (crop["image"] > 0.5) != (moved > 0)
            assert apart.sum() <= 0.1 * (moved > 0).sum()
            # 6 x 12 x 6 voxels, each side by 1 / 1.2 to 1 / 0.85.
            assert 432 / 1.2**3 * 0.85 <= (moved > 0).sum() <= 432 / 0.85**3 * 1.15


def test_turns_are_of_at_most_fifteen_degrees():
    dataset = anatomical(**NOTHING | {"affine_prob": 1.0})
    tilts = []
    for seed in range(6):
        for crop in crops_of(dataset, grid(0), brick(), seed):
            inner = crop["image"][0, 6:-6, 6:-6, 6:-6].double()
            slopes = np.array([inner.diff(dim=d).mean() for d in range(3)])
            tilts.append(np.degrees(np.arctan2(np.hypot(*slopes[1:]), slopes[0])))
    # Two turns of 15 degrees tilt an axis by acos(cos^2 15) = 21, and scales of 0.85 and 1.2 bend
    # that to atan(1.2 / 0.85 tan 21) = 28.5.
    assert 5 < max(tilts) <= 28.5


@pytest.mark.parametrize(("changes", "kept"), [
    ({"contrast_prob": 1.0}, lambda x: x.mean()), ({"gamma_prob": 1.0}, lambda x: x.amax()),
    ({"gamma_prob": 1.0}, lambda x: x.amin())])
def test_contrast_keeps_the_mean_and_gamma_the_range(changes, kept):
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, *SIZE))).float()
    changed = 0
    for scale in (1.0, 500.0):
        for crop in crops_of(anatomical(**NOTHING | changes), image * scale, brick(), 0):
            assert float(kept(crop["image"])) == pytest.approx(float(kept(image * scale)),
                                                               abs=1e-3 * scale)
            assert torch.equal(crop["label"], brick())
            changed += not torch.allclose(crop["image"], image * scale, rtol=1e-3)
    assert changed == 16


def test_contrast_is_times_three_to_five_quarters():
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, *SIZE))).float()
    factors = [float(crop["image"].std() / image.std()) for seed in range(4) for crop in
               crops_of(anatomical(**NOTHING | {"contrast_prob": 1.0}), image, brick(), seed)]
    assert 0.75 <= min(factors) < 0.85 and 1.15 < max(factors) <= 1.25


def test_blur_lessens_noise():
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, *SIZE))).float()
    for crop in crops_of(anatomical(**NOTHING | {"blur_prob": 1.0}), image, brick(), 0):
        assert 0.1 < crop["image"].std() / image.std() < 0.7


def test_without_luck_a_crop_is_the_volume():
    for crop in crops_of(anatomical(**NOTHING), grid(1), brick(), 0):
        assert torch.equal(crop["image"], grid(1)) and torch.equal(crop["label"], brick())


def test_seeding_anew_is_that_of_monai_to_the_innermost():
    def draws(step):
        inner = [part for part in vars(step).values() if isinstance(part, Randomizable)]
        return [step.R.randint(2**31, size=3).tolist(), *(draws(part) for part in inner)]

    ours, theirs = (augmentation(anatomical(), SIZE) for _ in range(2))
    ours.set_random_state(0)
    for seed in (0, 1, 2**32 - 1):
        reseed(ours, seed)
        theirs.set_random_state(seed)
        pairs = [(one, other) for one, other in zip(ours.transforms, theirs.transforms,
                                                    strict=True)
                 if isinstance(one, Randomizable)]
        assert len(pairs) == 8  # crop, flip, turns of 90 degrees, affine, four of intensity
        assert all(draws(one) == draws(other) for one, other in pairs)


def test_an_augmentation_of_ones_own_is_a_dataclass():
    how = Augmentation(num_crops=1, flip_axes=())
    dataset = dataclasses.replace(DATASETS["hippocampus"], augmentation=how)
    kinds = [type(step).__name__ for step in augmentation(dataset, SIZE).transforms]
    assert "RandFlipd" not in kinds and "RandAffined" not in kinds
