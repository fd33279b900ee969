"""What the networks take and refuse; anisotropic DynUNets."""

import re

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from monai.networks.nets import DynUNet
from torch import nn

from networks import NETWORKS, Level, SideOutputs, build_network
from networks.dsd.levels import check_size
from networks.stock.nnunet import AnyStrideResBlock

ONE, TWO = (1, 1, 1), (2, 2, 2)


@st.composite
def anisotropic(draw):
    """(strides, kernels, image size) of a DynUNet of three to five levels."""
    num_levels = draw(st.integers(3, 5))
    kernels = draw(st.lists(st.tuples(*[st.sampled_from([1, 3, 5])] * 3),
                            min_size=num_levels, max_size=num_levels))
    strides = [ONE] + [tuple(draw(st.integers(1, min(k + 1, 4))) for k in kernel)
                       for kernel in kernels[1:]]
    factor = draw(st.tuples(*[st.integers(1, 3)] * 2, st.integers(2, 3)))
    size = list(factor)
    for stride in strides:
        size = [n * s for n, s in zip(size, stride, strict=True)]
    return strides, kernels, tuple(size)


@settings(max_examples=25, deadline=None)
@given(anisotropic(), st.lists(st.integers(1, 9), min_size=5, max_size=5))
def test_anisotropic_outputs_have_the_shape_of_the_input(case, filters):
    strides, kernels, size = case
    filters = filters[:len(strides)]
    with torch.device("meta"):
        network = build_network("nnunet", 2, 3, size, True, filters=filters, strides=strides,
                                kernel_size=kernels).train()
    outputs = network(torch.empty(1, 2, *size, device="meta"))
    sides = [*outputs["dec"], *outputs["enc"]]
    assert len(outputs["dec"]) == len(outputs["enc"]) == len(strides) - 1
    assert {tuple(y.shape) for y in (outputs["out"], *sides)} == {(1, 3, *size)}


def test_anisotropic_network_runs_with_numbers():
    strides, kernels = [1, (2, 2, 1), (2, 2, 2)], [(3, 3, 1), 3, 3]
    network = build_network("nnunet", 1, 2, (16, 16, 6), True, filters=(2, 3, 4), strides=strides,
                            kernel_size=kernels).train()
    outputs = network(torch.randn(1, 1, 16, 16, 6))
    assert [tuple(y.shape[2:]) for y in outputs["dec"]] == [(16, 16, 6)] * 2
    scales = [level.scale for branch in network.levels.values() for level in branch]
    assert scales == [(4, 4, 2), (2, 2, 1), ONE, (2, 2, 1)]
    assert network.network.input_block.conv1.conv.kernel_size == (3, 3, 1)
    assert all(y.isfinite().all() for y in outputs["dec"] + outputs["enc"])


@pytest.mark.parametrize(("kernel_size", "expected"), [
    (5, [(5, 5, 5)] * 3), ((5,), [(5, 5, 5)] * 3), (((1, 3, 3),), [(1, 3, 3)] * 3),
    ((1, 3, 5), [(1, 1, 1), (3, 3, 3), (5, 5, 5)])])
def test_one_kernel_for_all_levels_or_one_for_each(kernel_size, expected):
    network = build_network("nnunet", 1, 2, (8, 8, 8), filters=(2, 3, 4), strides=(1, 2, 2),
                            kernel_size=kernel_size).network
    blocks = (network.input_block, network.downsamples[0], network.bottleneck)
    assert [block.conv1.conv.kernel_size for block in blocks] == expected


