"""Dice and overlap counts on hand-counted masks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from metrics import dice, overlap_counts
from metrics.overlap import class_overlaps

ROOT = Path(__file__).parents[2]


def box(*slices, shape=(6, 6, 6)):
    mask = np.zeros(shape, dtype=bool)
    mask[slices] = True
    return mask


def test_shifted_cubes_share_half():
    pred = box(slice(0, 4), slice(0, 4), slice(0, 4))
    true = box(slice(2, 6), slice(0, 4), slice(0, 4))
    assert overlap_counts(pred, true) == (32, 32, 32)
    assert dice(pred, true) == 0.5


def test_nested_cubes():
    pred = box(slice(1, 3), slice(1, 3), slice(1, 3))
    true = box(slice(0, 4), slice(0, 4), slice(0, 4))
    assert overlap_counts(pred, true) == (8, 0, 56)
    assert dice(pred, true) == pytest.approx(2 * 8 / (8 + 64))


def test_disjoint_masks_have_dice_zero():
    assert dice(box(0), box(5)) == 0.0


def test_empty_rule():
    empty, full = np.zeros((3, 3, 3), bool), np.ones((3, 3, 3), bool)
    assert dice(empty, empty) == 1.0
    assert dice(empty, full) == 0.0
    assert dice(full, empty) == 0.0


@pytest.mark.parametrize(
    ("pred_value", "true_value", "expected"),
    [(1, 1, ""), (0, 0, "both"), (0, 1, "prediction"), (1, 0, "label")],
)
def test_counts_name_the_empty_mask(pred_value, true_value, expected):
    shape = (2, 2, 2)
    counts = overlap_counts(np.full(shape, pred_value, bool), np.full(shape, true_value, bool))
    assert counts.empty == expected


def test_classes_of_a_table_keep_what_is_false_on_either_side():
    """By predicted class (rows) and true class: 2 voxels of class 1 are predicted as background."""
    voxels = np.array([[9, 2, 0], [0, 5, 1], [4, 0, 7]])
    assert class_overlaps(voxels) == [(5, 1, 2), (7, 4, 1)]
    maps = np.array([0] * 11 + [1] * 6 + [2] * 11), np.array(
        [0] * 9 + [1] * 2 + [1] * 5 + [2] + [0] * 4 + [2] * 7)
    pred, true = (each.reshape(7, 2, 2) for each in maps)
    for index, counts in enumerate(class_overlaps(voxels), start=1):
        assert counts == overlap_counts(pred == index, true == index)


def test_tensors_and_arrays_agree():
    pred, true = box(slice(0, 3)), box(slice(1, 5))
    value = dice(torch.from_numpy(pred), torch.from_numpy(true))
    assert isinstance(value, float)
    assert value == dice(pred, true) == dice(torch.from_numpy(pred), true)


@settings(max_examples=30, deadline=None)
@given(st.data(), array_shapes(min_dims=3, max_dims=3, max_side=5))
def test_dice_is_symmetric_and_bounded(data, shape):
    pred, true = (data.draw(arrays(bool, shape)) for _ in range(2))
    assert dice(pred, true) == dice(true, pred)
    assert 0.0 <= dice(pred, true) <= 1.0
    assert dice(pred, pred) == 1.0


def test_label_maps_are_refused_as_masks():
    with pytest.raises(ValueError, match=r"true_mask must be boolean, got dtype int64.*compare"):
        dice(np.ones((2, 2, 2), bool), np.ones((2, 2, 2), np.int64))


def test_batch_axes_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 2, 2, 2\).*drop batch and channel"):
        dice(np.ones((1, 2, 2, 2), bool), np.ones((2, 2, 2), bool))


def test_shapes_must_match():
    with pytest.raises(ValueError, match=r"\(2, 2, 2\).*\(2, 2, 3\).*resample"):
        dice(np.ones((2, 2, 2), bool), np.ones((2, 2, 3), bool))


def test_importing_metrics_loads_no_heavy_package():
    code = (
        "import metrics, sys; print(sorted({'monai', 'torch', 'scipy', 'edt'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"
