"""The averaged network against hand computation, and the ramp of the KL's weight."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from managers.callbacks import KLRamp
from managers.segmentation.mean_teacher import MeanTeacher
from networks import build_network


def one_weight(value):
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, value)
    return network


def test_the_first_steps_are_soon_forgotten_and_later_ones_weigh_a_hundredth():
    """Momentum 1/10 in step 0, 2/11 in step 1; 0.99 from step 890 on."""
    teacher, network = MeanTeacher(one_weight(0.0)), one_weight(1.0)
    teacher.follow(network)
    assert teacher.network.weight.item() == pytest.approx(0.9)
    teacher.follow(network)
    assert teacher.network.weight.item() == pytest.approx(1 - 0.1 * 2 / 11)
    teacher.steps = 10_000
    nn.init.constant_(teacher.network.weight, 0.0)
    teacher.follow(network)
    assert teacher.network.weight.item() == pytest.approx(0.01)


def test_the_mean_takes_no_gradient_and_the_network_keeps_its_own():
    network = one_weight(2.0)
    teacher = MeanTeacher(network)
    logits = teacher.logits(torch.ones(1, 1, requires_grad=True))
    assert not logits.requires_grad and logits.item() == 2
    assert network.weight.requires_grad and not teacher.network.weight.requires_grad


def test_buffers_are_those_of_the_latest_step():
    network = nn.BatchNorm3d(1)
    teacher = MeanTeacher(network)
    network.running_mean.fill_(3.0)
    teacher.follow(network)
    assert teacher.network.running_mean.item() == 3


def test_a_checkpoint_brings_weights_and_age_back():
    teacher = MeanTeacher(one_weight(0.0))
    teacher.follow(one_weight(1.0))
    other = MeanTeacher(one_weight(5.0))
    other.load_state_dict(teacher.state_dict())
    assert (other.network.weight.item(), other.steps) == (teacher.network.weight.item(), 1)


def test_the_weight_of_the_kl_grows_from_nothing_to_all_of_it():
    loss = SimpleNamespace(kl_share=1.0)
    ramp, shares = KLRamp(loss, 4), []
    for epoch in range(6):
        ramp.on_epoch_start(epoch)
        shares.append(loss.kl_share)
    assert shares == [0, 0.25, 0.5, 0.75, 1, 1]


def test_encoder_heads_of_their_own_share_nothing_with_the_decoder():
    options = {"filters": (4, 8, 16, 32), "self_distillation": True}
    shared = build_network("nnunet", 1, 3, (16, 16, 16), **options)
    own = build_network("nnunet", 1, 3, (16, 16, 16), encoder_heads="own", **options)
    heads = {branch: {level.head for level in own.levels[branch]} for branch in ("dec", "enc")}
    assert not heads["dec"] & heads["enc"] and len(heads["enc"]) == len(own.levels["enc"])
    assert {level.head for level in shared.levels["dec"]} & {
        level.head for level in shared.levels["enc"]}  # as published
    with pytest.raises(ValueError, match="encoder_heads 'two'"):
        build_network("nnunet", 1, 3, (16, 16, 16), encoder_heads="two", **options)
