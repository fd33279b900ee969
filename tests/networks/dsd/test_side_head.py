"""The side head against its definition written by hand."""

import pytest
import torch
import torch.nn.functional as functional

from networks import LastStep, SideHead


def by_hand(head, feature, kernel, repeats):
    """1x1x1 convolution as a matrix product, then the transposed convolution as a block spread."""
    weight = head.project.weight[:, :, 0, 0, 0]
    logits = torch.einsum("kc,bchwd->bkhwd", weight, feature) + head.project.bias.view(-1, 1, 1, 1)
    spread, bias = head.upsample.weight, head.upsample.bias
    for _ in range(repeats):
        # Kernel equals stride: each voxel becomes a block of its own.
        blocks = torch.einsum("bchwd,ckxyz->bkhxwydz", logits, spread)
        sizes = [n * k for n, k in zip(logits.shape[2:], kernel, strict=True)]
        logits = blocks.reshape(*logits.shape[:2], *sizes) + bias.view(-1, 1, 1, 1)
    return logits


@pytest.mark.parametrize(("scale", "kernel", "repeats"), [
    ((1, 1, 1), (1, 1, 1), 1),
    ((2, 2, 2), (2, 2, 2), 1),
    ((4, 4, 4), (2, 2, 2), 2),
    ((8, 8, 8), (2, 2, 2), 3),
    ((16, 16, 16), (2, 2, 2), 4),
    ((3, 3, 3), (3, 3, 3), 1),
    ((6, 6, 6), (6, 6, 6), 1),
    ((4, 4, 1), (4, 4, 1), 1),
    ((1, 2, 4), (1, 2, 4), 1),
], ids=str)
def test_equals_the_definition(scale, kernel, repeats):
    torch.manual_seed(0)
    head = SideHead(5, 3, scale).double()
    feature = torch.randn(2, 5, 1, 2, 3, dtype=torch.float64)
    logits = head(feature)
    assert logits.shape == (2, 3, *(n * s for n, s in zip((1, 2, 3), scale, strict=True)))
    torch.testing.assert_close(logits, by_hand(head, feature, kernel, repeats))


@pytest.mark.parametrize("repeats", [1, 2, 3])
def test_applies_one_transposed_convolution_again_and_again(repeats):
    head = SideHead(4, 2, (2**repeats,) * 3)
    feature = torch.randn(1, 4, 2, 2, 2)
    logits = functional.conv3d(feature, head.project.weight, head.project.bias)
    for _ in range(repeats):
        logits = functional.conv_transpose3d(logits, head.upsample.weight, head.upsample.bias,
                                             stride=2)
    torch.testing.assert_close(head(feature), logits)


@pytest.mark.parametrize("scale", [(1, 1, 1), (4, 4, 4), (2, 4, 1)], ids=str)
def test_with_unit_weights_it_repeats_each_voxel(scale):
    head = SideHead(2, 2, scale)
    with torch.no_grad():
        head.project.weight.copy_(torch.eye(2).view(2, 2, 1, 1, 1))
        head.upsample.weight.copy_(torch.eye(2).view(2, 2, 1, 1, 1).expand_as(head.upsample.weight))
        head.project.bias.zero_()
        head.upsample.bias.zero_()
    feature = torch.arange(2 * 8.0).view(1, 2, 2, 2, 2)
    expected = feature
    for axis, factor in enumerate(scale, start=2):
        expected = expected.repeat_interleave(factor, dim=axis)
    assert torch.equal(head(feature), expected)


def test_bias_passes_through_every_application():
    # b -> w*b + c, three times, with w = 2 per voxel and c = 1: 0 -> 1 -> 3 -> 7
    head = SideHead(1, 1, (8, 8, 8))
    with torch.no_grad():
        head.project.weight.zero_()
        head.project.bias.zero_()
        head.upsample.weight.fill_(2)
        head.upsample.bias.fill_(1)
    assert torch.equal(head(torch.randn(1, 1, 1, 1, 1)), torch.full((1, 1, 8, 8, 8), 7.0))


@pytest.mark.parametrize(("in_channels", "num_classes"), [(16, 3), (320, 8)])
@pytest.mark.parametrize("scale", [2, 4, 8, 16])
def test_parameter_formula(in_channels, num_classes, scale):
    c = num_classes
    head = SideHead(in_channels, c, (scale,) * 3)
    count = sum(p.numel() for p in head.parameters())
    assert count == in_channels * c + c + 8 * c * c + c


def test_parameter_formula_at_full_resolution_and_anisotropic():
    def count(scale):
        return sum(p.numel() for p in SideHead(32, 8, scale).parameters())
    assert count((1, 1, 1)) == 32 * 8 + 8 + 8 * 8 + 8
    assert count((4, 2, 1)) == 32 * 8 + 8 + 4 * 2 * 8 * 8 + 8


