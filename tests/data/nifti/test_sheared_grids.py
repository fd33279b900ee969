"""Grids that are not at right angles are found at the first look, wherever that is."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data import DATASETS, DataError, verify_cases
from data.checks.verification import case_findings
from data.nifti.geometry import grid_map
from data.nifti.sheared_grids import is_sheared, shear_in_voxels
from data.sets.cases import Case

ROOT = Path(__file__).resolve().parents[3]
STRAIGHT = DATASETS["hippocampus"]
RESAMPLED = dataclasses.replace(STRAIGHT, spacing_mm=(1.0, 1.0, 1.0))


def tilted(degrees, spacing=(0.75, 0.75, 3.0)):
    affine = np.diag([*spacing, 1.0])
    affine[1, 2] = spacing[2] * np.tan(np.deg2rad(degrees))
    return affine


def test_shear_is_counted_in_voxels_over_the_volume():
    affine = np.eye(4)
    affine[1, 2] = 0.5
    assert shear_in_voxels(affine, (9, 9, 9)) == pytest.approx(4)
    assert shear_in_voxels(affine, (9, 9, 9), (1, 2, 1)) == pytest.approx(2)
    assert is_sheared(affine, (9, 9, 9)) and not is_sheared(affine, (9, 9, 1))


@pytest.mark.parametrize("flip", [1, -1])
def test_a_turned_grid_is_not_sheared(flip):
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * (0.7, flip * 0.8, 5)
    assert not is_sheared(affine, (512, 512, 300))


@pytest.mark.parametrize("degrees", [0, 0.01, 0.05, 0.3, 17, -30])
def test_what_is_found_is_what_has_no_way_back(degrees):
    """The grid after resampling has the first axis of the file; see MONAI's zoom_affine."""
    affine, shape = tilted(degrees), (24, 24, 24)
    model = np.diag([*RESAMPLED.spacing_mm, 1.0])
    if is_sheared(affine, shape, RESAMPLED.spacing_mm):
        with pytest.raises(ValueError, match="sheared"):
            grid_map(affine, shape, model, shape)
    else:
        assert grid_map(affine, shape, model, shape)
    assert is_sheared(affine, shape, RESAMPLED.spacing_mm) == (abs(degrees) > 0.1)


@pytest.fixture
def case(write_case):
    image = np.random.default_rng(0).integers(0, 500, (12, 12, 12)).astype(np.int16)
    label = np.zeros((12, 12, 12), np.uint8)
    label[2:6, 2:6, 2:6] = 1
    return write_case(image, label, tilted(17))


def test_a_sheared_grid_is_refused_where_it_is_resampled(case):
    with pytest.raises(DataError, match="case_1: .* sheared, by up to .* once resampled, there is"):
        verify_cases([case], RESAMPLED)


def test_a_sheared_grid_is_warned_of_where_it_is_not(case):
    with pytest.warns(UserWarning, match="case_1: .* sheared, .* distances in mm are left out"):
        verify_cases([case], STRAIGHT)


def test_what_was_trained_on_sheared_grids_stays_usable(case):
    found = case_findings(case, RESAMPLED, refuse_sheared=False)
    assert found.errors == [] and "sheared" in found.warnings[0].found


def test_an_image_alone_is_looked_at_too(case):
    found = case_findings(Case("alone", case.image, None), RESAMPLED)
    assert "sheared" in found.errors[0].found


def test_verification_does_not_wait_for_torch():
    code = ("import sys, data.checks.verification, data.checks.verify_report; "
            "sys.exit('torch' in sys.modules or 'monai' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
