"""A drawn case without voxels, and its sampling on a grid."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

_SLAB_VOXELS = 1_000_000  # bounds the memory of a 512 x 512 x 240 case


@dataclass(frozen=True)
class Scene:
    """One drawn case: which tissue is where, and what each tissue looks like.

    p (3, N) are points in mm of the anatomy, +x right, +y front, +z head, origin in its middle;
    tissue (N,) are uint8 rows of a table with one line per tissue; C channels. A scene knows no
    voxels, so the same case at another size is the same anatomy sampled elsewhere.
    """

    paint: Callable[[np.ndarray], np.ndarray]  # p (3, N) -> tissue (N,)
    shading: Callable[[np.ndarray], np.ndarray]  # p (3, N) -> log of the gain (N,)
    pose: np.ndarray  # (3, 3) patient mm -> anatomy mm, about the centre
    labels: np.ndarray  # (tissues,) label value of each tissue
    signal: np.ndarray  # (tissues, C) mean intensity of each tissue


def small_pose(rng: np.random.Generator, degrees: float, size_sd: float) -> np.ndarray:
    """Return the (3, 3) change from patient to anatomy mm: a small rotation and a scale."""
    rotation = Rotation.from_euler("xyz", rng.normal(0, degrees, 3), degrees=True).as_matrix()
    return rotation / np.exp(rng.normal(0, size_sd))


def rows_and_labels(tissues: dict[str, tuple]) -> tuple[dict[str, int], np.ndarray]:
    """Return the row of each tissue and the label values (tissues,)."""
    rows = {name: row for row, name in enumerate(tissues)}
    return rows, np.array([line[-1] for line in tissues.values()])


def render(
    scene: Scene, size: tuple[int, int, int], to_anatomy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sample a scene: tissue (X, Y, Z) uint8 and shading (X, Y, Z) float32.

    `to_anatomy` (3, 4) takes voxel indices to mm of the anatomy.
    """
    tissue, shading = np.empty(size, np.uint8), np.empty(size, np.float32)
    matrix = to_anatomy.astype(np.float32)
    thickness = max(1, _SLAB_VOXELS // (size[0] * size[1]))
    for z in range(0, size[2], thickness):
        shape = (size[0], size[1], min(thickness, size[2] - z))
        index = np.indices(shape, np.float32).reshape(3, -1)
        index[2] += z
        p = matrix[:, :3] @ index + matrix[:, 3:]
        tissue[..., z : z + thickness] = scene.paint(p).reshape(shape)
        shading[..., z : z + thickness] = scene.shading(p).reshape(shape)
    return tissue, shading
