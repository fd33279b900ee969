"""Where the views of a tile are, and how they are cut out of it.

A sample's views come from one source region, so that they show the same part of the body
(DeSD, MICCAI 2022; the global and local views of DINO, ICCV 2021). Positions are drawn before
anything is cut; boxes are in voxels of the padded tile. Axes are (D, H, W): slices, rows, columns.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import interpolate

Size = tuple[int, int, int]

SOURCE_SCALE = (1.4, 1.8)   # sides of the source region, relative to a global view's
GLOBAL_SCALE = (0.8, 1.2)
LOCAL_SCALE = (1.5, 2.0)    # relative to a local view's
MIRROR_PROBABILITY = 0.8    # for each axis, of global and local views
HU_PER_UNIT = 1024


@dataclass(frozen=True)
class Box:
    """A part of a volume: its first voxel and its size, (D, H, W)."""

    start: Size
    size: Size

    def slices(self) -> tuple[slice, slice, slice]:
        """The box as indices of an array."""
        stop = np.add(self.start, self.size).tolist()
        return tuple(map(slice, self.start, stop))


@dataclass(frozen=True)
class View:
    """One view: where it is, and how it is mirrored and resized.

    Attributes:
        box: in the padded tile.
        mirrored: whether the axes D, H, W run backwards.
        side: (H, W) that the slices are resized to.
    """

    box: Box
    mirrored: tuple[bool, bool, bool]
    side: tuple[int, int]


def padded_shape(shape: Size, crop_size: Size) -> Size:
    """Shape (D, H, W) of a tile that is padded to hold a global view."""
    return tuple(map(max, shape, crop_size))


def local_size(crop_size: Size) -> Size:
    """Size (D, H, W) of local views: as deep as a global one, with half its sides."""
    return crop_size[0], crop_size[1] // 2, crop_size[2] // 2


def scaled_side(base: int, scale: float, available: int) -> int:
    """`base` times `scale`, truncated; `base` itself if that is not below `available`."""
    side = int(base * scale)
    return side if side < available else base


def draw_source(rng: np.random.Generator, shape: Size, crop_size: Size) -> Box:
    """The region that all views of a sample come from, with the padded tile's full depth.

    Args:
        shape: of the tile before padding.
    """
    padded = padded_shape(shape, crop_size)
    sides = _draw_sides(rng, crop_size, SOURCE_SCALE, padded)
    return _draw_box(rng, Box((0, 0, 0), padded), (padded[0], *sides))


def draw_view(rng: np.random.Generator, source: Box, size: Size,
              scale: tuple[float, float]) -> View:
    """A view in the source region: `size[0]` slices, whose sides are `size[1:]` times a scale.

    Each side has its own scale, and each axis is mirrored independently.
    """
    sides = _draw_sides(rng, size, scale, source.size)
    box = _draw_box(rng, source, (size[0], *sides))
    across, down, through = (bool(rng.random() < MIRROR_PROBABILITY) for _ in range(3))
    return View(box, (through, down, across), size[1:])


def draw_views(rng: np.random.Generator, shape: Size, crop_size: Size,
               local_crops: int = 0) -> list[View]:
    """Two global views of one source region, and then `local_crops` local ones.

    Args:
        shape: (D, H, W) of the tile before padding.
        crop_size: (D, H, W) of a global view.

    Differs from the authors' code: theirs has 16 x 96 x 96 and 16 x 48 x 48 written into it, and
    swaps height and width where a view is not square.
    """
    source = draw_source(rng, shape, crop_size)
    kinds = ([(crop_size, GLOBAL_SCALE)] * 2
             + [(local_size(crop_size), LOCAL_SCALE)] * local_crops)
    return [draw_view(rng, source, size, scale) for size, scale in kinds]


def _draw_sides(rng: np.random.Generator, size: Size, scale: tuple[float, float],
                available: Size) -> list[int]:
    """Height and width of `size`, each times its own scale."""
    return [scaled_side(size[axis], rng.uniform(*scale), available[axis]) for axis in (1, 2)]


def _draw_box(rng: np.random.Generator, outer: Box, size: Size) -> Box:
    """A box of this size at a random place in the outer one, all equally likely."""
    room = np.subtract(outer.size, size)
    start = np.add(outer.start, rng.integers(0, room, endpoint=True))
    return Box(tuple(start.tolist()), size)


def cut(volume: np.ndarray, box: Box, padded: Size) -> np.ndarray:
    """The voxels of a box of the padded volume; a view of the volume if the box needs no padding.

    Padding is 0, which is water in HU: rows and columns at their end, slices on both sides, the
    smaller half in front. Only the box is read, so `volume` may be a mapped file.

    Args:
        volume: (D, H, W), before padding.
        padded: its shape after.
    """
    front = ((padded[0] - volume.shape[0]) // 2, 0, 0)
    start = np.subtract(box.start, front)
    stop = start + box.size
    if (start >= 0).all() and (stop <= volume.shape).all():
        return volume[Box(tuple(start), box.size).slices()]
    result = np.zeros(box.size, volume.dtype)
    first, last = np.maximum(start, 0), np.maximum(np.minimum(stop, volume.shape), 0)
    inside = Box(tuple(first - start), tuple(np.maximum(last - first, 0)))
    result[inside.slices()] = volume[tuple(map(slice, first, last))]
    return result


def take_view(volume: np.ndarray, view: View, padded: Size) -> torch.Tensor:
    """A view (D, H, W) of a volume in HU, float32: HU / 1024, mirrored, then resized."""
    voxels = cut(volume, view.box, padded)
    steps = tuple(slice(None, None, -1 if backwards else 1) for backwards in view.mirrored)
    slices = torch.from_numpy(np.ascontiguousarray(voxels[steps], np.float32))
    return resized(slices.mul_(1 / HU_PER_UNIT), view.side)


def resized(slices: torch.Tensor, side: tuple[int, int]) -> torch.Tensor:
    """Slices (D, H, W) resized bilinearly to `side` (H, W), without antialiasing.

    Pixel centres are at halves: the outer corners of the first and last pixels stay in place.
    """
    if tuple(slices.shape[1:]) == tuple(side):
        return slices
    return interpolate(slices[None], size=tuple(side), mode="bilinear", align_corners=False)[0]
