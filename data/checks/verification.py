"""Checking every file before anything is trained: all problems, in one message.

Used by `verify_cases` at the start of every run, and by the report of scripts/verify_dataset.py
(data/checks/verify_report.py).
"""

import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import nibabel
import numpy as np
from tqdm import tqdm

from ..nifti.images import channel_axis, spatial_grid
from ..nifti.sheared_grids import shear_problem
from ..sets.cases import Case, DataError, Problem
from ..sets.datasets import Dataset
from .grouped_findings import grouped
from .image_files import Grid, axes_of, grid_shift_mm, read_file, read_image
from .label_contents import label_findings, unlearnt_classes
from .network_values import value_problems
from .resampled_size import resampled_shape, size_problems

NUM_THREADS = 4
PLAUSIBLE_MM = (0.05, 20.0)  # voxel sizes, from micro-CT to the thickest slices


@dataclass(frozen=True)
class Findings:
    """What reading one case has shown.

    Attributes:
        errors: what keeps the case from being used.
        warnings: what should be looked at.
        digest: of the image's unpacked bytes; None if it cannot be read.
        classes: class indices with a voxel in the label.
    """

    case: Case
    errors: list[Problem]
    warnings: list[Problem]
    digest: str | None
    classes: frozenset[int]


def verify_cases(cases: Sequence[Case], dataset: Dataset, known: Sequence[Problem] = (),
                 progress: bool = False, *, passed_over: Sequence[Problem] = (),
                 refuse_sheared: bool = True, training: Sequence[str] = ()) -> None:
    """Read every image and label and refuse the set if any cannot be trusted.

    Warns of what should be looked at, all in one warning; see `case_findings`.

    Args:
        known: problems found before, reported in the same message.
        passed_over: warnings found before, reported in the same warning.
        refuse_sheared: see `case_findings`.
        training: ids of the cases that train, which should have every class; none: not checked.

    Raises:
        DataError: unreadable or damaged files, shapes or affines that differ between image and
            label, a wrong number of channels, values that show a network nothing, labels with
            unexpected values. One message with every problem.
    """
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        look = partial(case_findings, dataset=dataset, refuse_sheared=refuse_sheared)
        found = list(tqdm(pool.map(look, cases), total=len(cases), desc="verifying", unit="case",
                          disable=not progress))
    problems, doubtful = list(known), list(passed_over)
    for one in found:
        problems += one.errors
        doubtful += one.warnings
    if problems:
        raise DataError(f"{len(problems)} problem(s) in {len(cases)} cases of {dataset.name}:\n"
                        + "\n".join(map(str, [*problems, *passed_over])))
    doubtful += twin_problems(found)
    if training:
        doubtful += class_problems(found, training, dataset)
    if doubtful:
        warnings.warn(f"{len(doubtful)} doubtful finding(s) in {len(cases)} cases of "
                      f"{dataset.name}:\n" + "\n".join(grouped(doubtful)), stacklevel=2)


def case_findings(case: Case, dataset: Dataset, crop: tuple[int, int, int] | None = None,
                  refuse_sheared: bool = True) -> Findings:
    """Read all files of one case and check them.

    Warnings are: a constant channel among others, values that hardly differ for a network or are
    not HU, implausible voxel sizes, labels without foreground or stored as floating point, a volume
    smaller than the crop, and a sheared grid that is not resampled.

    Args:
        crop: (X, Y, Z) voxels that training cuts out, after resampling; None: not checked.
        refuse_sheared: whether a sheared grid that is resampled is an error or just a warning.
    """
    errors: list[Problem] = []
    doubtful: list[Problem] = []
    classes: frozenset[int] = frozenset()
    channels, grid, digest = read_image(case, dataset, errors)
    if channels is not None:
        wrong, odd = value_problems(case, dataset, channels)
        errors += wrong
        doubtful += odd
    if grid is not None:
        errors += size_problems(case, *grid, dataset)
        doubtful += _grid_warnings(case, grid, dataset.spacing_mm, crop)
        sheared = shear_problem(case, grid[1], grid[0], dataset.spacing_mm)
        if sheared is not None:
            if refuse_sheared and dataset.spacing_mm is not None:
                errors.append(sheared)
            else:
                doubtful.append(sheared)
    if case.label is not None:
        del channels  # frees their memory before the label is read
        label, array, _ = read_file(case, case.label, errors)
        if label is not None:
            values = label_findings(case, array, dataset.label_values)
            errors += values.errors
            doubtful += values.warnings
            classes = values.classes
        if label is not None and grid is not None:
            errors += _geometry_problems(case, grid, label)
    return Findings(case, errors, doubtful, digest, classes)


