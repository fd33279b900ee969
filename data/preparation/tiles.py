"""Tiles: the overlapping stacks of 24 slices that pre-training reads (DeSD, MICCAI 2022).

Arrays are (rows, cols, slices) of isotropic voxels, as `data.preparation.respacing` makes them.
"""

from collections.abc import Iterator

import numpy as np

TILE_DEPTH, TILE_STRIDE = 24, 12  # slices
MIN_DEPTH = 13                    # slices; shallower volumes give no tile
MAX_UNTRIMMED = 320               # voxels in plane


def tile_ranges(depth: int) -> list[tuple[int, int]]:
    """The slices (start, stop) of each tile of a volume.

    The last tile is shifted back to end with the volume. 13 to 23 slices make a single tile, fewer
    make none.
    """
    if depth < MIN_DEPTH:
        return []
    last = max(depth - TILE_DEPTH, 0)
    starts = [*range(0, last, TILE_STRIDE), last]
    return [(start, min(start + TILE_DEPTH, depth)) for start in starts]


def trim_range(size: int) -> tuple[int, int]:
    """The voxels (start, stop) kept of one in-plane axis: the middle 80 % beyond 320 voxels.

    Differs from the authors' code: each axis is judged by its own size; theirs trims both by the
    size of the columns' axis. For square slices, as in DeepLesion, it is the same.
    """
    if size <= MAX_UNTRIMMED:
        return 0, size
    return int(0.1 * size), int(0.9 * size)


def tiles(volume: np.ndarray, affine: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Tiles (rows, cols, 13 to 24 slices) of a volume, each with its affine (4, 4).

    Differs from the authors' code: a tile has its own origin, not its volume's.
    """
    (top, bottom), (left, right) = map(trim_range, volume.shape[:2])
    for start, stop in tile_ranges(volume.shape[2]):
        of_tile = np.array(affine, float)
        of_tile[:, 3] = of_tile @ (top, left, start, 1)
        yield volume[top:bottom, left:right, start:stop], of_tile


def tile_names(stem: str, depth: int) -> list[str]:
    """The file names of a volume's tiles."""
    return [f"{stem}_dep{index}.nii" for index in range(len(tile_ranges(depth)))]
