"""What a validation counts of a volume, by hand, and against losses.dice_ce and metrics.dice."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.measure import peak_growth_mib
from losses import DiceCELoss, dice_ce
from managers import SegmentationManager
from managers.segmentation import volume_counts
from managers.segmentation.volume_counts import VolumeCounts, mean_dice
from metrics import dice


def counts_of(prediction, label, num_classes=3):
    """Of lists of n classes; the logits are 0 and, for the class that is predicted, ln 2."""
    counts = VolumeCounts(num_classes)
    logits = torch.zeros(num_classes, len(prediction), 1, 1)
    logits.scatter_(0, torch.tensor(prediction).view(1, -1, 1, 1), math.log(2))
    counts.add(logits, torch.tensor(label).view(-1, 1, 1))
    return counts


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
def test_dice_by_hand(prediction, label, expected):
    values = counts_of(prediction, label).dice
    assert values.dtype == torch.float32
    assert values.tolist() == pytest.approx(expected)


def test_dice_ce_by_hand():
    """Three classes, so that the predicted one has probability 1/2 and the others 1/4."""
    counts = counts_of([0, 1, 1, 2], [0, 1, 2, 1])
    cross_entropy = (2 * math.log(2) + 2 * math.log(4)) / 4
    overlaps = [1 / 2, 1 / 2 + 1 / 4, 1 / 4]
    sizes = [1 / 2 + 3 / 4 + 1, 2 / 2 + 2 / 4 + 2, 1 / 2 + 3 / 4 + 1]
    terms = [1 - 2 * overlap / size for overlap, size in zip(overlaps, sizes, strict=True)]
    assert counts.dice_ce == pytest.approx(cross_entropy + sum(terms) / 3, rel=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(0, 2**16), st.integers(1, 9), st.integers(1, 40),
       st.sampled_from([torch.uint8, torch.int64, torch.float32]))
def test_slabs_and_chunks_change_nothing(num_classes, seed, slab, chunk, kind):
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(num_classes, 7, 2, 3, generator=generator)
    label = torch.randint(0, num_classes, (7, 2, 3), generator=generator)
    counts, before = VolumeCounts(num_classes), logits.clone()
    usual, volume_counts.CHUNK_VALUES = volume_counts.CHUNK_VALUES, chunk
    try:
        for first in range(0, 7, slab):
            rows = slice(first, first + slab)
            counts.add(logits[:, rows], label[rows].to(kind))
    finally:
        volume_counts.CHUNK_VALUES = usual
    assert torch.equal(logits, before)
    expected = float(dice_ce(logits[None], label[None, None]))
    assert counts.dice_ce == pytest.approx(expected, rel=1e-5)
    label_map = logits.argmax(0)
    expected = [dice(label_map == k, label == k) for k in range(1, num_classes)]
    assert counts.dice.tolist() == pytest.approx(expected, rel=1e-6)


def test_mean_over_cases():
    cases = [[1.0, 1.0], [2 / 3, 0.0]]
    assert mean_dice(cases, ("background", "left", "right")) == pytest.approx(
        {"dice": 2 / 3, "dice_left": 5 / 6, "dice_right": 1 / 2})


SHAPE, NUM_CLASSES = (256, 128, 128), 8


def validation(shape):
    """A validation of a volume by a network that takes no memory itself."""
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.linspace(-1, 1, NUM_CLASSES))

        def forward(self, images):
            return images * self.weight.view(1, -1, 1, 1, 1)

    network = Scaled()
    names = tuple(f"class {index}" for index in range(NUM_CLASSES))
    manager = SegmentationManager(network, torch.optim.SGD(network.parameters(), 0.1),
                                  DiceCELoss(), names, (16, 32, 32))
    batch = {"image": torch.randn(1, 1, *shape),
             "label": torch.randint(0, NUM_CLASSES, (1, 1, *shape), dtype=torch.uint8)}
    return lambda: manager.test([batch])


def test_a_validation_never_holds_the_logits_of_the_volume():
    logits_mib = 4 * NUM_CLASSES * math.prod(SHAPE) / 2**20
    assert peak_growth_mib(validation, SHAPE) < 0.5 * logits_mib
