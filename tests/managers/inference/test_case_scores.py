"""Distances in mm are never given as exact where the grid is sheared; volumes always are."""

import math

import numpy as np

from managers.inference.case_scores import case_scores, case_volumes
from metrics import METRICS_MM, case_metrics

NAMES = ("background", "organ")


def maps():
    label, prediction = np.zeros((9, 9, 9), np.uint8), np.zeros((9, 9, 9), np.uint8)
    label[2:6, 2:6, 2:6], prediction[3:6, 2:6, 2:6] = 1, 1
    return prediction, label


def test_distances_on_a_sheared_grid_are_left_out():
    affine = np.eye(4)
    affine[1, 2] = 0.3
    row, = case_scores(*maps(), affine, (1, 1, 1), NAMES)
    assert row["dice"] == 2 * 48 / (48 + 64)
    assert all(math.isnan(row[name]) for name in METRICS_MM if name != "dice")
    voxels, = case_scores(*maps(), affine, (1, 1, 1), NAMES, paper_metrics=True)
    assert voxels["hd95_voxels"] == 1  # which voxels are apart is no question of angles


def test_on_a_straight_grid_nothing_changes():
    affine = np.diag([0.5, -2, 1, 1])
    assert case_scores(*maps(), affine, (0.5, 2, 1), NAMES) == case_metrics(
        *maps(), (0.5, 2, 1), NAMES)


def test_volumes_count_voxels_in_ml_on_sheared_and_mirrored_grids_too():
    """64 and 48 voxels of 0.5 x 2 x 1 mm; shear leaves a voxel's volume as it is."""
    affine = np.diag([0.5, -2, 1, 1])
    affine[1, 2] = 0.3
    row, = case_volumes(*maps(), affine, NAMES)
    assert row == {"class_name": "organ", "label_ml": 0.064, "predicted_ml": 0.048}
