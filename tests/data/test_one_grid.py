"""A label lies on the grid of its image; rounding in its own header turns it no other way."""

import dataclasses

import numpy as np
import pytest

from data import DATASETS, preprocessing
from data.checks.verification import case_findings
from data.volumes.transforms import case_files

DATASET = dataclasses.replace(DATASETS["hippocampus"], intensity="none")


def turned_by(degrees):
    """About the third axis; which axis is left-right changes at 45 degrees."""
    angle, affine = np.deg2rad(degrees), np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return affine


@pytest.mark.parametrize("spacing_mm", [None, (0.9, 0.9, 0.9)])
@pytest.mark.parametrize("degrees", [(44.9999, 45.0001), (45.0001, 44.9999), (134.9999, 135.0001)])
def test_image_and_label_are_turned_as_one(write_case, degrees, spacing_mm):
    label = np.zeros((12, 10, 8), np.uint8)
    label[1:4, 2:9, 3:6] = 1
    case = write_case(label.astype(np.float32), label, turned_by(degrees[0]),
                      turned_by(degrees[1]))
    assert case_findings(case, DATASET).errors == []
    volume = preprocessing(dataclasses.replace(DATASET, spacing_mm=spacing_mm))(case_files(case))
    assert volume["image"].shape == volume["label"].shape
    apart = np.abs(volume["image"].numpy() - volume["label"].numpy())
    assert apart.max() == 0 if spacing_mm is None else apart.mean() < 0.05
