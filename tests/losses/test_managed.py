"""The losses as torchmanager sees them: running means, targets, shape priors, bad values."""

import math

import pytest
import torch
from torch.testing import assert_close
from torchmanager.losses import Loss

from losses import DiceCELoss, DSDLoss, RunningLoss, boundary_loss, dice_ce, dsd_loss


def test_managed_losses_are_the_functions(small):
    outputs, label = small()
    loss = DSDLoss(0.5, 2.0, include_background=False)
    assert isinstance(loss, Loss) and not list(loss.parameters())
    assert_close(loss(outputs, label), dsd_loss(outputs, label, 0.5, 2.0, False)[0])
    assert_close(DSDLoss()(outputs, label), dsd_loss(outputs, label, 1.0, 3.0, True)[0])
    for what in (outputs, {"out": outputs["out"]}, outputs["out"]):
        assert torch.equal(DiceCELoss()(what, label), dice_ce(outputs["out"], label))


def test_gradients_pass_through_the_managed_loss(small):
    outputs, label = small()
    leaves = [outputs["out"], *outputs["dec"], *outputs["enc"]]
    for leaf in leaves:
        leaf.requires_grad_()
    ours = torch.autograd.grad(DSDLoss()(outputs, label), leaves)
    functions = torch.autograd.grad(dsd_loss(outputs, label)[0], leaves)
    assert all(a.any() for a in ours)
    assert_close(ours, functions)