@pytest.mark.parametrize("scale", [(8, 8, 8), (4, 2, 1), (1, 1, 1)], ids=str)
def test_single_is_one_transposed_convolution_of_the_whole_scale(scale):
    torch.manual_seed(0)
    head = SideHead(5, 3, scale, "single").double()
    feature = torch.randn(2, 5, 1, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(head(feature), by_hand(head, feature, scale, 1))
    voxels = scale[0] * scale[1] * scale[2]
    assert sum(p.numel() for p in head.parameters()) == 5 * 3 + 3 + voxels * 3 * 3 + 3


def test_trilinear_by_hand():
    # Aligned corners: two voxels 0 and 3 become four, 0 1 2 3; the projection doubles and adds 1.
    head = SideHead(1, 1, (2, 1, 1), "trilinear")
    with torch.no_grad():
        head.project.weight.fill_(2)
        head.project.bias.fill_(1)
    logits = head(torch.tensor([0.0, 3.0]).view(1, 1, 2, 1, 1))
    torch.testing.assert_close(logits.flatten(), torch.tensor([1.0, 3, 5, 7]))
    assert [name for name, _ in head.named_parameters()] == ["project.weight", "project.bias"]


@pytest.mark.parametrize("scale", [(1, 1, 1), (16, 16, 16), (6, 4, 1)], ids=str)
def test_trilinear_has_the_size_of_the_input_and_keeps_a_constant(scale):
    head = SideHead(2, 3, scale, "trilinear")
    logits = head(torch.ones(1, 2, 1, 2, 3))
    assert logits.shape == (1, 3, *(n * s for n, s in zip((1, 2, 3), scale, strict=True)))
    corner = logits[:, :, :1, :1, :1].expand_as(logits)
    torch.testing.assert_close(logits, corner)


@pytest.mark.parametrize(("upsampling", "scale", "stepwise"), [
    ("shared", (1, 1, 1), True), ("shared", (2, 2, 2), True), ("shared", (8, 8, 8), True),
    ("shared", (2, 1, 2), True), ("shared", (3, 3, 3), False), ("single", (2, 2, 1), True),
    ("single", (4, 4, 4), False), ("trilinear", (2, 2, 2), False)], ids=str)
def test_the_last_step_is_handed_over(upsampling, scale, stepwise):
    torch.manual_seed(0)
    head = SideHead(5, 3, scale, upsampling).double()
    feature = torch.randn(2, 5, 2, 1, 3, dtype=torch.float64)
    logits = head(feature, whole=False)
    assert isinstance(logits, LastStep) == stepwise
    if stepwise:
        assert logits.weight.shape[1:] == (3, *(min(step, 2) for step in scale))
        logits = functional.conv_transpose3d(*logits, stride=logits.weight.shape[2:])
    torch.testing.assert_close(logits, head(feature))


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("scale", "upsampling"), [
    ((1, 1, 1), "shared"), ((2, 2, 2), "shared"), ((8, 8, 8), "shared"), ((4, 4, 1), "shared"),
    ((4, 4, 4), "single"), ((2, 2, 2), "trilinear")], ids=str)
def test_features_together_give_what_each_gives(scale, upsampling, whole):
    torch.manual_seed(0)
    head = SideHead(5, 3, scale, upsampling).double()
    features = [torch.randn(2, 5, 1, 2, 3, dtype=torch.float64) for _ in range(2)]
    for found, feature in zip(head(features, whole), features, strict=True):
        expected = head(feature, whole)
        assert type(found) is type(expected)
        torch.testing.assert_close(found, expected)


def test_half_precision_is_autocasts_own():
    """Values and gradients in bf16 are those of the plain modules."""
    torch.manual_seed(0)
    head = SideHead(5, 3, (4, 4, 4))
    feature = torch.randn(2, 5, 2, 2, 3)
    gradients = []
    for is_ours in (True, False):
        head.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            if is_ours:
                logits = head(feature)
            else:
                logits = head.upsample(head.upsample(head.project(feature)))
            assert logits.dtype == torch.bfloat16
        logits.float().square().mean().backward()
        gradients.append([parameter.grad for parameter in head.parameters()])
    for ours, plain in zip(*gradients, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, plain, rtol=0, atol=0)


def test_frozen_weights_have_no_gradient_in_half_precision():
    head = SideHead(5, 3, (4, 4, 4))
    head.upsample.weight.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        steps = head([torch.randn(1, 5, 1, 1, 1)] * 2, whole=False)
    steps[0].feature.float().sum().backward()
    assert head.upsample.weight.grad is None
    assert head.project.weight.grad.any() and head.upsample.bias.grad.any()
