"""Labels that are a hair off whole numbers are taken, and messages have all digits."""

import numpy as np
import pytest

from data import DATASETS, preprocessing
from data.checks.verification import case_findings
from data.nifti.native_files import classes_of
from data.sets.label_values import MAX_DIFFERENT, farthest_off, value_counts, whole_numbers
from data.volumes.transforms import case_files

CT = DATASETS["mmwhs-ct"]
SHAPE = (6, 5, 4)


def label_of(*values, kind=np.float32):
    label = np.zeros(SHAPE, kind)
    label.flat[:len(values)] = values
    return label


def findings(write_case, label):
    image = np.random.default_rng(0).integers(-500, 500, SHAPE).astype(np.int16)
    case = write_case(image, label)
    return case, case_findings(case, CT)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("off", [6e-5, -6e-5, 1e-4, -1e-4, 1e-7])
def test_values_near_whole_numbers_are_taken_everywhere(write_case, kind, off):
    label = label_of(205 + off, 850 - off, kind=kind)
    case, found = findings(write_case, label)
    assert found.errors == []
    if farthest_off(label) > 0:
        assert "off the whole numbers that they are taken for" in found.warnings[0].found
    classes = classes_of(label, CT.label_values, case.label)
    assert classes.flat[:3].tolist() == [1, 7, 0]
    volume = preprocessing(CT)(case_files(case))
    assert {1, 7} >= set(np.unique(volume["label"])) - {0}


@pytest.mark.parametrize(("value", "said"), [
    (0.9997, "0.9997 (1 voxels)"), (205.5, "205.5 (1 voxels)"),
    (204.99953, "204.99953 (1 voxels)"), (7, "7 (1 voxels)"), (np.nan, "nan (1 voxels)"),
    (np.inf, "inf (1 voxels)")])
def test_values_further_off_are_told_with_all_digits(write_case, value, said):
    _, found = findings(write_case, label_of(205, value))
    assert said in found.errors[0].found


def test_float64_keeps_its_digits(write_case):
    _, found = findings(write_case, label_of(205, 1.0001020001, kind=np.float64))
    assert "1.0001020001 (1 voxels)" in found.errors[0].found


def test_counts_are_those_of_all_voxels():
    values = np.random.default_rng(0).integers(0, 5, (130, 100, 90)).astype(np.uint8)
    expected = dict(zip(*np.unique(values, return_counts=True), strict=True))
    assert value_counts(np.asfortranarray(values)) == value_counts(values) == expected


def test_an_image_in_place_of_a_label_does_not_fill_the_memory():
    values = np.arange(2 * 2**20, dtype=np.float32)
    assert MAX_DIFFERENT < len(value_counts(values)) <= 2**20


def test_integers_are_not_touched():
    values = np.arange(5, dtype=np.int16)
    assert whole_numbers(values) is values and farthest_off(values) == 0
