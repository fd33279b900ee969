"""The network on DeSD's encoder: its sizes and parts, its levels, and what trains."""

import pytest
import torch
from torch import nn

from losses import dsd_loss
from networks import NETWORKS, build_network
from networks.resnet.aspp import ASPP
from networks.resnet.resnet3d import DEPTHS
from networks.resnet.resnet_unet import swap_axes

SIZE = (64, 32, 32)  # (H, W, D); its bottleneck is 2 x 1 x 2
NARROW = {"decoder_widths": (8, 6, 4, 4)}


def small(self_distillation=True, **options):
    torch.manual_seed(0)
    return build_network("resnet10-unet", 1, 3, SIZE, self_distillation, **(NARROW | options))


def on_meta(depth=50, in_channels=1, num_classes=2, size=(192, 192, 64), **options):
    with torch.device("meta"):
        return build_network(f"resnet{depth}-unet", in_channels, num_classes, size, **options)


@pytest.fixture
def image():
    return torch.randn(2, 1, *SIZE, generator=torch.Generator().manual_seed(1))


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def test_parameters_part_by_part():
    network = on_meta().network
    assert count(network.encoder) == 46_155_072
    assert count(network.reduce) == 524_800
    assert count(network.aspp) == 5_769_728
    assert count(*(stage.skip for stage in network.stages)) == 347_072
    assert count(*(stage.up for stage in network.stages)) == 868_352
    assert count(*(stage.residual for stage in network.stages)) == 4_702_080
    assert count(network.head) == 66
    assert count(network) == 12_212_098 + 46_155_072 == 58_367_170


def test_switches_leave_their_parts_out():
    assert count(on_meta(skip_connection=False)) == 58_367_170 - 347_072
    assert count(on_meta(aspp=False)) == 58_367_170 - 5_769_728
    bare = on_meta(aspp=False, skip_connection=False).state_dict()
    assert not [name for name in bare if "aspp" in name or "skip" in name]


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_depth_has_its_encoder_and_this_decoder(depth):
    network = on_meta(depth, in_channels=4, num_classes=5, size=(96, 64, 32))
    assert network(torch.empty(2, 4, 96, 64, 32, device="meta"))["out"].shape == (2, 5, 96, 64, 32)
    widths = (64, 128, 256, 512) if depth < 50 else (256, 512, 1024, 2048)
    assert network.network.reduce[0].in_channels == widths[3]
    skips = [stage.skip[0].in_channels for stage in network.network.stages]
    assert skips == [widths[2], widths[1], widths[0], 64]
    assert f"resnet{depth}-unet" in NETWORKS


@pytest.mark.parametrize("size", [(96, 96, 16), (192, 192, 64), (32, 64, 48)])
def test_logits_have_the_images_size(size):
    network = on_meta(size=size).eval()
    logits = network(torch.empty(1, 1, *size, device="meta"))
    assert logits.shape == (1, 2, *size)
    assert logits.is_contiguous()


def test_slices_are_the_axis_that_is_halved_less():
    network = on_meta(size=(96, 64, 32))
    shapes = [tuple(features.shape) for features in
              network.network.encoder(swap_axes(torch.empty(1, 1, 96, 64, 32, device="meta")))]
    # (D, W, H): rows and columns 32 times smaller, slices 16 times.
    assert shapes == [(1, 64, 32, 32, 48), (1, 256, 16, 16, 24), (1, 512, 8, 8, 12),
                      (1, 1024, 4, 4, 6), (1, 2048, 2, 2, 3)]


def test_evaluation_is_the_plain_network(image):
    network = small().eval()
    with torch.no_grad():
        logits = network(image)
        assert torch.equal(logits, network.network(image))
        assert torch.equal(logits, network.train()(image)["out"])
    plain = small(self_distillation=False)
    plain.load_state_dict({name: value for name, value in network.state_dict().items()
                           if name.startswith("network.")})
    with torch.no_grad():
        assert torch.equal(plain.eval()(image), logits)


def test_levels_are_the_maps_they_name(image):
    """Computed once more by hand: no map is overwritten after it has been handed over."""
    network = small().train()
    plain, heads = network.network, network.heads
    with torch.no_grad():
        outputs = network(image)
        maps = plain.encoder(swap_axes(image))
        for head, features, found in zip(("stem", "layer1", "layer2", "layer3"), maps,
                                         outputs["enc"], strict=False):
            torch.testing.assert_close(heads[head](swap_axes(features)), found)
        features = plain.aspp(plain.reduce(maps[4]))
        decoder = [heads["bottleneck"](swap_axes(features))]
        for number, skip in ((1, maps[3]), (2, maps[2]), (3, maps[1])):
            features = plain.stages[number - 1](features, skip)
            decoder.append(heads[f"up{number}"](swap_axes(features)))
        for found, expected in zip(outputs["dec"], decoder, strict=True):
            torch.testing.assert_close(found, expected)
    assert len(outputs["enc"]) == 4
    scales = {branch: [level.scale for level in levels]
              for branch, levels in network.levels.items()}
    assert scales == {"dec": [(32, 32, 16), (16, 16, 8), (8, 8, 4), (4, 4, 2)],
                      "enc": [(2, 2, 1), (4, 4, 2), (8, 8, 4), (16, 16, 8)]}


