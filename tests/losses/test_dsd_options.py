"""The options of the DSD loss: which terms they bring, and who gets which gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from losses import DISTIL, dice_ce, dsd_loss

SUPERVISED = ["out", "dec4", "dec3", "dec2", "dec1"]
ENCODER = ["enc1", "enc2", "enc3", "enc4"]
VECTORS = {"dec": ["v_dec3", "v_dec2", "v_dec1"], "enc": ["v_enc2", "v_enc3", "v_enc4"]}
TEACHERS = {"dec1", "enc4", "v_dec1", "v_enc4"}


@pytest.fixture
def named(small):
    """(outputs with hints, label, every entry by its name as a leaf)."""
    outputs, label = small()
    generator = torch.Generator().manual_seed(1)
    outputs["hints"] = {branch: [torch.randn(2, 128, generator=generator, dtype=torch.float64)
                                 for _ in names] for branch, names in VECTORS.items()}
    entries = [outputs["out"], *outputs["dec"], *outputs["enc"],
               *outputs["hints"]["dec"], *outputs["hints"]["enc"]]
    names = SUPERVISED + ENCODER + VECTORS["dec"] + VECTORS["enc"]
    return outputs, label, {name: entry.requires_grad_()
                            for name, entry in zip(names, entries, strict=True)}


def gradients(value, leaves):
    """Gradient of `value` by leaf, of the leaves that get one."""
    grads = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, retain_graph=True)
    return {name: grad for name, grad in zip(leaves, grads, strict=True)
            if grad is not None and grad.any()}


@pytest.mark.parametrize("distil", DISTIL)
@pytest.mark.parametrize("detach_teacher", [False, True])
@pytest.mark.parametrize("supervise_encoder", [False, True])
@pytest.mark.parametrize("hint_weight", [0.0, 0.2])
def test_who_gets_which_gradient(named, distil, detach_teacher, supervise_encoder, hint_weight):
    outputs, label, leaves = named
    total, terms = dsd_loss(outputs, label, 0.5, 2.0, distil=distil, detach_teacher=detach_teacher,
                            supervise_encoder=supervise_encoder, hint_weight=hint_weight)
    expected = {f"dice_ce_{name}": {name} for name in SUPERVISED}
    if supervise_encoder:
        expected |= {f"dice_ce_{name}": {name} for name in ENCODER}
    unsupervised = {"kl_dec": set(SUPERVISED[1:]), "kl_enc": set(ENCODER)}
    expected |= {f"kl_{branch}": unsupervised[f"kl_{branch}"] for branch in DISTIL[distil]}
    if hint_weight:
        expected |= {f"hint_{branch}": set(names) for branch, names in VECTORS.items()}
    if detach_teacher:
        expected = {term: names if term.startswith("dice_ce") else names - TEACHERS
                    for term, names in expected.items()}
    assert list(terms) == list(expected)
    assert {term: set(gradients(value, leaves)) for term, value in terms.items()} == expected
    assert set(gradients(total, leaves)) == set().union(*expected.values())

    weights = {"dice": 1.0, "kl": 0.5, "hint": hint_weight}
    weighted = sum(weights[term.split("_")[0]] * value for term, value in terms.items())
    torch.testing.assert_close(total, weighted)


def test_detaching_changes_no_value_and_no_students_gradient(named):
    outputs, label, leaves = named
    (attached, _), (detached, _) = (dsd_loss(outputs, label, hint_weight=0.2, detach_teacher=detach)
                                    for detach in (False, True))
    assert torch.equal(attached, detached)
    before, after = (gradients(total, leaves) for total in (attached, detached))
    for name in before.keys() - TEACHERS:
        torch.testing.assert_close(before[name], after[name])
    # What is left for the decoder's teacher is its own Dice-CE.
    own = gradients(dice_ce(leaves["dec1"], label), leaves)["dec1"]
    torch.testing.assert_close(after["dec1"], own)
    assert before.keys() - after.keys() == TEACHERS - {"dec1"}


def test_encoder_supervision_is_numbered_from_the_full_resolution(small):
    outputs, label = small()
    _, terms = dsd_loss(outputs, label, supervise_encoder=True)
    for number, logits in enumerate(outputs["enc"], start=1):
        torch.testing.assert_close(terms[f"dice_ce_enc{number}"], dice_ce(logits, label))


def test_hints_by_hand(small):
    outputs, label = small()
    without, _ = dsd_loss(outputs, label, distil="none")
    teacher, first, second = torch.tensor([[0., 0.], [1., 1.]]), torch.ones(2, 2), torch.eye(2)
    outputs["hints"] = {"dec": [first, second, teacher], "enc": [3 * first, teacher]}
    total, terms = dsd_loss(outputs, label, distil="none", hint_weight=1e-4)
    # dec: squares 1, 1, 0, 0 and 1, 0, 1, 0, each over four; enc: 9, 9, 4, 4 over four
    assert (terms["hint_dec"].item(), terms["hint_enc"].item()) == (0.5 + 0.5, 6.5)
    assert total.item() == pytest.approx(without.item() + 7.5e-4, rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), scale=st.floats(0.1, 5), shift=st.floats(-5, 5))
def test_hints_measure_differences(seed, scale, shift):
    vectors = list(torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(seed),
                               dtype=torch.float64))
    logits, label = torch.zeros(2, 2, 1, 1, 1), torch.zeros(2, 1, 1, 1, 1)

    def hint(*branch):
        outputs = {"out": logits, "hints": {"dec": list(branch)}}
        return dsd_loss(outputs, label, hint_weight=1.0)[1]["hint_dec"].item()
    value = hint(*vectors)
    assert hint(*(scale * v + shift for v in vectors)) == pytest.approx(scale**2 * value, rel=1e-9)
    assert hint(vectors[1], vectors[0], vectors[2]) == pytest.approx(value, rel=1e-12)
    assert hint(*[vectors[0]] * 3) == 0


def test_hints_in_half_precision(named):
    outputs, label, _ = named
    half = {branch: [v.half() for v in vectors] for branch, vectors in outputs["hints"].items()}
    _, terms = dsd_loss(outputs | {"hints": half}, label, hint_weight=1.0)
    assert terms["hint_dec"].dtype == torch.float32


def test_hints_that_are_not_there(small):
    outputs, label = small()
    with pytest.raises(ValueError, match="hints=True"):
        dsd_loss(outputs, label, hint_weight=1e-4)
    assert list(dsd_loss(outputs["out"], label, hint_weight=1e-4)[1]) == ["dice_ce_out"]


def test_unknown_branches(small):
    with pytest.raises(KeyError, match="all"):
        dsd_loss(*small(), distil="all")
