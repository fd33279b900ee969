"""A case whose results could not be written under its name is told before any work."""

import os

import numpy as np
import pytest

from data import DATASETS, Case
from data.checks.inputs import find_inputs
from data.preparation.ct_volumes import find_nifti
from data.sets.case_names import MAX_NAME_BYTES, name_problems
from system.files import write_bytes

LONGEST = "a" * MAX_NAME_BYTES


def fault(name, folder):
    return [problem.found for problem in name_problems([Case(name, folder / "a.nii", None)])]


def test_the_longest_name_can_be_written(tmp_path):
    assert fault(LONGEST, tmp_path) == []
    for made in (f"{LONGEST}_probabilities.nii.gz", f"validation_median_{LONGEST}.png"):
        write_bytes(tmp_path / made, b"")
        assert (tmp_path / made).is_file()


@pytest.mark.parametrize(("name", "said"), [
    (LONGEST + "a", "results would be too long"), ("é" * 120, "results would be too long"),
    ("a\nb", "control characters"), ("a\x1b[2J", "control characters"),
    (os.fsdecode(b"caf\xe9"), "not UTF-8")])
def test_what_cannot_be_written_is_told(tmp_path, name, said):
    assert said in fault(name, tmp_path)[0]


@pytest.mark.parametrize("name", ["a b", "été", "患者\u3000一", "a,b", "=a"])
def test_other_names_are_fine(tmp_path, name):
    assert fault(name, tmp_path) == []


def test_training_and_prediction_and_preparation_look_at_names(save, tmp_path):
    name = os.fsdecode(b"caf\xe9.nii")
    for role in ("imagesTr", "labelsTr"):
        save(tmp_path / role / "a.nii", np.zeros((2, 2, 2), np.uint8))
        os.rename(tmp_path / role / "a.nii", tmp_path / role / name)
    _, problems = DATASETS["hippocampus"].find_cases(tmp_path)
    assert "not UTF-8" in str(problems[0]) and str(problems[0]).encode("utf-8")
    _, problems = find_inputs([tmp_path / "imagesTr"])
    assert "not UTF-8" in str(problems[0])
    with pytest.raises(ValueError, match=r"1 volume\(s\) whose tiles could not be named"):
        find_nifti(tmp_path / "imagesTr")