@pytest.mark.parametrize("upsampling", ["shared", "single", "trilinear"])
@pytest.mark.parametrize("options", [{}, {"aspp": False, "skip_connection": False}],
                         ids=["whole", "bare"])
def test_every_weight_is_trained(image, upsampling, options):
    torch.manual_seed(0)
    network = build_network("resnet10-unet", 1, 3, SIZE, True, upsampling, **NARROW,
                            **options).train()
    label = torch.randint(0, 3, (2, 1, *SIZE), generator=torch.Generator().manual_seed(2))
    outputs = network(image)
    assert {tuple(y.shape) for y in [outputs["out"], *outputs["dec"], *outputs["enc"]]} == {
        (2, 3, *SIZE)}
    total, _ = dsd_loss(outputs, label, supervise_encoder=True, detach_teacher=True)
    total.backward()
    idle = [name for name, p in network.named_parameters()
            if p.grad is None or not p.grad.isfinite().all() or p.grad.abs().max() < 1e-9]
    assert idle == []


def test_hints_are_vectors_of_the_last_three_levels():
    with torch.device("meta"):
        network = build_network("resnet50-unet", 1, 3, SIZE, True, hints=True)
    hints = network(torch.empty(2, 1, *SIZE, device="meta"))["hints"]
    assert {branch: [tuple(vector.shape) for vector in vectors]
            for branch, vectors in hints.items()} == {"dec": [(2, 128)] * 3, "enc": [(2, 128)] * 3}


def test_without_skip_connections_the_fine_maps_do_not_matter(image):
    found = {}
    for skip_connection in (True, False):
        network = small(False, skip_connection=skip_connection).network.eval()
        with torch.no_grad():
            before = network(image)
            network.encoder.register_forward_hook(
                lambda _module, _inputs, maps: [*(torch.zeros_like(m) for m in maps[:4]), maps[4]])
            found[skip_connection] = torch.equal(before, network(image))
    assert found == {True: False, False: True}


def test_the_pyramids_mean_reaches_every_voxel():
    # Branches and their joint convolution at zero: what is left is the mean, twice by 1x1x1.
    aspp = ASPP(1)
    with torch.no_grad():
        for parameter in aspp.parameters():
            parameter.zero_()
        aspp.pooled[0].weight.fill_(2)
        aspp.pooled[2].weight.fill_(3)
        features = torch.arange(8.0).view(1, 1, 2, 2, 2)  # mean 3.5
        assert aspp(features).tolist() == torch.full((1, 1, 2, 2, 2), 21.0).tolist()


def test_the_pyramids_branches_see_as_far_as_their_dilations():
    aspp = ASPP(1, dilations=(2, 4))
    point = torch.zeros(1, 1, 9, 9, 9)
    point[..., 4, 4, 4] = 1
    reach = []
    for branch in aspp.branches:
        response = branch[0](point)[0, 0, :, 4, 4]
        reach.append(response.nonzero().flatten().tolist())
    assert reach == [[4], [2, 4, 6], [0, 4, 8]]


def test_weights_begin_as_stated():
    network = build_network("resnet18-unet", 1, 2, (64, 64, 32)).network
    # Kaiming-normal, fan out 256 * 27; the norms and the convolution to the classes as torch's.
    weight = network.stages[0].residual.conv1.weight
    assert weight.std().item() == pytest.approx((2 / (1 + 0.01**2) / (256 * 27)) ** 0.5, rel=0.02)
    assert network.reduce[0].weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.02)
    assert all((norm.weight == 1).all() and not norm.bias.any()
               for norm in network.modules() if isinstance(norm, nn.InstanceNorm3d))
    assert network.head.weight.abs().max() <= 32**-0.5
    bound = (64 * 27) ** -0.5
    assert 0.98 * bound < network.encoder.layer1[0].conv1.weight.abs().max() <= bound


@pytest.mark.parametrize(("size", "words"), [
    ((96, 96, 40), ["resnet50-unet", "multiple of (32, 32, 16)", "(96, 96, 32) or (96, 96, 48)"]),
    ((32, 32, 16), ["single voxel", "(32, 32, 32) or (64, 64, 32)"]),
    ((96, 80, 32), ["(96, 64, 32) or (96, 96, 32)"]),
])
def test_sizes_that_do_not_work(size, words):
    with pytest.raises(ValueError) as error:
        build_network("resnet50-unet", 1, 2, size)
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize(("options", "words"), [
    ({"decoder_widths": (8, 8, 8)}, "decoder_widths .* four positive numbers"),
    ({"decoder_widths": (8, 8, 8, 0), "aspp": "no"}, "four positive numbers; aspp 'no' must be"),
    ({"skip_connection": 1}, "skip_connection 1 must be true or false"),
    ({"depth": 18}, "unknown options depth; known: skip_connection, aspp, decoder_widths"),
    ({"decoder_widths": 8}, "the options .* cannot be used"),
])
def test_options_that_cannot_be(options, words):
    with pytest.raises(ValueError, match=f"resnet50-unet: .*{words}"):
        build_network("resnet50-unet", 1, 2, (64, 64, 32), **options)
