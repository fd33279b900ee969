"""Classes that no training case has are told before anything is trained; the others are not."""

import json
import shutil
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest

from data import DATASETS, verify_cases
from data.checks.label_contents import label_findings, unlearnt_classes
from data.checks.verify_report import verify_dataset
from data.sets.one_case import Case

HIPPOCAMPUS = DATASETS["hippocampus"]
NAMES = ("background", "Anterior", "Posterior")
CASES = {"a": frozenset({0, 1}), "b": frozenset({0, 1}), "c": frozenset({0, 1, 2})}


def problems(classes, training):
    return [str(one) for one in unlearnt_classes(classes, training, NAMES, Path("labelsTr"))]


def test_a_class_of_validation_cases_alone_is_named_with_them():
    assert problems(CASES, ["a", "b"]) == [
        "  training cases: labelsTr: none of the 2 has a voxel of class 2, Posterior (other cases "
        "have: c); nothing is learnt of that: choose a split whose training cases have it, or a "
        "dataset.json without it."]


def test_a_class_that_nobody_has_is_named():
    (said,) = problems({"a": frozenset({0, 1})}, ["a"])
    assert "none of the 1 has a voxel of class 2, Posterior (nor has any other case)" in said


def test_all_classes_are_in_one_finding():
    (said,) = problems({"a": frozenset({0}), "b": frozenset({0, 2})}, ["a"])
    assert "of class 1, Anterior (nor has any other case), of class 2, Posterior (other cases " \
        "have: b); nothing" in said


def test_one_training_case_is_enough_and_background_is_no_matter():
    assert problems(CASES, ["a", "c"]) == []
    assert problems({"a": frozenset({1, 2})}, ["a"]) == []


def test_the_classes_of_a_label_are_indices_not_values():
    case = Case("a", Path("image"), Path("label"))
    array = np.array([[[0, 205, 205.00001, 421]]])
    assert label_findings(case, array, DATASETS["mmwhs-ct"].label_values).classes == {0, 1}
    assert label_findings(case, array + 0.5, {0: 0, 205: 1}).classes == frozenset()


def labelled(write_case, name, *values):
    image = np.random.default_rng(len(name)).integers(0, 500, (8, 8, 8)).astype(np.int16)
    label = np.zeros((8, 8, 8), np.uint8)
    label.flat[:len(values)] = values
    return write_case(image, label, case_id=name)


def test_a_run_is_warned_and_an_evaluation_is_not(write_case):
    cases = [labelled(write_case, "a", 1), labelled(write_case, "bb", 1, 2)]
    with pytest.warns(UserWarning, match="none of the 1 has a voxel of class 2, posterior"):
        verify_cases(cases, HIPPOCAMPUS, training=("a",))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        verify_cases(cases, HIPPOCAMPUS, training=("bb",))
        verify_cases(cases[:1], HIPPOCAMPUS)


def test_the_report_looks_at_every_fold_of_a_split(tmp_path, phantoms):
    data = copy_of(phantoms("hippocampus", 4, (36, 34, 32)), tmp_path / "data")
    cases, _ = HIPPOCAMPUS.find_cases(data)
    for case in cases[1:]:
        without_posterior(case.label)
    names = [case.case_id for case in cases]
    splits = tmp_path / "splits.json"
    splits.write_text(json.dumps([{"train": names[:2], "val": names[2:]},
                                  {"train": names[1:], "val": names[:1]}]))
    report = verify_dataset(data, HIPPOCAMPUS, None, splits, num_workers=1, progress=False)
    (said,) = report.warnings
    assert said.case_id == "training cases of fold 2"
    assert f"none of the 3 has a voxel of class 2, posterior (other cases have: {names[0]})" \
        == said.found
    assert verify_dataset(data, HIPPOCAMPUS, None, num_workers=1, progress=False).warnings == []


def copy_of(folder, target):
    return Path(shutil.copytree(folder, target))


def without_posterior(path):
    label = nibabel.load(path)
    array = np.asanyarray(label.dataobj).copy()
    array[array == 2] = 0
    nibabel.save(nibabel.Nifti1Image(array, label.affine), path)
