"""Dice-CE by hand, and what it does not depend on."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DiceCELoss as MonaiDiceCE

from losses import dice_ce


def two_voxels(dtype=torch.float64):
    """Softmax (3/4, 1/4) in the first voxel and (1/5, 4/5) in the second; labels 0 and 1."""
    probs = torch.tensor([[0.75, 0.2], [0.25, 0.8]], dtype=torch.float64)
    return probs.log().view(1, 2, 2, 1, 1).to(dtype), torch.tensor([0, 1]).view(1, 1, 2, 1, 1)


def test_two_voxels_by_hand():
    logits, label = two_voxels()
    # class 0: overlap 0.75, sizes 0.95 + 1; class 1: overlap 0.8, sizes 1.05 + 1
    dice = ((1 - (1.5 + 1e-5) / (1.95 + 1e-5)) + (1 - (1.6 + 1e-5) / (2.05 + 1e-5))) / 2
    cross_entropy = -(math.log(0.75) + math.log(0.8)) / 2
    assert dice_ce(logits, label).item() == pytest.approx(dice + cross_entropy, rel=1e-12)


def test_a_class_that_is_absent_counts_in_dice():
    # One voxel of class 0, logits that put it there with certainty: class 1 has overlap 0 and
    # sizes 0 + 0, so its Dice loss is 1 - 1e-5/1e-5 = 0.
    logits = torch.tensor([400.0, -400.0]).view(1, 2, 1, 1, 1)
    assert dice_ce(logits, torch.zeros(1, 1, 1, 1, 1)).item() == 0
    # Certain and wrong: each Dice loss is 1 - 1e-5/(1 + 1e-5), the cross-entropy the logit gap.
    wrong = dice_ce(logits, torch.ones(1, 1, 1, 1, 1)).item()
    assert wrong == pytest.approx(800 + 1 - 1e-5 / (1 + 1e-5), rel=1e-6)


def test_dice_is_averaged_over_samples_not_pooled():
    logits, label = two_voxels()
    other = logits.flip(1)
    both = dice_ce(torch.cat([logits, other]), torch.cat([label, label])).item()
    alone = [dice_ce(logits, label).item(), dice_ce(other, label).item()]
    assert both == pytest.approx(sum(alone) / 2, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.float32,
                                   torch.float64, torch.float16])
def test_label_dtypes_agree(small, dtype):
    outputs, label = small()
    expected = dice_ce(outputs["out"], label)
    assert torch.equal(dice_ce(outputs["out"], label.to(dtype)), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions_are_summed_in_float32(dtype):
    # 48^3 voxels: above float16's 65,504, and where bfloat16 counts in steps of 512.
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 48, 48, 48, generator=generator).to(dtype)
    label = torch.zeros(1, 1, 48, 48, 48)
    value = dice_ce(logits, label)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(dice_ce(logits.double(), label).item(), rel=1e-5)


def test_wider_types_stay():
    logits, label = two_voxels()
    assert dice_ce(logits, label).dtype == torch.float64
    assert dice_ce(logits.float(), label).dtype == torch.float32


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), classes=st.integers(2, 5), batch=st.integers(1, 3),
       shift=st.floats(-20, 20))
def test_agrees_with_monai_and_ignores_a_constant(seed, classes, batch, shift):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, classes, 3, 2, 4, generator=generator, dtype=torch.float64)
    label = torch.randint(0, classes, (batch, 1, 3, 2, 4), generator=generator)
    value = dice_ce(logits, label).item()
    theirs = MonaiDiceCE(softmax=True, to_onehot_y=True)(logits, label).item()
    assert value == pytest.approx(theirs, rel=1e-10)
    assert dice_ce(logits + shift, label).item() == pytest.approx(value, rel=1e-9)
    order = torch.randperm(classes, generator=generator)
    renamed = order.argsort()[label]
    assert dice_ce(logits[:, order], renamed).item() == pytest.approx(value, rel=1e-10)


def test_gradcheck():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 2, 1, 2, generator=generator, dtype=torch.float64,
                         requires_grad=True)
    label = torch.randint(0, 3, (2, 1, 2, 1, 2), generator=generator)
    assert torch.autograd.gradcheck(lambda z: dice_ce(z, label), (logits,))
