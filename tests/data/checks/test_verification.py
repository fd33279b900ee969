"""Every kind of broken file is found, all of them at once, each with its path and its remedy."""

import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest

from data import DATASETS, DataError, verify_cases
from data.checks.verification import case_findings, grid_shift_mm
from data.sets.cases import Problem

CT = DATASETS["mmwhs-ct"]
SHAPE = (10, 9, 8)


def image_array():
    return np.random.default_rng(0).integers(-500, 500, SHAPE).astype(np.int16)


def label_array(*values):
    """A label with one voxel of each value, the first at the corner."""
    label = np.zeros(SHAPE, np.int16)
    label.flat[:len(values)] = values
    return label


def test_a_clean_set_passes(write_case):
    values = [205, 420, 500, 550, 600, 820, 850, 421]
    cases = [write_case(image_array() + shift, label_array(*values), case_id=name)
             for shift, name in enumerate("abc")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert verify_cases(cases, CT) is None


def test_what_is_doubtful_is_told_in_one_warning(write_case):
    cases = [write_case(image_array(), label_array(205).astype(np.float32), case_id="a"),
             write_case(image_array(), label_array(205), case_id="b")]
    with pytest.warns(UserWarning, match=r"2 doubtful finding\(s\) in 2 cases") as told:
        assert verify_cases(cases, CT) is None
    text = str(told[0].message)
    assert len(told) == 1 and "a: " in text and "labels are float32" in text
    assert f"{cases[1].image}: is byte-identical to {cases[0].image}" in text


@pytest.mark.parametrize("dataset", list(DATASETS))
def test_phantoms_pass(dataset, phantoms):
    cases = DATASETS[dataset].find_cases(phantoms(dataset, 3, (20, 18, 16)))[0]
    assert verify_cases(cases, DATASETS[dataset]) is None


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32, np.uint16])
def test_whole_numbers_of_any_type_are_labels(kind, write_case):
    case = write_case(image_array(), label_array(205, 850).astype(kind))
    assert case_findings(case, CT).errors == []


def test_an_image_with_one_explicit_channel_passes(write_case):
    assert verify_cases([write_case(image_array()[..., None], label_array(205))], CT) is None


def test_shapes_that_differ(write_case, only_problem):
    only_problem(write_case(image_array(), label_array(205)[:, :, :-1]), "labels",
                 "shape (10, 9, 7) differs from the image's (10, 9, 8)", "export the label again")


def test_a_label_of_several_channels_is_a_problem(write_case, only_problem):
    label = np.stack([label_array(205)] * 2, -1)
    only_problem(write_case(image_array(), label), "shape (10, 9, 8, 2) differs")


def test_affines_that_differ_say_by_how_many_mm(write_case, only_problem):
    moved = np.eye(4)
    moved[:3, 3] = 3, 0, 4
    only_problem(write_case(image_array(), label_array(205), np.eye(4), moved),
                 "up to 5 mm", "tolerance 0.1 mm")


def test_a_flipped_affine_is_a_problem(write_case, only_problem):
    only_problem(write_case(image_array(), label_array(205), label_affine=np.diag([-1, 1, 1, 1])),
                 "affine", "up to 18 mm")


def test_an_affine_that_is_not_a_number_is_a_problem(write_case, only_problem):
    broken = np.eye(4)
    broken[0, 0] = np.nan
    case = write_case(image_array(), label_array(205))
    file = nibabel.Nifti1Image(image_array(), None)
    file.header.set_sform(broken, code=1)
    nibabel.save(file, case.image)
    only_problem(case, "affine")


def test_rounding_of_a_header_is_no_problem(write_case):
    case = write_case(image_array(), label_array(205), np.diag([0.7, 0.7, 1, 1]),
                      np.diag([0.7001, 0.7001, 1.0001, 1]))
    assert verify_cases([case], CT) is None


def test_grid_shift_is_the_largest_over_the_corners():
    wider = np.diag([1.1, 1, 1, 1])
    assert grid_shift_mm(np.eye(4), wider, (11, 5, 5)) == pytest.approx(1.0)
    assert grid_shift_mm(wider, wider, (11, 5, 5)) == 0


def test_unexpected_label_values_come_with_their_counts(write_case, only_problem):
    label = label_array(205, 7, 7, 7, 422)
    only_problem(write_case(image_array(), label), "unexpected label values",
                 "7 (3 voxels), 422 (1 voxels)", "0, 205, 420")


def test_a_label_that_is_no_whole_number_is_unexpected(write_case, only_problem):
    only_problem(write_case(image_array(), label_array(205).astype(np.float32) + 0.5),
                 "0.5 (719 voxels)", "205.5 (1 voxels)")


def test_many_unexpected_values_are_cut_short(write_case, only_problem):
    only_problem(write_case(image_array(), label_array(*range(1, 13))), "8 (1 voxels) and 4 more")


@pytest.mark.parametrize(("value", "count"), [(np.nan, 3), (np.inf, 1)])
def test_images_that_are_not_finite_say_how_many_voxels(value, count, write_case, only_problem):
    image = image_array().astype(np.float32)
    image.flat[:count] = value
    only_problem(write_case(image, label_array(205)), f"{count} voxels are NaN or infinite")


@pytest.mark.parametrize("shape", [(*SHAPE, 4), SHAPE[:2]])
def test_a_wrong_number_of_channels_is_a_problem(shape, write_case, problems_of):
    lines = problems_of(write_case(np.ones(shape, np.float32), label_array(205)))
    assert any("1 channel" in line and str(shape) in line for line in lines)


def test_every_problem_of_every_case_is_in_one_message(write_case, problems_of):
    image = image_array().astype(np.float32)
    image[0, 0, 0] = np.nan
    cases = [write_case(image_array(), label_array(205), case_id="fine"),
             write_case(image, label_array(1)[:-1], case_id="bad"),
             write_case(image_array(), label_array(2), case_id="worse")]
    cases[-1].image.write_bytes(b"")
    lines = problems_of(*cases)
    assert [line.split(":")[0].strip() for line in lines] == ["bad"] * 3 + ["worse"] * 2
    with pytest.raises(DataError, match=r"5 problem\(s\) in 3 cases of mmwhs-ct"):
        verify_cases(cases, CT)


@pytest.mark.parametrize("value", [0, 421])
def test_a_label_without_foreground_is_a_warning(value, write_case):
    findings = case_findings(write_case(image_array(), np.full(SHAPE, value, np.int16)), CT)
    assert findings.errors == []
    (line,) = map(str, findings.warnings)
    assert "labels" in line and "has no foreground voxel" in line and "random" in line


def test_problems_found_before_are_told_in_the_same_message(write_case):
    known = Problem("case_9", Path("image_9.nii.gz"), "is an image without its label", "add it")
    bad = write_case(image_array(), label_array(205)[:, :, :-1])
    with pytest.raises(DataError, match=r"2 problem\(s\)") as raised:
        verify_cases([bad], CT, [known])
    assert "case_9" in str(raised.value) and "case_1" in str(raised.value)
