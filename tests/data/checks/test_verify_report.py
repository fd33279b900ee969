"""What is an error and what a warning, each with its value, and how the report says it."""

import dataclasses
import json

import nibabel
import numpy as np
import pytest

from data import DATASETS
from data.checks.verification import case_findings, twins
from data.checks.verify_report import leak_problems, verify_dataset
from data.sets.cases import Case
from data.sets.splits import Split

DATASET = DATASETS["hippocampus"]
SHAPE = (10, 9, 8)


def image(kind=np.int16):
    return np.random.default_rng(0).integers(0, 500, SHAPE).astype(kind)


def label(kind=np.uint8):
    array = np.zeros(SHAPE, kind)
    array[2:4, 2:4, 2:4] = 1
    array[5, 5, 5] = 2
    return array


def found_in(case, crop=None, dataset=DATASET):
    findings = case_findings(case, dataset, crop)
    return [[one.found for one in kind] for kind in (findings.errors, findings.warnings)]


def test_a_case_in_order_has_no_finding(write_case):
    assert found_in(write_case(image(), label()), SHAPE) == [[], []]


def test_a_constant_image_is_an_error(write_case):
    assert found_in(write_case(np.full(SHAPE, 7, np.int16), label())) == [["every voxel is 7"], []]


def test_labels_stored_as_floats_are_a_warning_unless_they_are_wrong(write_case):
    assert found_in(write_case(image(), label(np.float32))) == [[], ["labels are float32"]]
    errors, warnings = found_in(write_case(image(), label(np.float32) * 0.5))
    assert errors == ["unexpected label values 0.5 (8 voxels)"] and warnings == []


@pytest.mark.parametrize(("spacing", "said"), [
    ((0.01, 1, 1), "0.01 x 1 x 1 mm"), ((1, 1, 40), "1 x 1 x 40 mm")])
def test_voxels_of_no_scanner_are_a_warning(write_case, spacing, said):
    case = write_case(image(), label(), np.diag([*spacing, 1]))
    assert found_in(case) == [[], [f"its voxels are {said}"]]


def test_a_volume_smaller_than_the_crop_is_a_warning(write_case):
    case = write_case(image(), label())
    assert found_in(case, (10, 9, 9)) == [
        [], ["its 10 x 9 x 8 voxels are fewer than the crop's 10 x 9 x 9"]]


def test_the_crop_is_compared_after_resampling(write_case):
    halved = dataclasses.replace(DATASET, spacing_mm=(0.5, 1, 2))
    case = write_case(image(), label())
    assert found_in(case, (20, 9, 4), halved) == [[], []]
    assert found_in(case, (20, 9, 5), halved) == [
        [], ["its 20 x 9 x 4 voxels, resampled, are fewer than the crop's 20 x 9 x 5"]]


def test_a_turned_label_says_both_orientations(write_case):
    case = write_case(image(), label(), np.eye(4), np.diag([-1, 1, 1, 1]))
    (error,), _ = found_in(case)
    assert "up to 18 mm" in error and error.endswith("axes LAS against RAS")


def test_the_same_voxels_in_another_compression_are_one_image(write_case):
    first, second = (write_case(image(), label(), case_id=name) for name in "ab")
    third = write_case(image() + 1, label(), case_id="c")
    content = nibabel.load(second.image).to_bytes()
    plain = second.image.with_suffix("")
    plain.write_bytes(content)
    second = Case("b", plain, second.label)
    found = [case_findings(case, DATASET) for case in (first, second, third)]
    assert twins(found) == [[first, second]]


def test_only_groups_of_one_fold_leak(write_case):
    pair = [write_case(image(), label(), case_id=name) for name in "ab"]
    folds = [Split(("a", "b"), ("c",)), Split(("a",), ("c",), ("b",)), Split(("c",), ("d",))]
    problem, = leak_problems([pair], folds)
    assert problem.found == "is the image of a: fold 2 has one in training, the other in testing"


def test_processes_change_nothing_in_the_report(phantoms):
    data = phantoms("hippocampus", 4, (36, 34, 32))
    one, two = (verify_dataset(data, DATASET, (35, 34, 33), num_workers=number, progress=False)
                for number in (1, 2))
    assert one == two and len(one.warnings) == 4 and one.errors == []
    assert json.loads(json.dumps(one.to_dict()))["warnings"][0]["case_id"] == \
        one.warnings[0].case_id
    assert one.text.splitlines()[0].endswith("4 cases of hippocampus, 0 error(s), 4 warning(s)")
    with pytest.raises(ValueError, match="--workers 0"):
        verify_dataset(data, DATASET, (35, 34, 33), num_workers=0)
