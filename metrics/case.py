"""The metrics of one case, one row per foreground class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .overlap import (
    OverlapCounts,
    check_same_shape,
    check_volume,
    class_overlaps,
    dice_from_counts,
    to_numpy,
)
from .surface import check_spacing, class_distances, metrics_of, surface_dice_of

if TYPE_CHECKING:
    from .overlap import Array

METRICS_MM = ("dice", "hd95_mm", "msd_mm", "msd_label_to_pred_mm", "assd_mm")
METRICS_VOXELS = ("dice", "hd95_voxels", "msd_voxels", "msd_label_to_pred_voxels", "assd_voxels")
SURFACE_DICE = "surface_dice_"  # and the tolerance, such as surface_dice_1mm
TOLERANCE_MM = 1.0


def surface_dice_name(tolerance_mm: float) -> str:
    """The column of surface Dice at a tolerance, so two tolerances are never compared."""
    return f"{SURFACE_DICE}{tolerance_mm:g}mm"


def metrics_in(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The metrics of a row of `case_metrics`: METRICS_MM or METRICS_VOXELS, then surface Dice.

    Rows of older versions have no surface Dice. Empty for any other row.
    """
    surface_dice = [name for name in row if name.startswith(SURFACE_DICE)]
    for names in (METRICS_MM, METRICS_VOXELS):
        if set(names) <= set(row):
            return (*names, *surface_dice)
    return ()


def with_shared_columns(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of several evaluations with the columns that all have: older ones lack surface Dice."""
    if not rows:
        return []
    shared = set.intersection(*map(set, rows))
    return [{name: value for name, value in row.items() if name in shared} for row in rows]


def case_metrics(prediction: Array, label: Array, spacing_mm: Sequence[float],
                 class_names: Sequence[str], paper_metrics: bool = False,
                 tolerance_mm: float = TOLERANCE_MM) -> list[dict[str, int | str | float]]:
    """Dice and surface metrics of each foreground class of two label maps (H, W, D).

    Empty masks follow `dice` and `surface_metrics`, and "empty" says which mask is: "", "both",
    "prediction" or "label".
    Differs from the authors' code: distances in mm, counted for empty masks. `paper_metrics` gives
    theirs (MONAI without spacing): distances in voxels; Dice is NaN for an empty label, and every
    distance is NaN if either mask is empty, where MONAI's is NaN or infinite.

    Args:
        prediction, label: integer class of each voxel, 0 is background.
        spacing_mm: voxel size along each axis, in the order of the array axes.
        class_names: background first.
        paper_metrics: the authors' convention; keys then end in _voxels in place of _mm.
        tolerance_mm: of surface Dice, which `paper_metrics` lacks.

    Returns:
        Per foreground class: "class", "class_name", the metrics of METRICS_MM and surface Dice (or
        METRICS_VOXELS alone), and "empty", in this order.

    Raises:
        ValueError: maps not integer, not 3D, of different shapes or with values that have no name;
            spacing not three positive numbers; class names missing or repeated.
    """
    check_class_names(class_names)
    spacing = check_spacing(spacing_mm)
    pred_map = _label_map("prediction", prediction, class_names)
    true_map = _label_map("label", label, class_names)
    check_same_shape(("prediction", pred_map), ("label", true_map))
    names = METRICS_MM
    if paper_metrics:
        names, spacing = METRICS_VOXELS, np.ones(3)
    counts = _class_counts(pred_map, true_map, len(class_names))
    surfaces = class_distances(pred_map, true_map, spacing, len(class_names))
    rows = []
    for index, (count, surface) in enumerate(zip(counts, surfaces, strict=True), start=1):
        values = (dice_from_counts(count), *metrics_of(surface, spacing, pred_map.shape))
        if paper_metrics and count.empty:
            values = [math.nan] * 5
        if paper_metrics and count.empty == "prediction":
            values[0] = 0.0
        metrics = dict(zip(names, values, strict=True))
        if not paper_metrics:
            metrics[surface_dice_name(tolerance_mm)] = surface_dice_of(surface, tolerance_mm)
        rows.append({"class": index, "class_name": class_names[index], **metrics,
                     "empty": count.empty})
    return rows


def check_class_names(class_names: Sequence[str]) -> None:
    """Raise ValueError unless there are unique names for background and some foreground."""
    if isinstance(class_names, str) or len(class_names) < 2:
        raise ValueError(f"class_names must list background and at least one foreground class, "
                         f"got {class_names!r}")
    repeated = sorted({name for name in class_names if list(class_names).count(name) > 1})
    if repeated:
        raise ValueError(f"class_names must be unique, repeated: {repeated}; rename them")


def _class_counts(pred_map: np.ndarray, true_map: np.ndarray,
                  num_classes: int) -> list[OverlapCounts]:
    """The overlap of each foreground class, from one table of voxels by both classes."""
    either = (pred_map != 0) | (true_map != 0)
    pairs = pred_map[either].astype(np.intp) * num_classes + true_map[either]
    voxels = np.bincount(pairs, minlength=num_classes**2)
    return class_overlaps(voxels.reshape(num_classes, num_classes))


def _label_map(name: str, array: Array, class_names: Sequence[str]) -> np.ndarray:
    label_map = to_numpy(array)
    if label_map.dtype.kind not in "biu":
        raise ValueError(f"{name} must be an integer label map, got dtype {label_map.dtype}: take "
                         f"the argmax of probabilities, round and cast a label read as float")
    check_volume(name, label_map)
    if label_map.size and not (label_map.min() >= 0 and label_map.max() < len(class_names)):
        unknown = {}
        for value, num_voxels in zip(*np.unique(label_map, return_counts=True), strict=True):
            if not 0 <= value < len(class_names):
                unknown[int(value)] = int(num_voxels)
        raise ValueError(f"{name} has values outside the classes 0..{len(class_names) - 1} "
                         f"({{value: voxels}}): {unknown}; remap them or name every class in "
                         f"class_names")
    return label_map.astype(np.min_scalar_type(len(class_names) - 1), copy=False)
