"""How the terms of the DSD loss add up."""

import pytest
import torch

from losses import dice_ce, dsd_loss, pixelwise_kl

TERMS = ["dice_ce_out", "dice_ce_dec4", "dice_ce_dec3", "dice_ce_dec2", "dice_ce_dec1",
         "kl_dec", "kl_enc"]


def mapped(function, outputs):
    """The outputs with `function` applied to each logit volume."""
    return {"out": function(outputs["out"]),
            **{branch: [function(y) for y in outputs[branch]] for branch in ("dec", "enc")}}


def test_names_and_sum_of_the_terms(small):
    outputs, label = small()
    total, terms = dsd_loss(outputs, label, alpha=0.3)
    assert list(terms) == TERMS
    expected = sum(terms[name] for name in TERMS[:5]) + 0.3 * (terms["kl_dec"] + terms["kl_enc"])
    torch.testing.assert_close(total, expected)
    for number, logits in zip((4, 3, 2, 1), outputs["dec"], strict=True):
        torch.testing.assert_close(terms[f"dice_ce_dec{number}"], dice_ce(logits, label))


def test_the_defaults_are_the_published_settings(small):
    outputs, label = small()
    expected, _ = dsd_loss(outputs, label, alpha=1.0, temperature=3.0, include_background=True,
                           distil="both", detach_teacher=False, supervise_encoder=False,
                           hint_weight=0.0)
    assert torch.equal(dsd_loss(outputs, label)[0], expected)


@pytest.mark.parametrize("include_background", [True, False])
def test_the_last_of_a_branch_teaches(small, include_background):
    outputs, label = small()
    _, terms = dsd_loss(outputs, label, 1.0, 2.0, include_background)
    first_class = 0 if include_background else 1
    for branch in ("dec", "enc"):
        *students, teacher = (logits[:, first_class:] for logits in outputs[branch])
        expected = sum(pixelwise_kl(student, teacher, 2.0) for student in students)
        torch.testing.assert_close(terms[f"kl_{branch}"], expected)


def test_alpha_zero_is_deep_supervision(small):
    outputs, label = small()
    total, _ = dsd_loss(outputs, label, alpha=0)
    expected = sum(dice_ce(logits, label) for logits in (outputs["out"], *outputs["dec"]))
    torch.testing.assert_close(total, expected)


def test_without_side_outputs_it_is_dice_ce(small):
    outputs, label = small()
    expected = dice_ce(outputs["out"], label)
    for bare in (outputs["out"], {"out": outputs["out"]}, {"out": outputs["out"], "dec": []}):
        total, terms = dsd_loss(bare, label)
        assert list(terms) == ["dice_ce_out"] and torch.equal(total, expected)


def test_one_branch_and_one_level(small):
    outputs, label = small()
    assert list(dsd_loss({"out": outputs["out"], "enc": outputs["enc"]}, label)[1]) == [
        "dice_ce_out", "kl_enc"]
    alone = dsd_loss({"out": outputs["out"], "dec": outputs["dec"][:1]}, label)[1]
    assert list(alone) == ["dice_ce_out", "dice_ce_dec1", "kl_dec"]
    assert alone["kl_dec"].item() == 0  # a teacher without students


def test_gradcheck():
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(1, 3, 2, 1, 1, generator=generator, dtype=torch.float64,
                          requires_grad=True) for _ in range(5)]
    label = torch.tensor([0, 2]).view(1, 1, 2, 1, 1)

    def total(out, *sides):
        return dsd_loss({"out": out, "dec": sides[:2], "enc": sides[2:]}, label, 0.7, 3.0, False)[0]
    assert torch.autograd.gradcheck(total, logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions_give_float32(small, dtype):
    outputs, label = small(dtype)
    total, terms = dsd_loss(outputs, label)
    assert {value.dtype for value in (total, *terms.values())} == {torch.float32}
    exact, _ = dsd_loss(mapped(torch.Tensor.double, outputs), label)
    assert total.item() == pytest.approx(exact.item(), rel=1e-5)