@pytest.mark.parametrize("strides", [(1, 2, 2), (1, (2, 2, 1), (1, 2, 2))])
def test_residual_blocks_are_monais_for_strides_up_to_two(strides):
    torch.manual_seed(0)
    ours = build_network("nnunet", 1, 2, (16, 16, 16), filters=(2, 3, 4), strides=strides).network
    torch.manual_seed(0)
    triples = [(s,) * 3 if isinstance(s, int) else s for s in strides]
    theirs = DynUNet(3, 1, 2, [(3, 3, 3)] * 3, triples, triples[1:], filters=(2, 3, 4),
                     norm_name="instance", res_block=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    image = torch.randn(1, 1, 16, 16, 16)
    assert torch.equal(ours.train()(image), theirs.train()(image))


def test_a_residual_block_of_stride_three_by_hand():
    # 1x1x1 kernels and no norm to speak of: every third voxel, through conv1-conv2 and shortcut.
    block = AnyStrideResBlock(3, 1, 1, (3, 3, 3), (3, 1, 1), norm_name="instance")
    with torch.no_grad():
        for conv in (block.conv1, block.conv2, block.conv3):
            conv.conv.weight.zero_()
        block.conv3.conv.weight.fill_(2)
    feature = torch.tensor([1.0, 9, 9, 4, 9, 9]).view(1, 1, 6, 1, 1).expand(1, 1, 6, 2, 2)
    # The shortcut alone reads 1 and 4, doubles them to 2 and 8, and the norm makes them -1 and 1;
    # leaky ReLU with slope 0.01.
    found = block(feature)
    assert found.shape == (1, 1, 2, 2, 2)
    expected = torch.tensor([-0.01, 1]).view(1, 1, 2, 1, 1).expand(1, 1, 2, 2, 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_strides_of_three_and_four_train():
    network = build_network("nnunet", 1, 2, (24, 12, 8), True, filters=(2, 3, 4),
                            strides=[1, (3, 2, 4), (4, 3, 1)]).train()
    outputs = network(torch.randn(1, 1, 24, 12, 8))
    assert {tuple(y.shape) for y in (*outputs["dec"], *outputs["enc"])} == {(1, 2, 24, 12, 8)}
    sum(y.square().mean() for y in (outputs["out"], *outputs["dec"], *outputs["enc"])).backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_unetr_takes_an_image_that_is_no_cube():
    with torch.device("meta"):
        network = build_network("unetr", 2, 3, (32, 48, 16), True, feature_size=2,
                                hidden_size=24, mlp_dim=24, num_heads=2).train()
    outputs = network(torch.empty(1, 2, 32, 48, 16, device="meta"))
    sides = [outputs["out"], *outputs["dec"], *outputs["enc"]]
    assert {tuple(y.shape) for y in sides} == {(1, 3, 32, 48, 16)}


def test_nnunet_heads_begin_with_zero_biases_and_kaiming_weights():
    torch.manual_seed(0)
    network = build_network("nnunet", 1, 8, (32, 32, 32), True)
    for head in network.heads.values():
        assert not head.project.bias.any() and not head.upsample.bias.any()
    # kaiming_normal(a=0.01): std = sqrt(2 / (1 + a^2) / fan_in); 320 * 8 weights
    weight = network.heads["level4"].project.weight
    assert weight.std().item() == pytest.approx((2 / (1 + 0.01**2) / 320) ** 0.5, rel=0.1)


def test_unetr_heads_keep_torchs_initialisation(tiny):
    # uniform in +- 1/sqrt(fan_in)
    head = tiny("unetr").heads["vit"]
    assert head.project.bias.any() and head.project.weight.abs().max() <= 48**-0.5


@pytest.mark.parametrize(("name", "size", "words"), [
    ("unetr", (40, 32, 32), ["unetr", "(40, 32, 32)", "multiple of (16, 16, 16)",
                             "(32, 32, 32) or (48, 32, 32)"]),
    ("nnunet", (100, 100, 60), ["nnunet", "(96, 96, 48) or (112, 112, 64)"]),
    ("nnunet", (16, 16, 16), ["single voxel", "(32, 32, 32)"]),
    ("nnunet", (32, 32), ["(32, 32)", "three positive numbers"]),
    ("unetr", (0, 32, 32), ["(0, 32, 32)", "three positive numbers"]),
    ("swinunetr", (32, 32, 32), ["swinunetr", "single voxel", "do: (32, 32, 64) or (64, 64, 64)."]),
    ("swinunetr", (96, 80, 64), ["multiple of (32, 32, 32)", "(96, 64, 64) or (96, 96, 64)"]),
    ("vnet", (16, 16, 16), ["vnet", "single voxel", "(32, 32, 32)"]),
    ("vnet", (40, 32, 32), ["vnet", "multiple of (16, 16, 16)"]),
])
def test_sizes_that_do_not_work(name, size, words):
    with pytest.raises(ValueError) as error:
        build_network(name, 1, 3, size)
    assert [word for word in words if word not in str(error.value)] == []


sizes = st.tuples(*[st.integers(1, 100)] * 3)
divisors = st.tuples(*[st.sampled_from([1, 2, 3, 8, 16])] * 3)


@settings(max_examples=50, deadline=None)
@given(sizes, divisors, st.booleans())
@example((1, 3, 1), (1, 2, 1), True)
def test_a_size_is_refused_with_sizes_that_work(size, divisor, normed):
    bottleneck = [n / d for n, d in zip(size, divisor, strict=True)]
    works = all(n.is_integer() for n in bottleneck) and not (normed and bottleneck == [1, 1, 1])
    try:
        check_size("net", size, divisor, normed)
        refused = ""
    except ValueError as error:
        refused = str(error)
    assert bool(refused) != works
    if refused:
        text = refused.split("Nearest sizes that do: ")[1]
        nearest = [tuple(map(int, found)) for found in re.findall(r"\((\d+), (\d+), (\d+)\)", text)]
        assert 1 <= len(set(nearest)) == len(nearest) <= 3  # a single voxel below becomes two sizes
        for better in nearest:
            assert check_size("net", better, divisor, normed) is None


@pytest.mark.parametrize(("name", "options"), [
    ("nnunet", {"filters": ("a", "b", "c")}), ("unetr", {"feature_size": "wide"}),
    ("swinunetr", {"feature_size": None})])
def test_options_of_the_wrong_kind_are_named(name, options):
    with pytest.raises(ValueError, match=f"{name}: the options .* cannot be used"):
        build_network(name, 1, 2, (64, 64, 64), **options)


@pytest.mark.parametrize(("name", "size", "options"), [
    ("swinunetr", (32, 32, 64), {"feature_size": 12}), ("vnet", (16, 16, 32), {}),
    ("nnunet", (8, 8, 16), {"filters": (2, 2, 2, 2)})])
def test_the_smallest_size_offered_trains(name, size, options):
    network = build_network(name, 1, 2, size, True, **options).train()
    outputs = network(torch.randn(1, 1, *size))
    sum(y.mean() for y in (outputs["out"], *outputs["dec"], *outputs["enc"])).backward()
    assert {tuple(y.shape) for y in (outputs["out"], *outputs["dec"])} == {(1, 2, *size)}


def test_unknown_names_and_options_list_the_known():
    with pytest.raises(ValueError, match=f"'resnet'; known: {', '.join(NETWORKS)}, and your own"):
        build_network("resnet", 1, 3, (32, 32, 32))
    with pytest.raises(ValueError, match="nnunet: unknown options depth, feature_size; known: "
                                         "filters, kernel_size, strides"):
        build_network("nnunet", 1, 3, (32, 32, 32), feature_size=16, depth=3)
    with pytest.raises(ValueError, match="vnet: unknown options filters; known: none"):
        build_network("vnet", 1, 3, (32, 32, 32), filters=(1, 2, 3))
    with pytest.raises(ValueError, match="'cubic'; known: shared, single, trilinear"):
        build_network("vnet", 1, 3, (32, 32, 32), True, upsampling="cubic")


def test_networks_that_cannot_be_are_refused_with_what_works():
    with pytest.raises(ValueError, match="3 image channels .* it takes 1, 2, 4, 8, 16"):
        build_network("vnet", 3, 2, (32, 32, 32))
    with pytest.raises(ValueError, match="feature_size 32 must be a multiple of 12.*24 or 36"):
        build_network("swinunetr", 1, 2, (64, 64, 64), feature_size=32)


@pytest.mark.parametrize(("options", "words"), [
    ({"filters": (4, 8)}, "at least three levels"),
    ({"filters": (4, 8, 16), "strides": (1, 2)}, "a stride for each"),
    ({"filters": (4, 8, 16), "strides": (2, 2, 2)}, "first stride"),
    ({"filters": (4, 8, 0)}, "filters .* must be positive"),
    ({"filters": (4, 8, 16), "kernel_size": (3, (3, 3, 2), 4)}, "level 1: kernel .* odd.*level 2"),
    ({"filters": (4, 8, 16), "strides": (1, 5, 0)}, "level 1: stride .*(4, 4, 4).*level 2: stride"),
    ({"filters": (4, 8, 16), "strides": (1, (2, 2), 2)}, "one number or three"),
])
def test_nnunet_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        build_network("nnunet", 1, 3, (32, 32, 32), **options)


@pytest.mark.parametrize(("levels", "words"), [
    ([Level("1", 3, ONE, "a"), Level("nowhere", 3, ONE, "b")], "nowhere are not.*0, 1"),
    ([Level("0", 2, ONE, "a"), Level("1", 3, ONE, "a")], r"Level 1 cannot share head a.*\(3, "),
    ([Level("0", 3, ONE, "a"), Level("1", 3, TWO, "a")], "cannot share head a"),
])
def test_levels_that_cannot_be(levels, words):
    network = nn.Sequential(nn.Conv3d(1, 3, 1), nn.Conv3d(3, 3, 1))
    with pytest.raises(ValueError, match=words):
        SideOutputs(network, 3, decoder=levels[:1], encoder=levels[1:])