class Counted(RunningLoss):
    """Gives 1, 2, 3, ... with terms n and 10 n."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def terms(self, outputs, target):
        self.calls += 1
        n = outputs * self.calls
        return n, {"small": n, "large": 10 * n}


def test_running_means_and_reset():
    loss, one = Counted(), torch.ones((), requires_grad=True)
    assert math.isnan(loss.result) and loss.mean_terms == {}
    for _ in range(3):
        loss(one, one)
    assert loss.calls == 3, "a call must evaluate the terms once"
    assert loss.result.item() == 2 and loss.mean_terms == {"small": 2, "large": 20}
    assert not loss.result.requires_grad, "the mean must not keep the steps' graphs"
    loss.reset()
    assert math.isnan(loss.result) and loss.mean_terms == {}
    loss(one, one)
    assert loss.result.item() == 4 and loss.mean_terms == {"small": 4, "large": 40}


def test_steps_of_unequal_shares_weigh_in_the_means():
    """1, 2 and 3 with weights 1/2, 3/2 and 1: the mean is 6.5 / 3."""
    loss, one = Counted(), torch.ones(())
    for weight in (0.5, 1.5, 1.0):
        loss.step_weight = weight
        loss(one, one)
    assert loss.result.item() == pytest.approx(6.5 / 3)
    assert loss.mean_terms == pytest.approx({"small": 6.5 / 3, "large": 65 / 3})
    loss.step_weight = 0.25
    loss(one, one)  # the weights need not come to whole steps: 7.5 / 3.25
    assert loss.result.item() == pytest.approx(7.5 / 3.25)
    assert loss.means(lambda sums: sums) == pytest.approx(
        {"loss": 7.5 / 3.25, "small": 7.5 / 3.25, "large": 75 / 3.25})


def test_mean_terms_of_dsd(small):
    (outputs, label), loss = small(), DSDLoss()
    doubled = {"out": 2 * outputs["out"],
               **{branch: [2 * y for y in outputs[branch]] for branch in ("dec", "enc")}}
    values = [loss(batch, label).item() for batch in (outputs, doubled)]
    first, second = (dsd_loss(batch, label)[1] for batch in (outputs, doubled))
    assert loss.result.item() == pytest.approx(sum(values) / 2)
    assert loss.mean_terms == pytest.approx(
        {name: (first[name].item() + second[name].item()) / 2 for name in first})


def test_means_stay_on_the_device():
    outputs = {"out": torch.zeros(1, 2, 2, 2, 2, device="meta")}
    label, loss = torch.zeros(1, 1, 2, 2, 2, device="meta"), DSDLoss()
    loss(outputs, label)
    assert loss.result.device.type == "meta"


@pytest.fixture
def dist_map():
    """Distance maps for `small`: 2 samples, 3 classes, 3x2x2 voxels."""
    return 3 * torch.randn(2, 3, 3, 2, 2, generator=torch.Generator().manual_seed(9))


def test_options_reach_the_function(small):
    outputs, label = small()
    outputs["hints"] = {"dec": [y.flatten(1) for y in outputs["dec"]]}
    options = {"distil": "encoder", "detach_teacher": True, "supervise_encoder": True,
               "hint_weight": 0.5}
    loss = DSDLoss(0.7, 2.0, False, **options)
    expected, terms = dsd_loss(outputs, label, 0.7, 2.0, False, **options)
    assert_close(loss(outputs, label), expected)
    assert loss.mean_terms == pytest.approx({name: value.item() for name, value in terms.items()})
    leaf = outputs["enc"][-1].requires_grad_()
    grad, = torch.autograd.grad(loss(outputs, label), leaf)
    assert_close(grad, torch.autograd.grad(dice_ce(leaf, label), leaf)[0])


@pytest.mark.parametrize("loss", [DSDLoss(), DSDLoss(distil="none"), DiceCELoss()])
def test_target_as_label_or_dictionary(small, dist_map, loss):
    outputs, label = small()
    for what in (outputs, outputs["out"]):
        expected = loss(what, label)
        for target in ({"label": label}, {"label": label, "dist_map": dist_map}):
            assert torch.equal(loss(what, target), expected)
    assert "boundary" not in loss.mean_terms


def test_shape_priors_on_all_but_the_decoder_teacher(small, dist_map):
    (outputs, label), loss = small(), DSDLoss(boundary_weight=0.25)
    target = {"label": label, "dist_map": dist_map}
    heads = [outputs["out"], *outputs["dec"][:3]]
    boundary = sum(boundary_loss(logits, dist_map) for logits in heads)
    without, _ = dsd_loss(outputs, label)
    value = loss(outputs, target)
    assert_close(value, without + 0.25 * boundary)
    assert loss.mean_terms["boundary"] == pytest.approx(boundary.item())
    loss.boundary_weight = 2.0  # as a callback sets it
    assert_close(loss(outputs, target), without + 2 * boundary)


def test_shape_priors_without_side_outputs_and_in_evaluation(small, dist_map):
    (outputs, label), loss = small(), DSDLoss(boundary_weight=0.25)
    target, out = {"label": label, "dist_map": dist_map}, outputs["out"]
    expected = dice_ce(out, label) + 0.25 * boundary_loss(out, dist_map)
    for what in ({"out": out}, out):
        assert_close(loss(what, target), expected)
    for bare in (label, {"label": label}):
        assert torch.equal(loss(out, bare), dice_ce(out, label))


def test_shape_priors_need_maps_in_training(small):
    outputs, label = small()
    for bare in (label, {"label": label}):
        with pytest.raises(ValueError, match="distance maps"):
            DSDLoss(boundary_weight=0.0)(outputs, bare)


def test_every_option_runs_without_values():
    """Tensors without data: nothing may read one on the way."""
    def empty(*shape):
        return torch.zeros(shape, device="meta", requires_grad=True)
    volume = (1, 3, 2, 2, 2)
    outputs = {"out": empty(*volume),
               **{branch: [empty(*volume) for _ in range(4)] for branch in ("dec", "enc")},
               "hints": {branch: [empty(1, 8) for _ in range(3)] for branch in ("dec", "enc")}}
    target = {"label": empty(1, 1, 2, 2, 2).detach(), "dist_map": empty(*volume).detach()}
    loss = DSDLoss(detach_teacher=True, supervise_encoder=True, hint_weight=1.0,
                   boundary_weight=0.5)
    loss(outputs, target).backward()
    assert loss.result.device.type == "meta"


@pytest.mark.parametrize(("arguments", "value"), [
    ({"alpha": -0.1}, "-0.1"), ({"alpha": math.nan}, "nan"), ({"alpha": math.inf}, "inf"),
    ({"temperature": 0.0}, "0.0"), ({"temperature": -3.0}, "-3.0"),
    ({"temperature": math.nan}, "nan"), ({"distil": "dec"}, "both, decoder, encoder, none"),
    ({"hint_weight": -1e-4}, "-0.0001"), ({"hint_weight": math.nan}, "nan"),
    ({"boundary_weight": -1.0}, "-1.0"), ({"boundary_weight": math.nan}, "nan")])
def test_values_out_of_range(arguments, value):
    name, = arguments
    with pytest.raises(ValueError, match=f"^DSD: {name} must be .*{value}"):
        DSDLoss(**arguments)


def test_all_values_out_of_range_in_one_message():
    with pytest.raises(ValueError) as error:
        DSDLoss(-1, 0, distil="all", hint_weight=-2, boundary_weight=-3)
    assert str(error.value).count("must be") == 5
