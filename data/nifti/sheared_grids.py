"""Grids whose axes are not at right angles: CT with a gantry tilt that nobody corrected.

Resampling makes their angles right, with no way back along straight lines
(data.nifti.geometry.grid_map), and distances computed from voxel sizes are wrong on them.
"""

from collections.abc import Sequence

import nibabel
import numpy as np

from ..sets.cases import Case, Problem
from .geometry import MAX_OFF_AXIS


def shear_in_voxels(affine: np.ndarray, shape: Sequence[int],
                    spacing_mm: Sequence[float] | None = None) -> float:
    """The largest distance of a grid's voxels, in voxels, from where right angles would put them.

    Args:
        affine: (4, 4), mm, of a grid that has a volume.
        shape: (X, Y, Z).
        spacing_mm: size of the voxels to measure in; None for the grid's own.
    """
    straight, _ = np.linalg.qr(affine[:3, :3])
    if spacing_mm is None:
        spacing_mm = nibabel.affines.voxel_sizes(affine)
    steps = np.abs(np.linalg.solve(straight * np.array(spacing_mm), affine[:3, :3]))
    np.fill_diagonal(steps, 0)
    return float((steps @ (np.array(shape) - 1)).max())


def is_sheared(affine: np.ndarray, shape: Sequence[int],
               spacing_mm: Sequence[float] | None = None) -> bool:
    """Whether a grid's axes are too far from right angles to be treated as right."""
    return not shear_in_voxels(affine, shape, spacing_mm) < MAX_OFF_AXIS


def shear_problem(case: Case, affine: np.ndarray, shape: Sequence[int],
                  spacing_mm: Sequence[float] | None) -> Problem | None:
    """What is wrong with the axes of a case's image, if anything is.

    Args:
        spacing_mm: that the dataset is resampled to; None if it is not.
    """
    if not is_sheared(affine, shape, spacing_mm):
        return None
    shear = shear_in_voxels(affine, shape, spacing_mm)
    follows = "distances in mm are left out on it, and it cannot be resampled (--spacing)"
    if spacing_mm:
        follows = "once resampled, there is no way back to its own grid"
    return Problem(case.case_id, case.image, f"the axes of its affine are sheared, by up to "
                   f"{shear:.2g} voxels (tolerance {MAX_OFF_AXIS:g}): {follows}",
                   "resample it to right angles, or convert the DICOM files again (dcm2niix "
                   "corrects a gantry tilt)")