def twin_problems(found: Iterable[Findings]) -> list[Problem]:
    """A problem for each image that is byte-identical to one of another case."""
    problems = []
    for first, *others in twins(found):
        for other in others:
            problems.append(Problem(
                other.case_id, other.image, f"is byte-identical to {first.image} of "
                f"{first.case_id}", "remove one, or keep both in one group of the split"))
    return problems


def class_problems(found: Sequence[Findings], training: Sequence[str], dataset: Dataset,
                   who: str = "training cases") -> list[Problem]:
    """A problem with the classes that no training case has; see `unlearnt_classes`."""
    classes = {one.case.case_id: one.classes for one in found}
    folder = found[0].case.label.parent
    return unlearnt_classes(classes, training, dataset.class_names, folder, who)


def twins(found: Iterable[Findings]) -> list[list[Case]]:
    """Groups of two cases or more whose images have the same bytes once unpacked."""
    groups: dict[str, list[Case]] = defaultdict(list)
    for one in found:
        if one.digest is not None:
            groups[one.digest].append(one.case)
    return [group for group in groups.values() if len(group) > 1]


def _grid_warnings(case: Case, grid: Grid, spacing_mm: tuple[float, float, float] | None,
                   crop: tuple[int, int, int] | None) -> list[Problem]:
    shape, affine = grid
    problems = []
    spacing = nibabel.affines.voxel_sizes(affine)
    if not PLAUSIBLE_MM[0] <= spacing.min() <= spacing.max() <= PLAUSIBLE_MM[1]:
        said = " x ".join(f"{size:.3g}" for size in spacing)
        problems.append(Problem(case.case_id, case.image, f"its voxels are {said} mm",
                                "correct the header if that is not so"))
    shape = resampled_shape(shape, spacing, spacing_mm)
    if crop is not None and any(size < wanted for size, wanted in zip(shape, crop, strict=True)):
        said = " x ".join(f"{size:.0f}" for size in shape)
        resampled = ""
        if spacing_mm is not None:
            resampled = ", resampled,"
        wanted = " x ".join(map(str, crop))
        problems.append(Problem(case.case_id, case.image, f"its {said} voxels{resampled} are "
                                f"fewer than the crop's {wanted}", "it is padded; choose a "
                                "smaller --img_size to train on whole crops"))
    return problems


def _geometry_problems(case, image_grid, label):
    shape, affine = image_grid
    try:
        axis = channel_axis(label.shape, 1, case.channel_first)
        label_shape, label_affine = spatial_grid(label, axis)
    except ValueError:
        label_shape = None
    if label_shape != shape:
        return [Problem(case.case_id, case.label,
                        f"shape {label.shape} differs from the image's {shape}",
                        "label and image must lie on one grid; export the label again")]
    shift = grid_shift_mm(affine, label_affine, shape)
    tolerance = 0.1 * float(np.min(nibabel.affines.voxel_sizes(affine)))
    if not shift <= tolerance:  # also when the affine holds NaN
        axes = ""
        if axes_of(label_affine) != axes_of(affine):
            axes = f", axes {axes_of(label_affine)} against {axes_of(affine)}"
        return [Problem(case.case_id, case.label, f"its affine moves voxels by up to "
                        f"{shift:.3g} mm against the image's (tolerance {tolerance:.2g} mm){axes}",
                        "find out which header is right and copy it to the other file")]
    return []
