"""The metrics of one case on its grid, without distances that would be wrong."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from data.nifti.sheared_grids import is_sheared
from metrics import TOLERANCE_MM, case_metrics


def case_scores(prediction: np.ndarray, label: np.ndarray, affine: np.ndarray,
                spacing_mm: Sequence[float], class_names: Sequence[str],
                paper_metrics: bool = False,
                tolerance_mm: float = TOLERANCE_MM) -> list[dict[str, Any]]:
    """As `metrics.case_metrics`, but distances in mm are NaN where the grid is sheared.

    They are computed from the voxel sizes, as if the axes were at right angles. Summaries leave
    NaN out.

    Args:
        prediction, label: classes (X, Y, Z) on one grid.
        affine: (4, 4), mm, of the grid.
        spacing_mm: of the grid.
    """
    rows = case_metrics(prediction, label, spacing_mm, class_names, paper_metrics,
                        tolerance_mm)
    if is_sheared(affine, label.shape):
        for row in rows:
            for name in row:
                if name.endswith("mm"):
                    row[name] = math.nan
    return rows


def voxel_volume_ml(affine: np.ndarray) -> float:
    """Volume of a voxel in ml, on any grid: affine (4, 4), mm."""
    return abs(float(np.linalg.det(affine[:3, :3]))) / 1000


def case_volumes(prediction: np.ndarray, label: np.ndarray, affine: np.ndarray,
                 class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Per foreground class, its volume in ml in the label and in the prediction.

    Args:
        prediction, label: classes (X, Y, Z) on one grid.
        affine: (4, 4), mm, of the grid.
    """
    voxel_ml = voxel_volume_ml(affine)
    labelled = np.bincount(label.ravel(), minlength=len(class_names))
    predicted = np.bincount(prediction.ravel(), minlength=len(class_names))
    rows = []
    for index, name in enumerate(class_names[1:], start=1):
        rows.append({"class_name": name, "label_ml": float(labelled[index] * voxel_ml),
                     "predicted_ml": float(predicted[index] * voxel_ml)})
    return rows
