"""Label maps and probabilities as NIfTI files on the grid of their image."""

import gzip
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import nibabel
import numpy as np

from system.files import write_with

from ..sets.cases import Case
from ..sets.label_values import whole_numbers
from .images import channel_axis, spatial_grid
from .nifti_stream import NiftiFile, load_nifti, read_header

LABEL_LEVEL, PROBABILITY_LEVEL = 3, 1  # of gzip: label maps shrink at any level, floats at none


@dataclass(frozen=True)
class NativeGrid:
    """The voxel grid of a file.

    Attributes:
        shape: (X, Y, Z).
        affine: (4, 4), mm.
        header: for new volumes on this grid.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    header: nibabel.Nifti1Header

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel sizes along X, Y, Z."""
        return tuple(nibabel.affines.voxel_sizes(self.affine).tolist())


def plain_grid(shape: tuple[int, int, int], affine: np.ndarray) -> NativeGrid:
    """A grid without a file, from (X, Y, Z) and an affine (4, 4) in mm."""
    header = nibabel.Nifti1Image(np.broadcast_to(np.uint8(0), shape), affine).header
    header.set_xyzt_units("mm")
    return NativeGrid(shape, affine, header)


def image_grid(case: Case, num_channels: int) -> NativeGrid:
    """The spatial grid of a case's image, wherever its channels are."""
    file = read_header(case.image)
    if case.more_channels:
        num_channels = 1
    return _grid(file, channel_axis(file.shape, num_channels, case.channel_first))


def label_on_image_grid(case: Case, label_values: Mapping[int, int],
                        num_channels: int) -> tuple[np.ndarray, NativeGrid]:
    """Classes (X, Y, Z) uint8 of a case's label file, and the grid of its image.

    The verification made sure that both grids are one, so rounding in the label's header is
    ignored.

    Raises:
        ValueError: unknown label values, or another shape than the image's.
    """
    grid = image_grid(case, num_channels)
    file = load_nifti(case.label)
    shape, _ = spatial_grid(file, channel_axis(file.shape, 1, case.channel_first))
    if tuple(shape) != grid.shape:
        raise ValueError(f"{case.label}: shape {file.shape} differs from the image's {grid.shape}.")
    return classes_of(file.dataobj.reshape(grid.shape), label_values, case.label), grid


def in_ras_order(volumes: Sequence[np.ndarray],
                 grid: NativeGrid) -> tuple[list[np.ndarray], np.ndarray]:
    """Volumes (X, Y, Z) on a grid, axes reordered and flipped to RAS+, and the spacing in mm."""
    images = [nibabel.Nifti1Image(volume, grid.affine) for volume in volumes]
    turned = [nibabel.as_closest_canonical(image) for image in images]
    return ([np.asanyarray(image.dataobj) for image in turned],
            nibabel.affines.voxel_sizes(turned[0].affine))


def _grid(file: NiftiFile, axis: int | None) -> NativeGrid:
    """The spatial grid of a file whose channels are on `axis`.

    Its header keeps affines, their codes, voxel sizes and units, and loses scaling, display range
    and extensions (which may name the patient).
    """
    shape, affine = spatial_grid(file, axis)
    header = file.header.as_byteswapped("<")
    header.set_data_shape(shape)
    if axis == 0:  # the header's sizes were those of the file's first three axes
        header.set_zooms(nibabel.affines.voxel_sizes(affine))
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    header["vox_offset"] = 0  # nibabel sets it when it writes
    header.extensions.clear()
    return NativeGrid(tuple(shape), affine, header)


def classes_of(values: np.ndarray, label_values: Mapping[int, int], path: Path) -> np.ndarray:
    """Label values to class indices, uint8; `path` is for the error message.

    Raises:
        ValueError: unknown label values.
    """
    values = whole_numbers(values)
    classes = np.zeros(values.shape, np.uint8)
    num_known = 0
    for value, index in label_values.items():
        here = values == value
        num_known += np.count_nonzero(here)
        classes[here] = index
    if num_known < values.size:
        raise ValueError(f"{path}: {values.size - num_known} voxels have values other than "
                         f"{', '.join(map(str, sorted(label_values)))}.")
    return classes


def values_of_classes(label_values: Mapping[int, int]) -> np.ndarray:
    """The label value of each class, (K,), in the smallest unsigned type that holds them.

    If several values mean one class, the first counts: MM-WHS's stray 421 is background, 0.
    """
    first: dict[int, int] = {}
    for value, index in label_values.items():
        first.setdefault(index, value)
    values = [first[index] for index in sorted(first)]
    return np.array(values, np.min_scalar_type(max(values)))


def write_label_map(path: Path, label_map: np.ndarray, grid: NativeGrid) -> None:
    """Write an integer map (X, Y, Z) as .nii.gz, whole, with the grid's header."""
    assert label_map.shape == grid.shape, f"{label_map.shape} is not {grid.shape}"
    header = grid.header.copy()
    header.set_data_dtype(label_map.dtype)
    _write_gzip(path, header, (label_map[:, :, z].tobytes("F") for z in range(grid.shape[2])),
                LABEL_LEVEL)


class ProbabilityFile:
    """Probabilities (X, Y, Z, K), float32, that arrive plane by plane in any order.

    They are collected in an unnamed file beside `path`, since they may exceed the memory. `close`
    writes the .nii.gz; without it nothing is left behind.
    """

    def __init__(self, path: Path, grid: NativeGrid, num_classes: int):
        self.path = path
        self.grid = grid
        self.num_classes = num_classes
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 - closed by `close`

    def put(self, planes: Iterable[int], probabilities: np.ndarray) -> None:
        """Put planes of the last axis, (K, X, Y, n), in their place."""
        x, y, z = self.grid.shape
        for n, plane in enumerate(planes):
            for k in range(self.num_classes):
                self._file.seek((k * z + plane) * x * y * 4)
                self._file.write(probabilities[k, :, :, n].astype("<f4").tobytes("F"))

    def close(self) -> None:
        """Write the NIfTI file, whole."""
        header = self.grid.header.copy()
        header.set_data_shape((*self.grid.shape, self.num_classes))
        header.set_data_dtype(np.float32)
        self._file.seek(0)
        with self._file:
            _write_gzip(self.path, header, iter(lambda: self._file.read(2**22), b""),
                        PROBABILITY_LEVEL)


def _write_gzip(path: Path, header: nibabel.Nifti1Header, chunks: Iterable[bytes],
                level: int) -> None:
    def write(file: BinaryIO) -> None:
        # No name and no date inside: equal content gives equal bytes.
        with gzip.GzipFile("", "wb", level, file, mtime=0) as stream:
            header.write_to(stream)
            for chunk in chunks:
                stream.write(chunk)
    write_with(path, write)
