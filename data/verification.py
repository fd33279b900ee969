"""Looking at every file before anything is trained: all problems, in one message."""

import gzip
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy as np
from tqdm import tqdm

from .cases import Case, DataError, Problem
from .datasets import Dataset
from .images import channel_axis, spatial_grid

Grid = tuple[tuple[int, ...], np.ndarray]  # shape (3,) and affine (4, 4)
NUM_THREADS = 4
READ_ERRORS = (OSError, EOFError, ValueError, zlib.error, nibabel.filebasedimages.ImageFileError,
               nibabel.spatialimages.HeaderDataError)


def verify_cases(cases: Sequence[Case], dataset: Dataset, known: Sequence[Problem] = (),
                 progress: bool = False) -> None:
    """Read every image and label and refuse the set if any cannot be trusted.

    Args:
        known: problems found before, told in the same message.

    Raises:
        DataError: unreadable or damaged files, shapes or affines that differ between image and
            label, a wrong number of channels, values that are not finite, labels with unexpected
            values or without any foreground. One message with every problem.
    """
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        found = list(tqdm(pool.map(lambda case: case_problems(case, dataset), cases),
                          total=len(cases), desc="verifying", unit="case", disable=not progress))
    problems = [*known, *(problem for problems in found for problem in problems)]
    if problems:
        raise DataError(f"{len(problems)} problem(s) in {len(cases)} cases of {dataset.name}:\n"
                        + "\n".join(map(str, problems)))


def case_problems(case: Case, dataset: Dataset) -> list[Problem]:
    """The problems of one case, with its label if it has one; empty when it can be trusted."""
    problems, grid = _checked_image(case, dataset)
    if case.label is None:
        return problems
    label, array = _read(case, case.label, problems)
    if label is not None:
        problems += _label_problems(case, array, dataset.label_values)
    if label is not None and grid is not None:
        problems += _geometry_problems(case, grid, label)
    return problems


def _checked_image(case: Case, dataset: Dataset) -> tuple[list[Problem], Grid | None]:
    """The image's problems, and its grid if that can be trusted."""
    problems: list[Problem] = []
    image, array = _read(case, case.image, problems)
    if image is None:
        return problems, None
    if array.dtype.kind not in "biuf":
        return [Problem(case.case_id, case.image, f"holds {array.dtype} values",
                        "export it with one real number per voxel")], None
    try:
        axis = channel_axis(image.shape, len(dataset.channels), case.channel_first)
    except ValueError:
        expected = f"expected a volume of {len(dataset.channels)} channel(s)"
        return [Problem(case.case_id, case.image, f"has shape {image.shape}", expected)], None
    bad = int(array.size - np.isfinite(array).sum()) if array.dtype.kind == "f" else 0
    if bad:
        problems.append(Problem(case.case_id, case.image, f"{bad} voxels are NaN or infinite",
                                "replace them or leave the case out"))
    grid = spatial_grid(image, axis)
    if not np.isfinite(grid[1]).all() or np.linalg.det(grid[1][:3, :3]) == 0:
        problems.append(Problem(case.case_id, case.image, "its affine is not that of a grid of "
                                "voxels", "correct the header or export the image again"))
        return problems, None
    return problems, grid


def _read(case: Case, path: Path, problems: list[Problem]):
    """Header and voxels, or (None, None) with a problem."""
    try:
        # To the stream's very end, where its checksum is: nibabel alone stops before that.
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            file = type(nibabel.load(path)).from_bytes(stream.read())
        array = np.asanyarray(file.dataobj)
    except READ_ERRORS as error:
        problems.append(Problem(case.case_id, path, f"cannot be read ({_one_line(error)})",
                                "the file is damaged or not NIfTI; copy or download it again"))
        return None, None
    return file, array


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _label_problems(case, array, label_values):
    values, counts = np.unique(array, return_counts=True)
    wrong = [f"{value:g} ({count} voxels)" for value, count in zip(values, counts, strict=True)
             if value not in label_values]
    if not wrong and not any(label_values[value] for value in values):
        return [Problem(case.case_id, case.label, "has no foreground voxel",
                        "label the case or leave it out")]
    if not wrong:
        return []
    known = ", ".join(str(value) for value in sorted(label_values))
    more = f" and {len(wrong) - 8} more" if len(wrong) > 8 else ""
    return [Problem(case.case_id, case.label, f"unexpected label values {', '.join(wrong[:8])}"
                    f"{more}", f"this dataset has {known}; correct the label file, or choose "
                    f"the dataset it belongs to")]


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
        return [Problem(case.case_id, case.label, f"its affine moves voxels by up to "
                        f"{shift:.3g} mm against the image's (tolerance {tolerance:.2g} mm)",
                        "find out which header is right and copy it to the other file")]
    return []


def grid_shift_mm(affine: np.ndarray, other: np.ndarray, shape: tuple[int, int, int]) -> float:
    """Largest distance in mm between the two positions that a grid's corner is given."""
    corners = np.stack(np.meshgrid(*[(0, size - 1) for size in shape]), -1).reshape(-1, 3)
    apart = (nibabel.affines.apply_affine(affine, corners)
             - nibabel.affines.apply_affine(other, corners))
    return float(np.linalg.norm(apart, axis=1).max())
