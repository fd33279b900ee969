"""Distances between the surfaces of two masks, in mm; spacings are in array-axis order.

A surface voxel is a mask voxel with at least one of its six face neighbours outside the mask; what
lies beyond the volume counts as outside, so a mask cut off by the border has surface there. This is
MONAI's definition, and wherever MONAI's values are defined these are equal to them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .overlap import mask_pair

if TYPE_CHECKING:
    from .overlap import Array

# A nearest-neighbour search costs about as much per surface voxel as the distance transform does
# per 8 voxels of the box (measured: 2 to 5 for surfaces close to each other, 15 for distant ones).
VOXELS_PER_POINT = 8
# Threads of one search, where there are points enough to pay for starting them.
MAX_THREADS, POINTS_PER_THREAD = 4, 2000


class Distances(NamedTuple):
    """Of each surface voxel of one mask to the other's surface, in mm; infinite if it has none."""

    pred_to_true_mm: np.ndarray
    true_to_pred_mm: np.ndarray


class SurfaceMetrics(NamedTuple):
    """The surface metrics of one pair of masks, in the unit of the spacing given (mm)."""

    hd95_mm: float
    msd_mm: float                # prediction -> label
    msd_label_to_pred_mm: float
    assd_mm: float


def surface_metrics(pred_mask: Array, true_mask: Array,
                    spacing_mm: Sequence[float]) -> SurfaceMetrics:
    """All surface metrics of two boolean masks (H, W, D) in one pass: edges and distances once.

    Both masks empty gives 0.0 mm; exactly one empty gives the diagonal of the volume in mm,
    sqrt(sum((shape * spacing)^2)), the largest distance that a segmentation could be wrong by.
    Differs from the authors' code: theirs is in voxels, msd is the only mean, and pairs with an
    empty mask become NaN or infinite and drop out.

    Raises:
        ValueError: masks not boolean, not 3D or of different shapes; spacing not 3 positive floats.
    """
    distances, spacing = _mask_distances(pred_mask, true_mask, spacing_mm)
    return metrics_of(distances, spacing, tuple(pred_mask.shape))


def surface_dice(pred_mask: Array, true_mask: Array, spacing_mm: Sequence[float],
                 tolerance_mm: float) -> float:
    """Share of both surfaces of two masks (H, W, D) that lies within a tolerance of the other.

    Also called normalised surface Dice (Nikolov et al., J Med Internet Res 2021), where surface
    elements have areas; here each surface voxel counts as one, as in MONAI. Both masks empty gives
    1.0, exactly one empty gives 0.0.

    Raises:
        ValueError: as `surface_metrics`; a tolerance, the distance that still counts as right,
            below 0.
    """
    distances, _ = _mask_distances(pred_mask, true_mask, spacing_mm)
    return surface_dice_of(distances, tolerance_mm)


def _mask_distances(pred_mask: Array, true_mask: Array,
                    spacing_mm: Sequence[float]) -> tuple[Distances, np.ndarray]:
    pred, true = mask_pair(pred_mask, true_mask)
    spacing = check_spacing(spacing_mm)
    return class_distances(pred.view(np.uint8), true.view(np.uint8), spacing, 2)[0], spacing


def class_distances(pred_map: np.ndarray, true_map: np.ndarray, spacing: np.ndarray,
                    num_classes: int) -> list[Distances]:
    """The surface distances of each foreground class of two checked label maps (H, W, D).

    The edges of all classes are found in one pass. Classes are 0 (background) to num_classes - 1.
    """
    box = _bounding_box((pred_map != 0) | (true_map != 0))
    pred_surfaces = _class_surfaces(pred_map[box], num_classes - 1)
    true_surfaces = _class_surfaces(true_map[box], num_classes - 1)
    found = []
    for pred, true in zip(pred_surfaces, true_surfaces, strict=True):
        if len(pred) and len(true):
            found.append(Distances(*_distances(pred, true, spacing)))
        else:
            found.append(Distances(np.full(len(pred), np.inf), np.full(len(true), np.inf)))
    return found


def hd95_mm(pred_mask: Array, true_mask: Array, spacing_mm: Sequence[float]) -> float:
    """Larger of the two directed 95th percentile Hausdorff distances of masks (H, W, D), in mm.

    Percentiles are interpolated linearly; empty masks, errors: see `surface_metrics`.
    """
    return surface_metrics(pred_mask, true_mask, spacing_mm).hd95_mm


def msd_mm(pred_mask: Array, true_mask: Array, spacing_mm: Sequence[float]) -> float:
    """Mean distance in mm from the surface of the prediction to that of the true mask (H, W, D).

    One direction only, as in the papers: a prediction covering part of an organ's surface scores
    well, see `assd_mm` for the symmetric mean. Empty masks, errors: see `surface_metrics`.
    """
    return surface_metrics(pred_mask, true_mask, spacing_mm).msd_mm


def assd_mm(pred_mask: Array, true_mask: Array, spacing_mm: Sequence[float]) -> float:
    """Mean distance in mm over the surface voxels of both masks (H, W, D), each to the other mask.

    Every surface voxel weighs the same. Empty masks, errors: see `surface_metrics`.
    """
    return surface_metrics(pred_mask, true_mask, spacing_mm).assd_mm


