"""From the networks' grid back to a file's own grid.

`data.preprocessing` resamples along the file's axes and then reorders and flips them. So the two
grids share their axes, even if these are oblique to the patient, and the way back is linear along
each axis: model index = scale * native index + offset.

Axes: native arrays are (X, Y, Z) as in the file, model arrays (H, W, D) in RAS order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

MAX_OFF_AXIS = 0.1   # model voxels, over the whole volume
SNAP = 1e-3          # model voxels; positions closer than this to a voxel count as on it
CHUNK_VALUES = 2**21  # logits of native planes held at a time; more is no faster


@dataclass(frozen=True)
class AxisMap:
    """One native axis and the model axis that it runs along.

    Attributes:
        model_axis: 0, 1 or 2.
        scale: model voxels per native voxel, negative if the axis is flipped.
        offset: model index of native index 0.
        size: native voxels.
        model_size: model voxels.
    """

    model_axis: int
    scale: float
    offset: float
    size: int
    model_size: int

    def neighbours(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Per native index: model index below, model index above, weight of the one above.

        Positions outside the model grid are moved to its border.
        """
        position = np.clip(self.offset + self.scale * np.arange(self.size), 0, self.model_size - 1)
        nearest = np.round(position)
        position = np.where(np.abs(position - nearest) < SNAP, nearest, position)
        lower = np.floor(position).astype(np.int64)
        upper = np.ceil(position).astype(np.int64)
        return lower, upper, (position - lower).astype(np.float32)


@dataclass(frozen=True)
class GridMap:
    """Where each native voxel lies on the model grid: one AxisMap per native axis."""

    axes: tuple[AxisMap, AxisMap, AxisMap]


def grid_map(native_affine: np.ndarray, native_shape: Sequence[int], model_affine: np.ndarray,
             model_shape: Sequence[int]) -> GridMap:
    """The map between two grids that share their axes.

    Args:
        native_affine, model_affine: (4, 4), voxel index to mm.
        native_shape, model_shape: (X, Y, Z) and (H, W, D).

    Raises:
        ValueError: the grids do not share their axes: a file with a sheared affine (an
            uncorrected gantry tilt) was resampled.
    """
    to_model = np.linalg.solve(np.asarray(model_affine, float), np.asarray(native_affine, float))
    linear, offset = to_model[:3, :3], to_model[:3, 3]
    model_axes = np.abs(linear).argmax(axis=0)
    along = np.zeros((3, 3), bool)
    along[model_axes, range(3)] = True
    off_axis = np.where(along, 0, np.abs(linear)) @ (np.array(native_shape) - 1)
    if sorted(model_axes) != [0, 1, 2] or not (off_axis < MAX_OFF_AXIS).all():
        raise ValueError(f"the axes of its affine are sheared, by up to {off_axis.max():.2g} "
                         f"voxels (tolerance {MAX_OFF_AXIS:g})")
    axes = []
    for native, axis in enumerate(model_axes):
        axes.append(AxisMap(int(axis), float(linear[axis, native]), float(offset[axis]),
                            int(native_shape[native]), int(model_shape[axis])))
    return GridMap(tuple(axes))


def native_planes(slabs: Iterable[tuple[int, torch.Tensor]],
                  grid: GridMap) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Interpolate logits at the native voxels, a few planes of the last native axis at a time.

    Interpolation is linear along each axis. Never more than a few planes of K logits exist at
    native size, so memory stays bounded for any volume.

    Args:
        slabs: (first row, logits (K, H, W, D)) in ascending order; each slab holds some rows along
            the model axis of the last native axis, all slabs together hold all of them.
        grid: of the volume.

    Yields:
        Plane indices (n,) and logits (K, X, Y, n); every plane once, in either direction.
    """
    import torch  # takes seconds, which verifying a dataset does not need to spend

    along = grid.axes[2]
    dim = 1 + along.model_axis
    order = [0, *(1 + axis.model_axis for axis in grid.axes)]
    in_plane = [axis.neighbours() for axis in grid.axes[:2]]
    lower, upper, weight = along.neighbours()
    planes = np.argsort(upper, kind="stable")  # in the order in which they become ready
    before = None                              # the last row of the previous slab
    done = 0
    for start, slab in slabs:
        end = start + slab.shape[dim]
        ready = int(np.searchsorted(upper[planes], end))
        step = max(1, CHUNK_VALUES // (slab.shape[0] * grid.axes[0].size * grid.axes[1].size))
        for first in range(done, ready, step):
            chunk = planes[first:min(first + step, ready)]
            low, high = int(lower[chunk].min()), int(upper[chunk].max())
            rows = slab.narrow(dim, max(low - start, 0), high + 1 - max(low, start))
            if low < start:
                rows = torch.cat([before.to(rows.device), rows], dim)
            rows = rows.permute(order)  # (K, x, y, n) on the model grid
            rows = _along_axis(rows, 3, (lower[chunk] - low, upper[chunk] - low, weight[chunk]))
            for axis in (1, 0):
                rows = _along_axis(rows, 1 + axis, in_plane[axis])
            yield chunk, rows
        done = ready
        before = slab.narrow(dim, slab.shape[dim] - 1, 1).clone()
    assert done == along.size, f"slabs gave {done} of {along.size} planes"


def _along_axis(values: torch.Tensor, dim: int,
                neighbours: tuple[np.ndarray, np.ndarray, np.ndarray]) -> torch.Tensor:
    """Linear interpolation along one axis."""
    import torch

    is_between = neighbours[2].any()  # of the array: asking a tensor would wait for the GPU
    lower, upper, weight = (torch.from_numpy(each).to(values.device) for each in neighbours)
    below = values.index_select(dim, lower)
    if not is_between:
        return below
    shape = [1] * values.ndim
    shape[dim] = -1
    return below.lerp_(values.index_select(dim, upper), weight.view(shape))
