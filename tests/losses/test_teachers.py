"""Other teachers, weights and voxels of the KL: by hand, and the fused loss equals the plain."""

import math

import pytest
import torch

from losses import DSDLoss, dice_ce, dsd_loss, pixelwise_kl
from losses.fused.loss import fused_dsd_loss
from losses.teachers import side_weights_of, taught_terms, weights_by_name

NEW = [{"side_weights": "halved"}, {"teacher": "main"}, {"teacher": "ensemble"},
       {"teacher": "ema"}, {"where": "right"}, {"where": "boundary"},
       {"teacher": "ensemble", "side_weights": "halved", "where": "right"}]


@pytest.fixture
def batch(small):
    """(outputs with a mean teacher's logits, label), float64 leaves."""
    outputs, label = small()
    for entry in (outputs["out"], *outputs["dec"], *outputs["enc"]):
        entry.requires_grad_()
    generator = torch.Generator().manual_seed(3)
    outputs["teacher"] = torch.randn(outputs["out"].shape, generator=generator,
                                     dtype=torch.float64)
    return outputs, label


def leaves_of(outputs):
    return [outputs["out"], *outputs["dec"], *outputs["enc"]]


def test_weights_are_halved_level_by_level_and_the_lowest_has_none():
    assert side_weights_of(4, "halved") == [0, 0.125, 0.25, 0.5]
    assert side_weights_of(4, "equal") == [1, 1, 1, 1]
    assert side_weights_of(1, "halved") == [0.5]  # the only one is the largest too
    named = weights_by_name({"out": 0, "dec": [0] * 4, "enc": [0] * 4}, "halved")
    assert named == {"out": 1, "dec4": 0, "dec3": 0.125, "dec2": 0.25, "dec1": 0.5,
                     "enc1": 0.5, "enc2": 0.25, "enc3": 0.125, "enc4": 0}


def test_halved_deep_supervision_is_the_weighted_sum(batch):
    outputs, label = batch
    total, terms = dsd_loss(outputs, label, distil="none", side_weights="halved")
    by_hand = (dice_ce(outputs["out"], label) + 0.5 * dice_ce(outputs["dec"][3], label)
               + 0.25 * dice_ce(outputs["dec"][2], label)
               + 0.125 * dice_ce(outputs["dec"][1], label))
    assert total.item() == pytest.approx(by_hand.item())
    assert terms["dice_ce_dec4"].item() == pytest.approx(
        dice_ce(outputs["dec"][0], label).item())  # recorded, without a weight
    grads = torch.autograd.grad(total, outputs["dec"], allow_unused=True)
    assert [grad is not None for grad in grads] == [False, True, True, True]


def test_the_main_output_teaches_and_learns_nothing_from_it(batch):
    outputs, label = batch
    _, terms = dsd_loss(outputs, label, temperature=2.0, distil="decoder", teacher="main")
    by_hand = sum(pixelwise_kl(head, outputs["out"].detach(), 2.0) for head in outputs["dec"])
    assert terms["kl_dec"].item() == pytest.approx(by_hand.item())
    grads = torch.autograd.grad(terms["kl_dec"], leaves_of(outputs), allow_unused=True)
    assert [grad is not None for grad in grads] == [False, *[True] * 4, *[False] * 4]


def test_the_ensemble_is_the_mean_probability_and_teaches_the_main_output(batch):
    outputs, label = batch
    _, terms = dsd_loss(outputs, label, temperature=2.0, distil="decoder", teacher="ensemble")
    mean = torch.stack([(head / 2).softmax(1) for head in
                        (outputs["out"], outputs["dec"][3], outputs["dec"][2])]).mean(0).detach()
    teacher = 2 * mean.log()
    assert terms["kl_out"].item() == pytest.approx(
        pixelwise_kl(outputs["out"], teacher, 2.0).item())
    assert terms["kl_dec"].item() == pytest.approx(
        sum(pixelwise_kl(head, teacher, 2.0) for head in outputs["dec"]).item())


