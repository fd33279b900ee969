"""One volume: read, converted, re-spaced and cut into tiles, as its job says."""

import errno
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..checks.contrast import LOST, share_of_range
from ..checks.hounsfield import refuse_unlike_ct, shows_air, with_offset
from ..checks.resampled_size import size_fault
from .ct_volumes import NiftiVolume
from .deeplesion import SliceRun
from .marked_files import is_marked, is_whole, mark_of, write_volume
from .respacing import HU_RANGE, percentiles_to_hu, respaced, respaced_affine, respaced_shape
from .tiles import tile_names, tiles

NIFTI, RESPACED, TILES = "Images_nifti", "Images_respaced", "DL_patches_v2"  # below the output
ISOTROPIC = 0.01  # relative difference of voxel sizes that still counts as equal

Source = SliceRun | NiftiVolume


@dataclass(frozen=True)
class Job:
    """One volume and what to make from it."""

    source: Source
    output: Path
    folders: tuple[str, ...]  # below the output, to write to
    respace: bool
    spacing_mm: float
    rescale: tuple[float, float] | None
    overwrite: bool
    hu_offset: int = 0  # added to the values


@dataclass(frozen=True)
class Outcome:
    """The outcome for one volume: "made", "there" already, or "failed" for a reason."""

    name: str
    status: str
    reason: str = ""
    depth: int = 0         # slices when cut into tiles
    tiles: tuple[str, ...] = ()
    has_air: bool = True   # for CT; only known if it was read
    is_sheared: bool = False
    disk_full: bool = False


def prepare_volume(job: Job) -> Outcome:
    """Do what a job says for one volume; an error becomes a failed outcome."""
    try:
        return _prepared(job)
    except Exception as error:
        reason = " ".join(str(error).split())
        if not isinstance(error, ValueError):
            reason = f"{type(error).__name__}: {reason}"
        return Outcome(job.source.name, "failed", reason,
                       disk_full=getattr(error, "errno", None) == errno.ENOSPC)


def _prepared(job: Job) -> Outcome:
    name = job.source.name
    shape, spacing_mm = job.source.grid()
    sheared = job.source.is_sheared()
    settings = {"voxels": spacing_mm}
    if job.respace:
        shape = _respaced_shape(shape, spacing_mm, job.spacing_mm)
        settings |= {"spacing_mm": job.spacing_mm, "rescale": job.rescale}
    elif TILES in job.folders and np.ptp(spacing_mm) > ISOTROPIC * max(spacing_mm):
        raise ValueError(f"its voxels are {' x '.join(f'{mm:.4g}' for mm in spacing_mm)} mm, not "
                         f"isotropic: re-space it first")
    if job.hu_offset:
        settings |= {"hu_offset": job.hu_offset}
    mark = mark_of(job.source.files, settings)
    names: tuple[str, ...] = ()
    volumes = {}
    for folder in job.folders:
        if folder == TILES:
            names = tuple(tile_names(name, shape[2]))
        else:
            volumes[folder] = job.output / folder / f"{name}.nii.gz"
    tile_paths = [job.output / TILES / tile for tile in names]
    paths = [*volumes.values(), *tile_paths]
    if not job.overwrite and all(is_whole(path, mark) for path in paths):
        return Outcome(name, "there", depth=shape[2], tiles=names, is_sheared=sheared)

    volume, affine = job.source.read()
    if job.hu_offset:
        volume = with_offset(volume, job.hu_offset)
    if job.rescale is None:
        refuse_unlike_ct(volume, HU_RANGE)
    elif share_of_range(volume) < LOST:
        raise ValueError(f"its values, {volume.min():.4g} to {volume.max():.4g}, are so far apart "
                         f"that most of them become indistinguishable")
    has_air = job.rescale is not None or shows_air(volume, HU_RANGE[1])
    if NIFTI in volumes:
        write_volume(volumes[NIFTI], volume, affine, mark)
    if job.respace:
        if job.rescale is not None:
            volume = percentiles_to_hu(volume, *job.rescale)
        volume = respaced(volume, spacing_mm, job.spacing_mm)
        affine = respaced_affine(affine, job.spacing_mm)
    elif TILES in job.folders:
        volume = _as_respaced(volume)
    if RESPACED in volumes:
        write_volume(volumes[RESPACED], volume, affine, mark)
    if TILES in job.folders:
        for path, (tile, of_tile) in zip(tile_paths, tiles(volume, affine), strict=True):
            write_volume(path, tile, of_tile, mark)
        _remove_later_tiles(job.output / TILES, name, len(names))
    return Outcome(name, "made", depth=shape[2], tiles=names, has_air=has_air,
                   is_sheared=sheared)


def _respaced_shape(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float],
                    target_mm: float) -> tuple[int, int, int]:
    """The shape after re-spacing; refuses one that is too large before memory is allocated."""
    new_shape = respaced_shape(shape, spacing_mm, target_mm)
    fault = size_fault(shape, new_shape)
    if fault is not None:
        raise ValueError(f"{fault}, since its voxels are "
                         f"{' x '.join(f'{mm:.4g}' for mm in spacing_mm)} mm: correct the voxel "
                         f"sizes, or give a coarser --spacing")
    return new_shape


def _as_respaced(volume: np.ndarray) -> np.ndarray:
    """The volume as int16; refuses one that was never clipped."""
    low, high = volume.min(), volume.max()
    if low < HU_RANGE[0] or high > HU_RANGE[1]:
        raise ValueError(f"its values, {low:g} to {high:g}, are not within {HU_RANGE[0]} to "
                         f"{HU_RANGE[1]} HU: re-space it first, which clips them")
    return np.rint(volume).astype(np.int16)


def _remove_later_tiles(folder: Path, name: str, count: int) -> None:
    """Remove further tiles, of an earlier run with other settings that gave more."""
    while (path := folder / f"{name}_dep{count}.nii").is_file() and is_marked(path):
        path.unlink()
        count += 1
