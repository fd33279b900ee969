"""Volumes and intensities of classes, with answers computed by hand."""

import math

import numpy as np
import pytest

from metrics import class_statistics

NAMES = ("background", "liver", "tumour")


def test_by_hand():
    label_map = np.array([[[0, 1, 1], [1, 0, 0]]])
    image = np.array([[[[9.0, 1, 2], [6, 9, 9]]], [[[0.0, -1, -1], [-1, 0, 0]]]])
    liver, tumour = class_statistics(label_map, image, 0.01, NAMES, ("T1", "T2"))
    assert liver == {"class": 1, "class_name": "liver", "voxels": 3,
                     "volume_ml": pytest.approx(0.03), "mean_T1": 3.0, "mean_T2": -1.0}
    assert (tumour["voxels"], tumour["volume_ml"]) == (0, 0.0)
    assert math.isnan(tumour["mean_T1"])


def test_ten_by_ten_by_ten_millimetres_are_a_millilitre():
    cube = np.ones((10, 10, 10), np.uint8)
    (row,) = class_statistics(cube, cube[None].astype(float), 0.001, NAMES[:2], ("CT",))
    assert row["volume_ml"] == pytest.approx(1.0) and row["mean_CT"] == 1.0


@pytest.mark.parametrize(("label_map", "image", "problem"), [
    (np.zeros((2, 2, 2), int), np.zeros((1, 2, 2, 3)), "image must have shape"),
    (np.zeros((2, 2, 2), int), np.zeros((2, 2, 2, 2)), "image must have shape"),
    (np.full((2, 2, 2), 3), np.zeros((1, 2, 2, 2)), "classes from 3 to 3"),
    (np.zeros((2, 2), int), np.zeros((1, 2, 2)), "three axes")])
def test_what_does_not_fit_is_refused(label_map, image, problem):
    with pytest.raises(ValueError, match=problem):
        class_statistics(label_map, image, 0.001, NAMES, ("CT",))


@pytest.mark.parametrize("voxel_ml", [0.0, -1.0, math.nan])
def test_a_voxel_has_a_volume(voxel_ml):
    with pytest.raises(ValueError, match="voxel_ml must be above 0"):
        class_statistics(np.zeros((2, 2, 2), int), np.zeros((1, 2, 2, 2)), voxel_ml, NAMES, ("CT",))
