"""Distance maps of label volumes, for the boundary loss."""

from collections.abc import Sequence
from functools import partial

import numpy as np


def distance_maps(label: np.ndarray, num_classes: int,
                  spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    """Signed distance of every voxel to every class: positive outside it, negative inside.

    For class c with voxels M

        D_c = + distance to the nearest voxel of M              outside M
        D_c = - (distance to the nearest voxel outside M - 1)   inside M

    so in voxels (the default spacing) the outermost voxels of a class are 0 and the next layer is
    -1. Distances are Euclidean between voxel centres; the border of the volume does not bound a
    class. With a spacing in mm they are in mm, but the 1 stays 1, so no voxel need be exactly 0.
    D_0 is 0 throughout: the boundary loss leaves the background out.

    A class that is absent, and one that fills the volume, have no boundary: their map is 0.

    Source: the loader of the authors' shape-prior system. Differs from the authors' code: theirs
    gives as many maps as the case's largest class, is in voxels only, and its numbers mean
    nothing where a class fills the volume.

    Args:
        label: (H, W, D) class indices.
        num_classes: K, background included.
        spacing: of the voxels along H, W, D.

    Returns:
        (K, H, W, D) float32: 4 K bytes per voxel.
    """
    import edt

    distance = partial(edt.edt, anisotropy=tuple(spacing), black_border=False)
    maps = np.zeros((num_classes, *label.shape), np.float32)
    for index in range(1, num_classes):
        inside = np.ascontiguousarray(label == index)
        if not inside.any() or inside.all():
            continue
        # edt measures from a voxel that is set to the nearest one that is not.
        to_class, to_outside = distance(~inside), distance(inside)
        maps[index] = np.where(inside, 1 - to_outside, to_class)
    return maps