def test_the_mean_teacher_is_what_the_network_gives(batch):
    outputs, label = batch
    _, terms = dsd_loss(outputs, label, temperature=1.0, distil="encoder", teacher="ema",
                        side_weights="halved")
    weights = (0.5, 0.25, 0.125)  # enc1 to enc3; enc4 has none
    by_hand = sum(weight * pixelwise_kl(head, outputs["teacher"], 1.0)
                  for weight, head in zip(weights, outputs["enc"], strict=False))
    assert terms["kl_enc"].item() == pytest.approx(by_hand.item())
    assert terms["kl_out"].item() == pytest.approx(
        pixelwise_kl(outputs["out"], outputs["teacher"], 1.0).item())


def test_the_kl_is_the_mean_over_the_voxels_where_the_teacher_is_right():
    """Two voxels: the teacher is right in the first alone, whose KL is that of (3/4, 1/4)."""
    teacher = torch.tensor([[math.log(3.0), 0.0], [math.log(3.0), 0.0]]).T.reshape(1, 2, 1, 1, 2)
    student = torch.zeros(1, 2, 1, 1, 2)
    label = torch.tensor([0, 1]).reshape(1, 1, 1, 1, 2)
    outputs = {"out": teacher, "dec": [student]}
    terms = taught_terms(outputs, label, ["dec"], 1.0, teacher="main", where="right")
    assert terms["kl_dec"].item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    nowhere = taught_terms(outputs, 1 - torch.zeros_like(label), ["dec"], 1.0, teacher="main",
                           where="right")
    assert nowhere["kl_dec"].item() == 0


def test_the_boundary_band_is_two_voxels_wide_on_each_side():
    """Along one axis the label changes between 4 and 5: voxels 3 to 6 count."""
    label = (torch.arange(10) >= 5).long().reshape(1, 1, 1, 1, 10)
    teacher = torch.zeros(1, 2, 1, 1, 10)
    student = torch.zeros(1, 2, 1, 1, 10)
    counted = []
    for voxel in range(10):
        moved = student.clone()
        moved[0, 0, 0, 0, voxel] = 1.0
        terms = taught_terms({"out": teacher, "dec": [moved]}, label, ["dec"], 1.0,
                             teacher="main", where="boundary")
        if terms["kl_dec"] > 0:
            counted.append(voxel)
    assert counted == [3, 4, 5, 6]


@pytest.mark.parametrize("options", NEW, ids=str)
@pytest.mark.parametrize("supervise_encoder", [False, True])
def test_the_fused_loss_equals_the_plain_one(batch, options, supervise_encoder):
    outputs, label = batch
    found = [function(outputs, label, 0.7, 2.0, supervise_encoder=supervise_encoder, **options)
             for function in (dsd_loss, fused_dsd_loss)]
    (plain, plain_terms), (fused, fused_terms) = found
    assert fused.item() == pytest.approx(plain.item(), rel=1e-9)
    assert set(fused_terms) == set(plain_terms)
    for name, term in plain_terms.items():
        assert fused_terms[name].item() == pytest.approx(term.item(), rel=1e-6), name
    grads = [torch.autograd.grad(total, leaves_of(outputs), allow_unused=True)
             for total in (plain, fused)]
    for of_plain, of_fused in zip(*grads, strict=True):
        assert (of_plain is None) == (of_fused is None)
        if of_plain is not None:
            torch.testing.assert_close(of_fused, of_plain, rtol=1e-6, atol=1e-10)


def test_in_evaluation_nothing_is_taught(batch):
    outputs, label = batch
    loss = DSDLoss(teacher="ensemble", side_weights="halved")
    total, terms = loss.terms(outputs["out"], label)
    assert list(terms) == ["dice_ce_out"]
    assert total.item() == pytest.approx(dice_ce(outputs["out"], label).item())


def test_the_share_of_the_kl_scales_alpha(batch):
    outputs, label = batch
    loss = DSDLoss(0.5, teacher="main")
    loss.kl_share = 0.0
    without, terms = loss.terms(outputs, label)
    loss.kl_share = 1.0
    whole, _ = loss.terms(outputs, label)
    kl = terms["kl_dec"] + terms["kl_enc"]
    assert (whole - without).item() == pytest.approx(0.5 * kl.item())


@pytest.mark.parametrize("options", [{"teacher": "best"}, {"side_weights": "third"},
                                     {"where": "here"}])
def test_unknown_choices_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        DSDLoss(**options)
