"""The published sets as data, and a run's own settings over them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from configs.recipes import INTENSITIES as NAMES
from data import DATASETS, INTENSITIES, dataset_of, preprocessing
from data.volumes.transforms import case_files


def config(dataset="mmwhs-ct", **changes):
    """What dataset_of reads of a run's settings."""
    values = dict(dataset=dataset, dataset_definition=None, intensity=None, window=None,
                  spacing_mm=None, num_crops=None, crop_centres="foreground",
                  augmentation="published")
    return SimpleNamespace(**values | changes)


def intensities(changes, image, write_case, dataset="mmwhs-ct"):
    """Four slabs of an image after a run's own intensity scheme, at 1 mm."""
    image = np.repeat(np.array(image, np.float32), 2)[:, None, None] * np.ones((8, 8, 8))
    label = np.full((8, 8, 8), 205 if dataset.startswith("mmwhs") else 1, np.int16)
    chosen = dataset_of(config(dataset, spacing_mm=(1, 1, 1), **changes))
    volume = preprocessing(chosen)(case_files(write_case(image, label)))
    return volume["image"][0, ::2, 0, 0].tolist()


def test_brats_is_as_published():
    brats = DATASETS["msd-brats"]
    assert brats.channels == ("FLAIR", "T1w", "T1gd", "T2w")
    assert brats.class_names == ("background", "edema", "non-enhancing tumour",
                                 "enhancing tumour")
    assert brats.label_values == {0: 0, 1: 1, 2: 2, 3: 3}
    assert (brats.intensity, brats.spacing_mm, brats.padding_mode) == ("zscore", None, "edge")
    how = brats.augmentation
    assert (how.num_crops, how.positive, how.negative) == (2, 1, 0)
    assert (how.flip_prob, how.rotate_prob, how.shift_prob) == (0.5, 0.1, 1.0)


def test_intensity_schemes_are_those_of_the_command_line():
    assert tuple(INTENSITIES) == NAMES
    assert {one.intensity for one in DATASETS.values()} <= set(INTENSITIES)


@pytest.mark.parametrize("dataset", list(DATASETS))
def test_without_settings_a_dataset_is_the_published_one(dataset):
    assert dataset_of(config(dataset)) == DATASETS[dataset]


def test_none_leaves_the_values_of_the_file(write_case):
    assert intensities({"intensity": "none"}, [-1000, 0, 7, 250], write_case) == [-1000, 0, 7, 250]


def test_minmax_scales_to_one(write_case):
    assert intensities({"intensity": "minmax"}, [-100, 0, 100, 300], write_case) == pytest.approx(
        [0, 0.25, 0.5, 1])


def test_zscore_leaves_zero_out(write_case):
    # 1, 2, 3: mean 2, variance 2/3.
    assert intensities({"intensity": "zscore"}, [0, 1, 2, 3], write_case) == pytest.approx(
        [0, -1.5**0.5, 0, 1.5**0.5], abs=1e-5)


@pytest.mark.parametrize(("dataset", "changes"), [
    ("mmwhs-ct", {}), ("mmwhs-mr", {"intensity": "ct"}), ("mmwhs-ct", {"intensity": "ct"})])
def test_a_window_is_scaled_clipped_and_scored(dataset, changes, write_case):
    # [0, 200] HU -> [0, 1]: 0 (air), 0.25, 0.5, 1; of the last three mean 7/12, variance 7/72.
    found = intensities({"window": (0.0, 200.0)} | changes, [-1000, 50, 100, 3000], write_case,
                        dataset)
    deviation = (7 / 72) ** 0.5
    assert found == pytest.approx([0, *((n - 7 / 12) / deviation for n in (0.25, 0.5, 1))],
                                  abs=1e-5)


def test_hu_are_scaled_alike_in_all_volumes(write_case):
    """The window 0 to 200 to -1..1; what lies below stays below, and nothing else counts."""
    changes = {"intensity": "hu", "window": (0.0, 200.0)}
    assert intensities(changes, [-1000, 50, 100, 3000], write_case) == pytest.approx(
        [-1, -0.5, 0, 1])
    assert intensities(changes, [20, 50, 100, 150], write_case) == pytest.approx(
        [-0.8, -0.5, 0, 0.5])


def test_the_published_window_is_the_default():
    assert dataset_of(config("mmwhs-mr", intensity="ct")).window == (-175, 250)


@pytest.mark.parametrize(("dataset", "changes"), [
    ("mmwhs-mr", {}), ("mmwhs-ct", {"intensity": "zscore"}), ("hippocampus", {}),
    ("mmwhs-ct", {"intensity": "none"})])
def test_a_window_that_nothing_looks_at_is_refused(dataset, changes):
    with pytest.raises(ValueError, match="--window 0.0 200.0.*--intensity ct"):
        dataset_of(config(dataset, window=(0.0, 200.0), **changes))


def test_spacing_overrides_the_dataset_s(write_case):
    label = np.full((8, 8, 8), 1, np.uint8)
    case = write_case(np.random.default_rng(0).random((8, 8, 8)), label)
    chosen = dataset_of(config("hippocampus", spacing_mm=(2.0, 1.0, 4.0)))
    volume = preprocessing(chosen)(case_files(case))
    assert volume["spacing_mm"].tolist() == pytest.approx([2, 1, 4])
    assert dataset_of(config()).spacing_mm == (1.5, 1.5, 2.0)


def test_the_number_of_crops_overrides_the_dataset_s():
    chosen = dataset_of(config("hippocampus", num_crops=3))
    assert chosen.augmentation == replace(DATASETS["hippocampus"].augmentation, num_crops=3)
    assert dataset_of(config("hippocampus")).augmentation.num_crops == 8
    chosen = dataset_of(config("hippocampus", crop_centres="classes", augmentation="anatomical"))
    assert chosen.augmentation.centres == "classes"
