"""Images without a label: prepared as the labelled ones are, and looked at before."""

import dataclasses

import nibabel
import numpy as np
import pytest
import torch

from data import DATASETS, DataError, preprocessing, verify_cases
from data.checks.verification import case_findings
from data.volumes.transforms import case_files


def alone(case):
    return dataclasses.replace(case, label=None)


@pytest.mark.parametrize("dataset", list(DATASETS))
def test_an_image_alone_is_prepared_as_with_its_label(dataset, phantoms):
    description = DATASETS[dataset]
    case = description.find_cases(phantoms(dataset, 2, (20, 18, 16)))[0][0]
    both = preprocessing(description)(case_files(case))
    single = preprocessing(description, ("image",))(case_files(alone(case)))
    assert set(single) == {"image", "affine", "spacing_mm", "case_id"}
    assert set(both) == set(single) | {"label"}
    assert single["case_id"] == case.case_id
    assert all(torch.equal(single[name], both[name]) for name in ("image", "affine", "spacing_mm"))
    assert case_findings(alone(case), description).errors == []
    assert verify_cases([alone(case)], description) is None


@pytest.mark.parametrize(("array", "words"), [
    (np.full((6, 5, 4), np.nan, np.float32), "120 voxels are NaN"),
    (np.ones((6, 5, 4, 3), np.float32), "1 channel"), (np.ones((6, 5), np.float32), "1 channel")])
def test_an_image_that_cannot_be_used_is_named(array, words, write_case):
    case = alone(write_case(array, np.ones((6, 5, 4), np.uint8), case_id="patient_7"))
    problem, = case_findings(case, DATASETS["hippocampus"]).errors
    assert "patient_7" in str(problem) and words in str(problem)
    with pytest.raises(DataError, match="patient_7"):
        verify_cases([case], DATASETS["hippocampus"])


def test_an_image_that_cannot_be_read_is_named(write_case):
    case = alone(write_case(np.ones((6, 5, 4), np.float32), np.ones((6, 5, 4), np.uint8)))
    case.image.write_bytes(b"text")
    problem, = case_findings(case, DATASETS["hippocampus"]).errors
    assert "cannot be read" in str(problem)


def test_a_flat_affine_is_no_grid(write_case):
    case = alone(write_case(np.ones((6, 5, 4), np.float32), np.ones((6, 5, 4), np.uint8)))
    file = nibabel.Nifti1Image(np.ones((6, 5, 4), np.float32), None)
    file.header.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), code=1)
    nibabel.save(file, case.image)
    problem, = case_findings(case, DATASETS["hippocampus"]).errors
    assert "affine" in str(problem)
