"""What the networks take and refuse; anisotropic DynUNets."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from networks import NETWORKS, Level, SideOutputs, build_network
from networks.levels import check_size

ONE, TWO = (1, 1, 1), (2, 2, 2)


@st.composite
def anisotropic(draw):
    """(strides, kernels, image size) of a DynUNet of three to five levels."""
    num_levels = draw(st.integers(3, 5))
    triple = st.tuples(*[st.integers(1, 2)] * 3)
    strides = [ONE] + draw(st.lists(triple, min_size=num_levels - 1, max_size=num_levels - 1))
    kernels = draw(st.lists(st.tuples(*[st.just(3)] * 2, st.sampled_from([3, 5])),
                            min_size=num_levels, max_size=num_levels))
    factor = draw(st.tuples(*[st.integers(1, 3)] * 2, st.integers(2, 3)))
    size = list(factor)
    for stride in strides:
        size = [n * s for n, s in zip(size, stride, strict=True)]
    return strides, kernels, tuple(size)


@settings(max_examples=15, deadline=None)
@given(anisotropic())
def test_anisotropic_outputs_have_the_shape_of_the_input(case):
    strides, kernels, size = case
    filters = tuple(range(2, 2 + len(strides)))
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
])
def test_sizes_that_do_not_work(name, size, words):
    with pytest.raises(ValueError) as error:
        build_network(name, 1, 3, size)
    assert [word for word in words if word not in str(error.value)] == []


sizes = st.tuples(*[st.integers(1, 100)] * 3)
divisors = st.tuples(*[st.sampled_from([1, 2, 3, 8, 16])] * 3)


@settings(max_examples=50, deadline=None)
@given(sizes, divisors, st.booleans())
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
        assert len(nearest) in (1, 2)
        for better in nearest:
            assert check_size("net", better, divisor, normed) is None


def test_unknown_names_and_options_list_the_known():
    with pytest.raises(ValueError, match=f"'vnet'; known: {', '.join(NETWORKS)}"):
        build_network("vnet", 1, 3, (32, 32, 32))
    with pytest.raises(ValueError, match="nnunet: unknown options depth, feature_size; known: "
                                         "filters, kernel_size, strides"):
        build_network("nnunet", 1, 3, (32, 32, 32), feature_size=16, depth=3)


@pytest.mark.parametrize(("options", "words"), [
    ({"filters": (4, 8)}, "at least three levels"),
    ({"filters": (4, 8, 16), "strides": (1, 2)}, "a stride for each"),
    ({"filters": (4, 8, 16), "strides": (2, 2, 2)}, "first stride"),
    ({"filters": (4, 8, 16), "strides": (1, 4, 2)}, "stride"),  # MONAI's residual blocks cannot
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
