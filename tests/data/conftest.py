"""NIfTI files for the tests of this folder."""

import nibabel
import numpy as np
import pytest

from data import DATASETS, Case, DataError, verify_cases


def _save(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


@pytest.fixture(scope="session")
def save():
    """save(path, array, affine) writes a NIfTI file, 1 mm voxels unless said, and returns path."""
    return _save


@pytest.fixture
def write_case(tmp_path):
    """write_case(image, label, affine, label_affine, case_id) -> Case of two new files."""

    def write(image, label, affine=None, label_affine=None, case_id="case_1"):
        return Case(case_id, _save(tmp_path / "images" / f"{case_id}.nii.gz", image, affine),
                    _save(tmp_path / "labels" / f"{case_id}.nii.gz", label,
                          affine if label_affine is None else label_affine))

    return write


def _problems_of(*cases, dataset=DATASETS["mmwhs-ct"]):
    with pytest.raises(DataError) as raised:
        verify_cases(cases, dataset)
    return str(raised.value).splitlines()[1:]


@pytest.fixture(scope="session")
def problems_of():
    """problems_of(*cases) -> the lines of the error that refuses them, less its headline."""
    return _problems_of


@pytest.fixture(scope="session")
def only_problem():
    """only_problem(case, *words) asserts one problem, which names the case and these words."""

    def check(case, *words):
        (line,) = _problems_of(case)
        for word in (case.case_id, *words):
            assert word in line

    return check
