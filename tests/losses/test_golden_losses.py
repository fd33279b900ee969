"""Every number of the reference: terms, totals, gradient norms."""

import json
from pathlib import Path

import pytest
import torch

from losses import dice_ce, dsd_loss, pixelwise_kl

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "dsd_losses.json").read_text())
SECTIONS = [name for name in GOLDEN if name.startswith("C")]
NAMES = GOLDEN["_about"]["recipe"]["output_order"]

sections = pytest.mark.parametrize("section", SECTIONS)
combinations = pytest.mark.parametrize(("temperature", "include_background"),
                                       [(1, True), (1, False), (3, True), (3, False)])


def close_to(expected, section):
    """Values agree to 1e-10 relative in float64, 1e-5 in float32."""
    rel = 1e-10 if section.endswith("64") else 1e-5
    return pytest.approx(expected, rel=rel, abs=1e-14)


def grad_norms(value, leaves):
    """L2 norm of the gradient with respect to each of the nine logits, 0 for an unused one."""
    grads = torch.autograd.grad(value, leaves, allow_unused=True, retain_graph=True)
    return {name: 0.0 if grad is None else grad.norm().item()
            for name, grad in zip(NAMES, grads, strict=True)}


@pytest.fixture
def reference(section, temperature, include_background):
    """Golden values of one section, temperature and background."""
    return GOLDEN[section]["kl"][f"T{temperature}_bg{include_background}"]


def test_all_sections_are_there():
    assert SECTIONS == ["C8/float64", "C8/float32"]


@sections
def test_the_inputs_are_the_references(golden_inputs, section):
    _, label, leaves = golden_inputs(section)
    sums = GOLDEN[section]["input_checksums"]
    assert [y.double().sum().item() for y in leaves] == pytest.approx(sums["logits_sum"], rel=1e-6)
    assert leaves[0].flatten()[:4].tolist() == pytest.approx(sums["logits0_first4"], rel=1e-7)
    assert label.flatten()[:8].tolist() == sums["label_first8"]
    assert label.long().flatten().bincount().tolist() == sums["label_hist"]


@sections
def test_dice_ce_of_every_supervised_output(golden_inputs, section):
    outputs, label, leaves = golden_inputs(section)
    supervised = [outputs["out"], *outputs["dec"]]
    values = [dice_ce(logits, label) for logits in supervised]
    expected = GOLDEN[section]["dicece_per_head"]
    assert [value.item() for value in values] == close_to(list(expected.values()), section)
    total, terms = dsd_loss(outputs, label, alpha=0.0)
    assert [value.item() for value in list(terms.values())[:5]] == close_to(
        list(expected.values()), section)
    assert total.item() == close_to(GOLDEN[section]["deep_supervision_total"], section)
    assert grad_norms(total, leaves) == close_to(
        GOLDEN[section]["deep_supervision_grad_norms"], section)


@sections
def test_dice_and_cross_entropy_apart(golden_inputs, section):
    outputs, label, _ = golden_inputs(section)
    expected = GOLDEN[section]
    for logits, dice, cross_entropy in zip(
            [outputs["out"], *outputs["dec"]], expected["dice_only_per_head"].values(),
            expected["ce_only_per_head"].values(), strict=True):
        theirs = torch.nn.functional.cross_entropy(logits, label[:, 0].long())
        assert theirs.item() == close_to(cross_entropy, section)
        assert (dice_ce(logits, label) - theirs).item() == close_to(dice, section)


@sections
def test_in_evaluation_the_main_output_alone_counts(golden_inputs, section):
    outputs, label, _ = golden_inputs(section)
    total, terms = dsd_loss(outputs["out"], label)
    expected = GOLDEN[section]["eval_mode"]
    assert list(terms) == ["dice_ce_out"] and expected["KL_loss"] == 0
    assert total.item() == close_to(expected["dice_loss"], section)


@sections
@combinations
def test_single_kl_terms(golden_inputs, reference, section, temperature, include_background):
    outputs, _, _ = golden_inputs(section)
    first_class = 0 if include_background else 1
    for branch, key in (("dec", "decoder_terms_xT2"), ("enc", "encoder_terms_xT2")):
        *students, teacher = (logits[:, first_class:] for logits in outputs[branch])
        values = [pixelwise_kl(student, teacher, temperature).item() for student in students]
        assert values == close_to(list(reference[key].values()), section)


@sections
@combinations
def test_total_and_its_gradients(golden_inputs, reference, section, temperature,
                                 include_background):
    outputs, label, leaves = golden_inputs(section)
    total, terms = dsd_loss(outputs, label, 1.0, temperature, include_background)
    kl = terms["kl_dec"] + terms["kl_enc"]
    assert terms["kl_dec"].item() == close_to(reference["decoder_total"], section)
    assert terms["kl_enc"].item() == close_to(reference["encoder_total"], section)
    assert kl.item() == close_to(reference["kl_total"], section)
    assert total.item() == close_to(reference["grand_total_alpha1"], section)
    assert grad_norms(kl, leaves) == close_to(reference["kl_grad_norms"], section)
    assert grad_norms(total, leaves) == close_to(reference["grand_total_grad_norms"], section)


@sections
@combinations
def test_alpha_weighs_the_kl(golden_inputs, reference, section, temperature, include_background):
    outputs, label, _ = golden_inputs(section)
    total, _ = dsd_loss(outputs, label, 0.5, temperature, include_background)
    assert total.item() == close_to(reference["grand_total_alpha0.5_intended"], section)


@sections
@combinations
def test_detached_teacher(golden_inputs, reference, section, temperature, include_background):
    outputs, label, leaves = golden_inputs(section)
    total, _ = dsd_loss(outputs, label, 1.0, temperature, include_background, detach_teacher=True)
    derived = reference["derived_not_original__detached_teacher"]
    assert total.item() == close_to(derived["grand_total"], section)
    assert grad_norms(total, leaves) == close_to(derived["grad_norms"], section)


@sections
def test_no_distillation_is_deep_supervision(golden_inputs, section):
    outputs, label, leaves = golden_inputs(section)
    total, _ = dsd_loss(outputs, label, distil="none")
    assert total.item() == close_to(GOLDEN[section]["deep_supervision_total"], section)
    assert grad_norms(total, leaves) == close_to(
        GOLDEN[section]["deep_supervision_grad_norms"], section)


@sections
@combinations
def test_one_branch_distilled(golden_inputs, reference, section, temperature, include_background):
    outputs, label, _ = golden_inputs(section)
    for distil in ("decoder", "encoder"):
        total, _ = dsd_loss(outputs, label, 1.0, temperature, include_background, distil=distil)
        expected = GOLDEN[section]["deep_supervision_total"] + reference[f"{distil}_total"]
        assert total.item() == close_to(expected, section)
