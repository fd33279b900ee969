"""NIfTI files as arrays with their channels first, whichever axis the file keeps them on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nibabel.volumeutils import shape_zoom_affine

from ..sets.one_case import DataError
from .nifti_stream import NiftiFile, load_nifti


def channel_axis(shape: Sequence[int], num_channels: int,
                 channel_first: bool = False) -> int | None:
    """The axis of the channels in a file: 0 or 3, or None where it has three axes only.

    It is the axis whose length is the number of channels. If that fits both, `channel_first`
    decides, which comes from the dataset's layout.

    Raises:
        ValueError: the shape does not fit a volume with that many channels.
    """
    if len(shape) == 3 and num_channels == 1:
        return None
    ends = [axis for axis in (0, 3) if len(shape) == 4 and shape[axis] == num_channels]
    if not ends:
        raise ValueError(f"shape {tuple(shape)} is no volume of {num_channels} channel(s)")
    if channel_first:
        return ends[0]
    return ends[-1]


def spatial_grid(file: NiftiFile, axis: int | None) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape (3,) and affine (4, 4), float64 in mm, of a file whose channels are on `axis`.

    A header's affine is about the spatial axes, wherever the channels are, but its voxel sizes are
    about the file's first three axes. So only a header without an affine needs care.
    """
    if axis != 0:
        return file.shape[:3], file.affine
    header, shape = file.header, file.shape[1:]
    if header["sform_code"] or header["qform_code"]:
        return shape, file.affine
    return shape, shape_zoom_affine(shape, header.get_zooms()[1:], header.default_x_flip)


def read_volume(files: str | Path | Sequence[str | Path], num_channels: int,
                channel_first: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (C, X, Y, Z), float32, and affine (4, 4), float64 in mm.

    Args:
        files: a file of all channels, or one per channel, on one grid (the verification sees to
            that); the affine is that of the first.

    Raises:
        ValueError: a file cannot be read, or there are not `num_channels` channels.
        DataError: values are not finite in float32.
    """
    if isinstance(files, (str, Path)):
        return _read_file(files, num_channels, channel_first)
    if len(files) == 1:
        return _read_file(files[0], num_channels, channel_first)
    if len(files) != num_channels:
        raise ValueError(f"{len(files)} files do not make a volume of {num_channels} channel(s)")
    read = [_read_file(path, 1, channel_first) for path in files]
    return np.concatenate([voxels for voxels, _ in read]), read[0][1]


def _read_file(path: str | Path, num_channels: int,
               channel_first: bool) -> tuple[np.ndarray, np.ndarray]:
    file = load_nifti(path)
    axis = channel_axis(file.shape, num_channels, channel_first)
    array = np.asanyarray(file.dataobj)
    bad = not_finite_in_float32(array)
    if bad is not None:
        raise DataError(f"{path}: {bad}; replace them or leave the case out.")
    return channels_first(array, num_channels, channel_first), spatial_grid(file, axis)[1]


def channels_first(array: np.ndarray, num_channels: int, channel_first: bool = False) -> np.ndarray:
    """A file's voxels as (C, X, Y, Z) float32; numbers beyond its range become infinite.

    Raises:
        ValueError: see `channel_axis`.
    """
    with np.errstate(over="ignore"):
        return np.array(channel_views(array, num_channels, channel_first), np.float32, order="C")


def channel_views(array: np.ndarray, num_channels: int, channel_first: bool = False) -> np.ndarray:
    """A file's voxels as (C, X, Y, Z), in the file's own type and without a copy.

    Raises:
        ValueError: see `channel_axis`.
    """
    axis = channel_axis(array.shape, num_channels, channel_first)
    if axis is None:
        return array[None]
    return np.moveaxis(array, axis, 0)


def not_finite_in_float32(array: np.ndarray) -> str | None:
    """For a message: how many values are not finite in float32, and an example; None if all are."""
    if array.dtype.kind != "f":
        return None
    with np.errstate(over="ignore"):
        bad = ~np.isfinite(array.astype(np.float32, copy=False))
    if not bad.any():
        return None
    huge = array[bad & np.isfinite(array)]
    if not huge.size:
        return f"{int(bad.sum())} voxels are NaN or infinite"
    return (f"{int(bad.sum())} voxels are not finite in float32, which networks compute in, such "
            f"as {huge.flat[0]:.4g}")
