"""The score that chooses the best checkpoint, by hand and against metrics.dice."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from managers.segmentation.validation_dice import ValidationDice, foreground_dice, mean_dice
from metrics import dice


def maps(*voxels):
    """Label maps (1, 1, n, 1, 1) from lists of n classes."""
    return [torch.tensor(values).view(1, 1, -1, 1, 1) for values in voxels]


@pytest.mark.parametrize(("prediction", "label", "expected"), [
    # class 1: 2 voxels of 2 + 3, overlap 2; class 2: one of 2 + 1, overlap 1
    ([1, 1, 2, 2, 0], [1, 1, 1, 2, 0], [4 / 5, 2 / 3]),
    ([0, 1, 1], [0, 1, 1], [1, 1]),          # class 2 is in neither
    ([0, 1, 2], [0, 1, 1], [2 / 3, 0]),      # class 2 is only predicted
    ([0, 1, 1], [0, 1, 2], [2 / 3, 0]),      # class 2 is only in the label
    ([0, 0, 0], [0, 0, 0], [1, 1]),
    ([0, 0, 0], [1, 2, 2], [0, 0]),
    ([1, 2], [2, 1], [0, 0]),
])
def test_by_hand(prediction, label, expected):
    values = foreground_dice(*maps(prediction, label), num_classes=3)
    assert values.dtype == torch.float32
    assert values.tolist() == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(0, 2**16), st.integers(1, 4))
def test_is_the_metric_and_never_nan(num_classes, seed, size):
    generator = torch.Generator().manual_seed(seed)
    prediction, label = (torch.randint(0, num_classes, (1, 1, size, 2, 3), generator=generator)
                         for _ in range(2))
    values = foreground_dice(prediction, label.to(torch.uint8), num_classes)
    expected = [dice(prediction[0, 0] == k, label[0, 0] == k) for k in range(1, num_classes)]
    assert values.tolist() == pytest.approx(expected, rel=1e-6)
    assert foreground_dice(label, prediction, num_classes).tolist() == values.tolist()


def test_a_label_read_as_float():
    prediction, label = maps([1, 1, 2, 0], [1, 2, 2, 0])
    exact = foreground_dice(prediction, label, 3)
    assert torch.equal(foreground_dice(prediction, label.float(), 3), exact)


def test_running_mean_over_cases():
    metric = ValidationDice(("background", "left", "right"))
    assert metric.result.isnan() and metric.cases == []
    metric(*maps([0, 1, 1], [0, 1, 1]))      # 1 and 1
    metric(*maps([0, 1, 2], [0, 1, 1]))      # 2/3 and 0
    assert mean_dice(metric.cases, metric.class_names) == pytest.approx(
        {"dice": 2 / 3, "dice_left": 5 / 6, "dice_right": 1 / 2})
    assert metric.result.item() == pytest.approx(2 / 3)
    metric.reset()
    assert metric.result.isnan() and metric.cases == []
    metric(*maps([0, 1, 2], [0, 1, 2]))
    assert metric.result.item() == 1
