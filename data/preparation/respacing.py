"""Re-spacing of CT volumes to isotropic voxels, with scipy alone (DeSD, MICCAI 2022).

Arrays are (rows, cols, slices), as `data.preparation.deeplesion` makes them.
"""

from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np
from scipy import ndimage

HU_RANGE = (-1024, 1024)  # what is kept of the HU: air to dense bone
SLAB_VALUES = 2**23       # values in float64 at a time, so that a long CT needs little memory


def respaced_shape(shape: Sequence[int], spacing_mm: Sequence[float],
                   target_mm: float = 1.0) -> tuple[int, int, int]:
    """The size at `target_mm` of a volume (rows, cols, slices).

    The ratio of the voxel sizes is rounded to 4 digits; rows and columns are truncated to whole
    voxels, slices are rounded.

    Raises:
        ValueError: nothing would be left on an axis.
    """
    rows, cols, slices = [n * round(mm / target_mm, 4)
                          for n, mm in zip(shape, spacing_mm, strict=True)]
    new = int(rows), int(cols), round(slices)
    if min(new) < 1:
        raise ValueError(f"{' x '.join(map(str, shape))} voxels of "
                         f"{' x '.join(f'{mm:g}' for mm in spacing_mm)} mm leave no voxel of "
                         f"{target_mm:g} mm on an axis")
    return new


@lru_cache(maxsize=64)
def axis_operator(size: int, new_size: int) -> np.ndarray:
    """The matrix (new_size, size) that resamples one axis.

    A cubic spline through the voxels' centres, mirrored at the borders; where the axis shrinks,
    after a Gaussian of (size / new_size - 1) / 2 voxels against aliasing. Both are linear and
    separable, so what scipy makes of the identity is the whole operation.
    """
    matrix = np.eye(size)
    if new_size < size:
        matrix = ndimage.gaussian_filter1d(
            matrix, (size / new_size - 1) / 2, axis=0, mode="mirror")
    if new_size != size:
        zoom = partial(ndimage.zoom, zoom=new_size / size, order=3, mode="mirror", grid_mode=True)
        matrix = np.stack([zoom(column) for column in matrix.T], axis=1)
    matrix.setflags(write=False)
    return matrix


def respaced(volume: np.ndarray, spacing_mm: Sequence[float],
             target_mm: float = 1.0) -> np.ndarray:
    """Clip to HU_RANGE, resample to isotropic voxels and round to int16 HU.

    Equals the authors' skimage resize of order 3 (anti-aliased where any axis shrinks, kept
    within the range of the clipped input), as one matrix product per axis.

    Args:
        volume: (rows, cols, slices) in HU, any real type, finite.
        spacing_mm: voxel sizes along the same axes.
        target_mm: new voxel size.

    Raises:
        ValueError: nothing would be left on an axis.
    """
    shape = respaced_shape(volume.shape, spacing_mm, target_mm)
    rows, cols, slices = map(axis_operator, volume.shape, shape)
    low, high = np.clip((volume.min(), volume.max()), *HU_RANGE)
    in_plane = np.empty((*shape[:2], volume.shape[2]))
    for part in _slabs(volume.shape[2], volume.shape[0] * volume.shape[1]):
        slab = np.clip(volume[:, :, part].astype(np.float64), low, high)
        in_plane[:, :, part] = cols @ np.tensordot(rows, slab, 1)
    result = np.empty(shape, np.int16)
    for part in _slabs(shape[0], shape[1] * shape[2]):
        result[part] = np.clip(in_plane[part] @ slices.T, low, high).round()
    return result


def _slabs(size: int, values_each: int) -> list[slice]:
    step = max(1, SLAB_VALUES // values_each)
    return [slice(start, start + step) for start in range(0, size, step)]


def respaced_affine(affine: np.ndarray, target_mm: float = 1.0) -> np.ndarray:
    """The affine (4, 4) with voxels of `target_mm`, directions and origin kept.

    Because sizes are whole voxels, the true voxel differs from `target_mm` by less than one
    voxel over the whole axis.
    """
    affine = np.array(affine, float)
    affine[:3, :3] *= target_mm / np.linalg.norm(affine[:3, :3], axis=0)
    return affine


def percentiles_to_hu(volume: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map two percentiles of the values to HU_RANGE, linearly: for images that are not CT.

    Raises:
        ValueError: the two percentiles are the same value.
    """
    first, last = np.percentile(volume, (low, high))
    if not last > first:
        raise ValueError(f"its percentiles {low:g} and {high:g} are both {first:g}: nothing "
                         f"to rescale")
    scale = (HU_RANGE[1] - HU_RANGE[0]) / (last - first)
    return ((volume - first) * scale + HU_RANGE[0]).astype(np.float32)
