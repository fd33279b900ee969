"""The loss of the paper before DSD: its terms against MONAI and torch, and its number."""

import json
from pathlib import Path

import pytest
import torch
from monai.losses import DiceCELoss as MonaiDiceCE
from torch.nn.functional import kl_div

from losses import boundary_loss, shape_prior_loss

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "dsd_boundary.json").read_text())


@pytest.fixture
def volumes():
    """The seven logit volumes of the reference, in float64, with a label and distance maps."""
    logits = [torch.randn(2, 5, 6, 6, 6, generator=torch.Generator().manual_seed(300 + i))
              .mul(2).double().requires_grad_() for i in range(7)]
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 5, (2, 1, 6, 6, 6), generator=generator)
    dist_map = 3 * torch.randn(2, 5, 6, 6, 6, generator=generator)
    return {"out": logits[0], "dec": logits[1:4], "enc": logits[4:]}, label, dist_map


def test_the_kl_of_the_reference(volumes):
    _, terms = shape_prior_loss(*volumes, beta=0.0)
    assert 0.05 * terms["kl"].item() == pytest.approx(GOLDEN["sds_KL_example"]["value"], rel=1e-6)


def test_terms_against_monai_and_torch(volumes):
    outputs, label, dist_map = volumes
    _, terms = shape_prior_loss(outputs, label, dist_map, beta=0.3)
    supervised = [outputs["out"], *outputs["dec"]]
    theirs = MonaiDiceCE(softmax=True, to_onehot_y=True, include_background=False)
    torch.testing.assert_close(terms["dice_ce"], sum(theirs(y, label) for y in supervised))
    torch.testing.assert_close(terms["boundary"],
                               sum(boundary_loss(y, dist_map) for y in supervised))
    expected = 0.0
    for *students, teacher in (outputs["dec"], outputs["enc"]):
        target = (teacher[:, 1:] / 2).log_softmax(1)
        expected += sum(4 * kl_div((student[:, 1:] / 2).log_softmax(1), target,
                                   reduction="batchmean", log_target=True) for student in students)
    torch.testing.assert_close(terms["kl"], expected)


@pytest.mark.parametrize(("alpha", "beta"), [(0.05, 0.0), (0.05, 0.5), (0.0, 1.0), (1.0, 0.0)])
def test_how_the_terms_add_up(volumes, alpha, beta):
    total, terms = shape_prior_loss(*volumes, beta, alpha)
    expected = (1 - alpha) * terms["dice_ce"] + beta * terms["boundary"] + alpha * terms["kl"]
    torch.testing.assert_close(total, expected)


def test_teachers_take_gradients_of_the_kl(volumes):
    outputs, label, dist_map = volumes
    _, terms = shape_prior_loss(outputs, label, dist_map, beta=0.0)
    leaves = [outputs["out"], *outputs["dec"], *outputs["enc"]]
    grads = torch.autograd.grad(terms["kl"], leaves, allow_unused=True)
    assert grads[0] is None and all(grad.any() for grad in grads[1:])
