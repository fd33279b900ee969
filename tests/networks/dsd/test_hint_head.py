"""Hints against the literal full-resolution computation, and their place in the outputs."""

import pytest
import torch
from torch import nn

from networks import HintHead, Level, SideHead, SideOutputs, build_network


@pytest.mark.parametrize("scale", [(1, 1, 1), (2, 2, 2), (8, 8, 8), (4, 2, 1), (3, 3, 3)], ids=str)
def test_equals_the_mean_of_the_full_resolution_volume(scale):
    torch.manual_seed(0)
    head = HintHead(5, scale, width=7).double()
    volume = SideHead(5, 7, scale).double()
    volume.load_state_dict(head.state_dict())
    feature = torch.randn(2, 5, 2, 1, 3, dtype=torch.float64, requires_grad=True)
    ours, theirs = head(feature), volume(feature).mean(dim=(2, 3, 4))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(ours)
    gradients = [torch.autograd.grad((out * weights).sum(), [feature, *module.parameters()])
                 for out, module in ((ours, head), (theirs, volume))]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_by_hand():
    # Mean feature 2, projected to 3*2 + 1 = 7; the mean of the kernel is 1/8: 7/8 + 1 = 15/8, and
    # once more 15/64 + 1 = 79/64.
    head = HintHead(1, (4, 4, 4), width=1)
    with torch.no_grad():
        head.project.weight.fill_(3)
        head.project.bias.fill_(1)
        head.upsample.weight.zero_()
        head.upsample.weight[0, 0, 1, 0, 1] = 1
        head.upsample.bias.fill_(1)
    assert head(torch.tensor([1.0, 3.0]).view(1, 1, 2, 1, 1)).item() == 79 / 64


# Sharing of the pairs (dec3, enc4), (dec2, enc3), (dec1, enc2): V-Net's differ in channels.
@pytest.mark.parametrize(("name", "heads"), [("unetr", 3), ("swinunetr", 3), ("nnunet", 3),
                                             ("vnet", 6)])
def test_vectors_of_every_network(tiny, image, name, heads):
    network = tiny(name, hints=True).train()
    outputs = network(image.repeat(2, 1, 1, 1, 1))
    assert list(outputs) == ["out", "dec", "enc", "hints"]
    assert list(outputs["hints"]) == ["dec", "enc"]
    for vectors in outputs["hints"].values():
        assert [tuple(v.shape) for v in vectors] == [(2, 128)] * 3
    assert len(network.hint_heads) == heads
    sum(v.square().sum() for vs in outputs["hints"].values() for v in vs).backward()
    assert all(p.grad.any() for p in network.hint_heads.parameters())
    assert torch.is_tensor(network.eval()(image))


def test_order_and_pairs_of_unetr(on_meta):
    # 128-channel DeepUp: in*128 + 128 + 8*128*128 + 128 for 256, 128 and 64 channels.
    network = on_meta("unetr", 1, 8, (96, 96, 96), True, feature_size=32, hints=True)
    count = sum(p.numel() for p in network.hint_heads.parameters())
    assert count == (256 + 128 + 64) * 128 + 3 * (128 + 8 * 128 * 128 + 128)
    modules = {branch: [level.module for level in levels]
               for branch, levels in network.hint_levels.items()}
    assert modules == {"dec": ["decoder5", "decoder4", "decoder3"],
                       "enc": ["encoder2", "encoder3", "encoder4"]}


def test_without_hints_nothing_is_added(tiny, image):
    network = tiny("nnunet").train()
    assert "hints" not in network(image) and len(network.hint_heads) == 0


def test_hints_that_cannot_be():
    with pytest.raises(ValueError, match="self-distillation, which is off"):
        build_network("nnunet", 1, 2, (32, 32, 32), hints=True)
    levels = [Level(name, 1, (1, 1, 1), name) for name in "01"]
    network = nn.Sequential(nn.Identity(), nn.Identity())
    with pytest.raises(ValueError, match="three levels; there are dec 2, enc 0"):
        SideOutputs(network, 1, decoder=levels, hints=True)