def surface_distances(pred_mask: Array, true_mask: Array,
                      spacing_mm: Sequence[float]) -> Distances:
    """Distance in mm of each surface voxel of one mask (H, W, D) to the other mask's surface.

    Returns:
        pred_to_true_mm (number of prediction surface voxels,) and true_to_pred_mm, both float64.

    Raises:
        ValueError: as `surface_metrics`, and when a mask is empty: there is no surface to measure.
    """
    distances, _ = _mask_distances(pred_mask, true_mask, spacing_mm)
    empty = []
    for name, found in zip(("pred_mask", "true_mask"), distances, strict=True):
        if not found.size:
            empty.append(name)
    if empty:
        raise ValueError(f"no surface in an empty mask: {' and '.join(empty)}; surface_metrics "
                         f"has a rule for empty masks")
    return distances


def check_spacing(spacing_mm: Sequence[float]) -> np.ndarray:
    """The spacing as a float64 array (3,); ValueError unless it is three positive numbers."""
    problem = f"spacing_mm must be three positive numbers in array-axis order, got {spacing_mm!r}"
    try:
        spacing = np.asarray(spacing_mm, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(problem) from error
    if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(f"{problem}: read it from the image header")
    return spacing


def metrics_of(distances: Distances, spacing: np.ndarray,
               shape: tuple[int, ...]) -> SurfaceMetrics:
    """The surface metrics of two masks in a volume of this shape, from their distances."""
    both_mm = np.concatenate(distances)
    if not both_mm.size:
        return SurfaceMetrics(0.0, 0.0, 0.0, 0.0)
    if not np.isfinite(both_mm[0]):  # then none is
        diagonal_mm = float(np.linalg.norm(np.multiply(shape, spacing)))
        return SurfaceMetrics(diagonal_mm, diagonal_mm, diagonal_mm, diagonal_mm)
    return SurfaceMetrics(
        hd95_mm=float(max(np.percentile(d, 95) for d in distances)),
        msd_mm=float(distances.pred_to_true_mm.mean()),
        msd_label_to_pred_mm=float(distances.true_to_pred_mm.mean()),
        assd_mm=float(both_mm.mean()),
    )


def surface_dice_of(distances: Distances, tolerance_mm: float) -> float:
    """`surface_dice` from the distances of two masks; ValueError for a tolerance below 0."""
    if not tolerance_mm >= 0:
        raise ValueError(f"tolerance_mm must be at least 0, got {tolerance_mm}")
    both_mm = np.concatenate(distances)
    if not both_mm.size:
        return 1.0
    return float((both_mm <= tolerance_mm).mean())


def _distances(pred: np.ndarray, true: np.ndarray,
               spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance in mm of each point (N, 3) of one surface to the nearest of the other: float64."""
    low = np.minimum(pred.min(axis=0), true.min(axis=0))
    box = np.maximum(pred.max(axis=0), true.max(axis=0)) - low + 1
    if (len(pred) + len(true)) * VOXELS_PER_POINT < box.prod():
        return _by_search(pred, true, spacing), _by_search(true, pred, spacing)
    pred, true = pred - low, true - low
    return _by_transform(pred, true, spacing, box), _by_transform(true, pred, spacing, box)


def _by_search(source: np.ndarray, target: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    from scipy.spatial import cKDTree

    # Splitting at midpoints suits a lattice: it builds twice as fast and answers as fast.
    tree = cKDTree(target * spacing, leafsize=32, balanced_tree=False, compact_nodes=False)
    threads = 1
    if len(source) > POINTS_PER_THREAD:
        threads = min(MAX_THREADS, os.cpu_count() or 1)
    return tree.query(source * spacing, workers=threads)[0]


def _by_transform(source: np.ndarray, target: np.ndarray, spacing: np.ndarray,
                  box: np.ndarray) -> np.ndarray:
    import edt

    outside = np.ones(box, bool)
    outside[tuple(target.T)] = False
    # edt reads anisotropy in array-axis order for C-contiguous input.
    distance_mm = edt.edt(outside, anisotropy=tuple(spacing))
    return distance_mm[tuple(source.T)].astype(np.float64)


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """The box of a mask's voxels; no voxel at all where the mask is empty.

    It needs no margin to find surfaces in: all around it is outside every mask.
    """
    plane = mask.any(axis=0)  # (W, D)
    if not plane.any():
        return (slice(0),) * 3
    box = []
    for profile in (mask.any(axis=(1, 2)), plane.any(axis=1), plane.any(axis=0)):
        inside = np.flatnonzero(profile)
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return tuple(box)


def _class_surfaces(label_map: np.ndarray, num_foreground: int) -> list[np.ndarray]:
    """Indices (N, 3) of each foreground class's surface voxels, in C order.

    A voxel is surface of its own class where a face neighbour has another class or none.
    """
    label_map = np.ascontiguousarray(label_map)
    edge = np.zeros(label_map.shape, bool)
    for axis in range(3):
        edges, labels = np.moveaxis(edge, axis, 0), np.moveaxis(label_map, axis, 0)
        differs = labels[1:] != labels[:-1]
        edges[1:] |= differs
        edges[:-1] |= differs
        edges[:1] = edges[-1:] = True
    edge &= label_map != 0
    # Flat indices first: several times faster than np.argwhere on a large, nearly empty volume.
    flat = np.flatnonzero(edge)
    classes = label_map.reshape(-1)[flat]
    order = np.argsort(classes, kind="stable")
    ends = np.searchsorted(classes[order], np.arange(1, num_foreground), side="right")
    points = np.stack(np.unravel_index(flat[order], edge.shape), axis=-1)
    return np.split(points, ends)
