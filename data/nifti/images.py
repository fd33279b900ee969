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

    The axis is the one as long as there are channels. Where both ends are, `channel_first`
    decides, which is what the dataset's layout says.

    Raises:
        ValueError: the shape is not that of a volume of so many channels.
    """
    if len(shape) == 3 and num_channels == 1:
        return None
    ends = [axis for axis in (0, 3) if len(shape) == 4 and shape[axis] == num_channels]
    if not ends:
        raise ValueError(f"shape {tuple(shape)} is no volume of {num_channels} channel(s)")
    return ends[0 if channel_first else -1]


def spatial_grid(file: NiftiFile, axis: int | None) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape (3,) and affine (4, 4), float64 in mm, of a file whose channels lie on `axis`.

    The affine is the header's, which speaks of the spatial axes wherever the channels are; the
    header's voxel sizes speak of the file's first three axes, whatever they are. So only a header
    without an affine needs care: its voxel sizes are then those of the spatial axes.
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
        files: a file of all channels, or one for each; these lie on one grid, which is verified,
            and the affine is that of the first.

    Raises:
        ValueError: a file cannot be read, or there are not `num_channels` channels.
        DataError: values are not finite in float32.
    """
    if isinstance(files, (str, Path)):
        return _read_file(files, num_channels, channel_first)
    if len(files) == 1:
        return _read_file(files[0], num_channels, channel_first)
    if len(files) != num_channels:
        raise ValueError(f"{len(files)} files are no volume of {num_channels} channel(s)")
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
    """A file's voxels as (C, X, Y, Z) float32, where a number beyond its range is infinite.

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
    return array[None] if axis is None else np.moveaxis(array, axis, 0)


def not_finite_in_float32(array: np.ndarray) -> str | None:
    """What to say of values that are not finite once they are float32; None where all are."""
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
