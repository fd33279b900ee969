"""Whether a volume still has a manageable size after resampling.

Voxel sizes in a wrong unit, or missing ones, turn a small file into gigabytes.
"""

import math
from collections.abc import Sequence

import nibabel
import numpy as np

from ..sets.cases import Case, Problem
from ..sets.datasets import Dataset

MAX_VALUES = 2**31     # of an image with its channels; 8 GiB in float32
MAX_GROWTH = 1000      # times as many voxels: ten for one along each axis
SMALL = 2**24          # values that are fine however much the volume has grown


def resampled_shape(shape: Sequence[int], spacing_mm: Sequence[float],
                    target_mm: Sequence[float] | None) -> tuple[int, ...]:
    """The shape at voxels of `target_mm`, up to a voxel along an axis; None to stay."""
    if target_mm is None:
        return tuple(shape)
    return tuple(math.ceil(size * have / want)
                 for size, have, want in zip(shape, spacing_mm, target_mm, strict=True))


def size_fault(shape: Sequence[int], new_shape: Sequence[int], num_channels: int = 1) -> str | None:
    """What resampling makes of a volume, in words, if that is too large; None if it is not."""
    values = math.prod(new_shape) * num_channels
    grown = math.prod(new_shape) / math.prod(shape)
    if values <= MAX_VALUES and (grown <= MAX_GROWTH or values <= SMALL):
        return None
    old, new = " x ".join(map(str, shape)), " x ".join(map(str, new_shape))
    became = f"has {old} voxels"
    if grown != 1:
        became = f"its {old} voxels become {new} when resampled"
    return f"{became}, {4 * values / 2**30:.3g} GiB in float32"


def size_problems(case: Case, shape: tuple[int, ...], affine: np.ndarray,
                  dataset: Dataset) -> list[Problem]:
    """A problem if resampling makes a case's image, on this grid in its file, too large."""
    spacing = nibabel.affines.voxel_sizes(affine)
    fault = size_fault(shape, resampled_shape(shape, spacing, dataset.spacing_mm),
                       len(dataset.channels))
    if fault is None:
        return []
    said = " x ".join(f"{size:.3g}" for size in spacing)
    return [Problem(case.case_id, case.image, f"{fault}, since its voxels are {said} mm",
                    "correct the voxel sizes in the header, or train with a coarser --spacing")]
