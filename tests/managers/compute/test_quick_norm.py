"""Instance norms that a CPU evaluates in less time, against torch's own."""

import copy

import pytest
import torch
from torch import nn

from managers.compute.quick_norm import QuickInstanceNorm3d, quicken_norms


class OwnNorm(nn.InstanceNorm3d):
    """A subclass of someone's own, which stays what it is."""


@pytest.fixture
def norm():
    """Four channels, weights and biases of their own."""
    torch.manual_seed(0)
    found = nn.InstanceNorm3d(4, affine=True)
    nn.init.uniform_(found.weight)
    nn.init.uniform_(found.bias)
    return found


def test_evaluation_is_the_same_to_rounding_and_training_to_the_bit(norm):
    image, quick = 3 + 2 * torch.randn(2, 4, 5, 6, 7), copy.deepcopy(norm)
    quicken_norms(quick)
    assert type(quick) is QuickInstanceNorm3d and list(quick.state_dict()) == ["weight", "bias"]
    torch.testing.assert_close(quick.eval()(image), norm.eval()(image))
    assert torch.equal(quick.train()(image), norm.train()(image))


def test_it_is_a_group_norm_in_evaluation_alone(norm, monkeypatch):
    calls = []
    monkeypatch.setattr("managers.compute.quick_norm.group_norm",
                        lambda image, *_: calls.append(image) or image)
    quicken_norms(norm)
    image = torch.randn(2, 4, 5, 6, 7)
    norm.train()(image)
    norm.eval()(image[0])  # without a batch axis
    assert calls == []
    norm(image)
    assert len(calls) == 1


def test_mixed_precision(norm):
    image, quick = torch.randn(2, 4, 5, 6, 7), copy.deepcopy(norm).eval()
    quicken_norms(quick)
    with torch.autocast("cpu", torch.bfloat16):
        half = quick(image.bfloat16())
        usual = norm.eval()(image.bfloat16())
    assert half.dtype == usual.dtype
    torch.testing.assert_close(half, usual, atol=0.02, rtol=0.02)


def test_others_stay_what_they_are():
    network = nn.Sequential(OwnNorm(2), nn.BatchNorm3d(2), nn.InstanceNorm3d(2),
                            nn.InstanceNorm3d(2, track_running_stats=True))
    image = torch.randn(2, 2, 3, 3, 3)
    expected = network.eval()(image)
    quicken_norms(network)
    assert [type(module) for module in network] == [
        OwnNorm, nn.BatchNorm3d, QuickInstanceNorm3d, QuickInstanceNorm3d]
    torch.testing.assert_close(network(image), expected)
