"""Reading a case's image, from one file or one per channel, and reporting what is wrong with it."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import nibabel
import numpy as np

from ..nifti.images import channel_axis, channel_views, not_finite_in_float32, spatial_grid
from ..nifti.nifti_stream import NiftiFile, UnreadableError, read_nifti
from ..sets.cases import Case, Problem
from ..sets.datasets import Dataset

Grid = tuple[tuple[int, ...], np.ndarray]  # shape (3,) and affine (4, 4)


def read_image(case: Case, dataset: Dataset, problems: list[Problem]
               ) -> tuple[Sequence[np.ndarray] | None, Grid | None, str | None]:
    """The channels (X, Y, Z) of a case's image, its grid, and a digest of its unpacked files.

    Channels or grid are None if they cannot be trusted, the digest is None if a file cannot be
    read; `problems` then says why.
    """
    in_each = 1
    if len(case.images) == 1:
        in_each = len(dataset.channels)
    channels: list[np.ndarray] | None = []
    grids: list[Grid | None] = []
    digests: list[str | None] = []
    before = len(problems)
    for path in case.images:
        file, array, digest = read_file(case, path, problems)
        digests.append(digest)
        grids.append(None)
        if file is None:
            continue
        found, grids[-1] = _checked_file(case, path, in_each, file, array)
        problems += found
        if not found:
            channels += list(channel_views(array, in_each, case.channel_first))
    if None in digests:
        digest = None
    elif len(digests) > 1:
        digest = hashlib.blake2b("".join(digests).encode(), digest_size=16).hexdigest()
    problems += _channels_apart(case, dataset, grids)
    if len(problems) > before:
        channels = None
    return channels, grids[0], digest


def _checked_file(case: Case, path: Path, num_channels: int, file: NiftiFile,
                  array: np.ndarray) -> tuple[list[Problem], Grid | None]:
    """The errors of one file, and its grid if that can be trusted."""
    problems: list[Problem] = []
    if array.dtype.kind not in "biuf":
        return [no_real_numbers(case, path, array)], None
    try:
        axis = channel_axis(file.shape, num_channels, case.channel_first)
    except ValueError:
        expected = f"expected a volume of {num_channels} channel(s)"
        return [Problem(case.case_id, path, f"has shape {file.shape}", expected)], None
    bad = not_finite_in_float32(array)
    if bad is not None:
        problems.append(Problem(case.case_id, path, bad, "replace them or leave the case out"))
    grid = spatial_grid(file, axis)
    if not np.isfinite(grid[1]).all() or np.linalg.det(grid[1][:3, :3]) == 0:
        problems.append(Problem(case.case_id, path, "its affine is not that of a grid of voxels",
                                "correct the header or export the image again"))
        return problems, None
    return problems, grid


def _channels_apart(case: Case, dataset: Dataset, grids: Sequence[Grid | None]) -> list[Problem]:
    """A problem for each channel that lies on another grid than the first."""
    first = grids[0]
    problems = []
    for number, grid in enumerate(grids):
        if first is None or grid is None or same_grid(first, grid):
            continue
        problems.append(Problem(
            case.case_id, case.images[number], f"channel {dataset.channels[number]} lies on "
            f"another grid, {_grid_in_words(grid)}, than channel {dataset.channels[0]}, "
            f"{_grid_in_words(first)}",
            f"resample it to the grid of {case.image.name} (SimpleITK, ANTs), or correct the "
            f"header that is wrong"))
    return problems


def same_grid(grid: Grid, other: Grid) -> bool:
    """Whether two grids have one shape and put no voxel more than a tenth of its size apart."""
    if grid[0] != other[0]:
        return False
    tolerance = 0.1 * float(np.min(nibabel.affines.voxel_sizes(grid[1])))
    return grid_shift_mm(grid[1], other[1], grid[0]) <= tolerance


def _grid_in_words(grid: Grid) -> str:
    shape, affine = grid

    def times(values: Iterable[float]) -> str:
        return " x ".join(f"{value:.4g}" for value in values)

    return (f"{times(shape)} voxels of {times(nibabel.affines.voxel_sizes(affine))} mm, axes "
            f"{axes_of(affine)}, first voxel at {times(affine[:3, 3])} mm")


def no_real_numbers(case: Case, path: Path, array: np.ndarray) -> Problem:
    """The problem with a file of colours, complex or structured values."""
    return Problem(case.case_id, path, f"holds {array.dtype} values",
                   "export it with one real number per voxel")


def read_file(case: Case, path: Path, problems: list[Problem]):
    """Header, voxels and digest of the unpacked file; three times None, and a problem, on error."""
    try:
        file, content = read_nifti(path)
    except UnreadableError as error:
        problems.append(Problem(case.case_id, path, f"cannot be read ({error})", error.remedy))
        return None, None, None
    return file, file.dataobj, hashlib.blake2b(content, digest_size=16).hexdigest()


def axes_of(affine: np.ndarray) -> str:
    """Orientation, such as RAS; ??? for an invalid affine."""
    if not np.isfinite(affine).all():
        return "???"
    return "".join(code or "?" for code in nibabel.aff2axcodes(affine))


def grid_shift_mm(affine: np.ndarray, other: np.ndarray, shape: tuple[int, int, int]) -> float:
    """Largest distance in mm between the positions that two affines give to a grid's corners."""
    corners = np.stack(np.meshgrid(*[(0, size - 1) for size in shape]), -1).reshape(-1, 3)
    apart = (nibabel.affines.apply_affine(affine, corners)
             - nibabel.affines.apply_affine(other, corners))
    return float(np.linalg.norm(apart, axis=1).max())
