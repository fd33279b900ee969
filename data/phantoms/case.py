"""One phantom case: its place in the scanner, its anatomy and its image."""

import zlib

import numpy as np
from scipy.spatial.transform import Rotation

from .brain import brain
from .heart import heart
from .hippocampus import hippocampus
from .layouts import PHANTOMS
from .scanners import scan_brain, scan_ct, scan_hippocampus, scan_mr
from .scene import render

# Hearts keep their field of view, so voxels grow as the size shrinks, up to 3 mm, below which (and
# never finer than the scanner's own voxels) the anatomy shrinks with the field of view. The brain
# and hippocampus sets keep their 1 mm voxels, so a small size shrinks the anatomy and a large
# hippocampus size shows more of its surroundings. All structures are always in view.
_HEART_FOV_MM, _HEART_MAX_VOXEL_MM = (150.0, 150.0, 130.0), 3.0
_BRAIN_FOV_MM = (165.0, 195.0, 150.0)
_HIPPOCAMPUS_FOV_MM = (33.0, 44.0, 30.0)
_SCENES = {  # how each set draws a case, and its scanner
    "mmwhs-ct": (lambda rng: heart(rng, "ct"), scan_ct),
    "mmwhs-mr": (lambda rng: heart(rng, "mr"), scan_mr),
    "msd-brats": (brain, scan_brain),
    "hippocampus": (hippocampus, scan_hippocampus),
}


def _heart_affine(
    rng: np.random.Generator, size: tuple[int, int, int], finest_mm: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return affine (4, 4) and field of view (3,) in mm; never RAS, sometimes a little oblique."""
    fov_mm = np.array(_HEART_FOV_MM) * rng.uniform(0.97, 1.08)
    spacing_mm = np.clip(fov_mm / size, finest_mm, _HEART_MAX_VOXEL_MM)
    flips = ((-1, -1, 1), (-1, -1, 1), (-1, 1, 1), (1, -1, 1), (-1, -1, -1))
    signs = flips[rng.integers(len(flips))]
    degrees = rng.uniform(-5, 5, 3) * (rng.random() < 0.4)
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.diag(signs * spacing_mm)
    affine[:3, 3] = rng.uniform(-150, 150, 3)
    return affine, spacing_mm * size


def _geometry(
    dataset: str, rng: np.random.Generator, size: tuple[int, int, int] | None
) -> tuple[tuple[int, int, int], np.ndarray, float]:
    """Return size in voxels, affine (4, 4) and how much the anatomy is shrunk (0 to 1]."""
    phantom = PHANTOMS[dataset]
    # Drawn even if a size is given, so that the rest of the case does not depend on it.
    drawn = np.clip(rng.normal((36, 50, 36), (2, 3, 4)).round(), (31, 40, 24), (43, 59, 47))
    size = size or phantom.size or tuple(drawn.astype(int).tolist())
    if dataset.startswith("mmwhs"):
        affine, fov_mm = _heart_affine(rng, size, phantom.voxel_mm)
        return size, affine, float(min(1.0, *(fov_mm / _HEART_FOV_MM)))
    if dataset == "msd-brats":
        affine = np.diag([-1.0, -1.0, 1.0, 1.0])
        affine[1, 3] = size[1] - 1
        return size, affine, float(min(1.0, *(np.array(size) / _BRAIN_FOV_MM)))
    affine = np.eye(4)
    affine[:3, 3] = 1
    return size, affine, float(min(1.0, *(np.array(size) / _HIPPOCAMPUS_FOV_MM)))


def draw_case(
    dataset: str, index: int, size: tuple[int, int, int] | None, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return image (X, Y, Z[, C]), label (X, Y, Z) and affine (4, 4) in mm of valid arguments."""
    # Three streams: more voxels need more noise, and must not change the anatomy.
    entropy = [seed, index, zlib.crc32(dataset.encode())]
    streams = np.random.SeedSequence(entropy).spawn(3)
    grid_rng, scene_rng, scan_rng = (np.random.default_rng(stream) for stream in streams)
    size, affine, shrink = _geometry(dataset, grid_rng, size)
    draw_scene, scan = _SCENES[dataset]
    scene = draw_scene(scene_rng)
    center = (np.array(size) - 1) / 2 + grid_rng.uniform(-0.02, 0.02, 3) * size
    linear = scene.pose @ affine[:3, :3] / shrink
    tissue, shading = render(scene, size, np.column_stack([linear, -linear @ center]))
    image = scan(scan_rng, tissue, shading, scene.signal.astype(np.float32))
    label = scene.labels[tissue].astype(np.int16 if dataset.startswith("mmwhs") else np.uint8)
    if dataset == "hippocampus" and grid_rng.random() < 0.03:
        label = label.astype(np.float32)  # a few of the real ones are
    return image, label, affine
