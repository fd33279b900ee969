"""DSD on networks that know nothing of it."""

import copy
import sys
from contextlib import nullcontext

import pytest
import torch
from monai.networks.nets import AttentionUnet, BasicUNet, DynUNet, FlexibleUNet, SegResNet
from torch import nn
from torch.nn.functional import interpolate

from networks import (
    LevelledNetwork,
    SideOutputs,
    build_network,
    find_levels,
    with_side_outputs,
)

SIZE = (32, 32, 32)
attention = "model.1" + ".submodule.1" * 2  # the innermost of AttentionUnet's nested levels


class Pooled(nn.Module):
    """Three levels, pooled by (2, 2, 1) and (1, 2, 2); `stages` returns its two in a tuple."""

    def __init__(self, in_channels=1, num_classes=2):
        super().__init__()
        self.first = nn.Conv3d(in_channels, 3, 3, padding=1)
        self.stages = Stages()
        self.up = nn.Conv3d(4 + 5, 6, 3, padding=1)
        self.out = nn.Conv3d(6 + 3, num_classes, 1)
        self.unused = nn.Conv3d(1, 1, 1)
        self.twice = nn.Tanh()
        self.flat = nn.Flatten()

    def forward(self, images):
        full = self.twice(self.first(images))
        half, bottom = self.stages(full)
        self.flat(bottom)
        merged = torch.cat((half, interpolate(bottom, half.shape[2:])), dim=1)
        up = self.twice(self.up(merged))
        return self.out(torch.cat((full, interpolate(up, full.shape[2:])), dim=1))


class Stages(nn.Module):
    def __init__(self):
        super().__init__()
        self.middle, self.bottom = nn.Conv3d(3, 4, 1), nn.Conv3d(4, 5, 1)
        self.pools = nn.AvgPool3d((2, 2, 1)), nn.AvgPool3d((1, 2, 2))

    def forward(self, full):
        half = self.middle(self.pools[0](full))
        return half, self.bottom(self.pools[1](half))


def pooled(**options):
    return Pooled(), {"in_channels": 1, "img_size": (8, 8, 4), "encoder": ["first", "stages[0]"],
                      "decoder": ["stages[-1]", "up"]} | options


CASES = {
    "segresnet": (
        lambda: SegResNet(3, init_filters=8, in_channels=2, out_channels=3),
        ["down_layers.0", "down_layers.1", "down_layers.2"],
        ["down_layers.3", "up_layers.0", "up_layers.1"],
        [(64, 8), (32, 4), (16, 2)], [(8, 1), (16, 2), (32, 4)]),
    "attentionunet": (
        lambda: AttentionUnet(3, 2, 3, channels=(4, 6, 8, 10), strides=(2, 2, 2)),
        ["model.0", "model.1.submodule.0", "model.1.submodule.1.submodule.0"],
        [f"{attention}.submodule", f"{attention}.merge", "model.1.submodule.1.merge"],
        [(10, 8), (8, 4), (6, 2)], [(4, 1), (6, 2), (8, 4)]),
    "basicunet": (
        lambda: BasicUNet(3, 2, 3, features=(4, 4, 6, 8, 10, 4)),
        ["conv_0", "down_1", "down_2", "down_3"], ["down_4", "upcat_4", "upcat_3", "upcat_2"],
        [(10, 16), (8, 8), (6, 4), (4, 2)], [(4, 1), (4, 2), (6, 4), (8, 8)]),
    "flexibleunet": (
        lambda: FlexibleUNet(2, 3, "efficientnet-b0", decoder_channels=(32, 16, 8, 8, 4),
                             spatial_dims=3),
        ["encoder[0]", "encoder[1]", "encoder[2]"],
        ["encoder[3]", "decoder.blocks.0", "decoder.blocks.1"],
        [(112, 16), (32, 16), (16, 8)], [(16, 2), (24, 4), (40, 8)]),
}


@pytest.mark.parametrize("name", CASES)
def test_monai_networks(name):
    make, encoder, decoder, dec, enc = CASES[name]
    size = (64, 32, 32) if name == "flexibleunet" else SIZE
    torch.manual_seed(0)
    network = make()
    found = find_levels(network, 2, size, encoder=encoder, decoder=decoder)
    assert [(level.channels, level.scale) for level in found.decoder] == [
        (channels, (scale,) * 3) for channels, scale in dec]
    assert [(level.channels, level.scale) for level in found.encoder] == [
        (channels, (scale,) * 3) for channels, scale in enc]
    assert found.num_classes == 3

    plain = copy.deepcopy(network).eval()
    wrapped = with_side_outputs(network, 2, size, encoder=encoder, decoder=decoder,
                                hints=True).train()
    image = torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(1))
    outputs = wrapped(image)
    assert list(outputs) == ["out", "dec", "enc", "hints"]
    sides = [outputs["out"], *outputs["dec"], *outputs["enc"]]
    assert len(sides) == 1 + len(decoder) + len(encoder)
    assert {tuple(y.shape) for y in sides} == {(2, 3, *size)}
    sum(y.square().mean() for y in sides).backward()
    assert all(p.grad is not None and p.grad.any() for p in wrapped.heads.parameters())
    plain.load_state_dict(wrapped.network.state_dict())
    with torch.no_grad():
        assert torch.equal(wrapped.eval()(image), plain(image))


def test_anisotropic_pooling_and_items_of_a_tuple():
    network, options = pooled()
    found = find_levels(network, **options)
    assert [(level.module, level.channels, level.scale) for level in found.decoder] == [
        ("stages", 5, (2, 4, 2)), ("up", 6, (2, 2, 1))]
    assert [(level.module, level.channels, level.scale) for level in found.encoder] == [
        ("first", 3, (1, 1, 1)), ("stages", 4, (2, 2, 1))]
    assert found.encoder_modules == ("first", "stages")
    wrapped = with_side_outputs(network, **options, upsampling="single").train()
    assert wrapped.encoder_modules == found.encoder_modules
    outputs = copy.deepcopy(wrapped)(torch.randn(1, 1, 8, 8, 4))
    for branch in ("dec", "enc"):
        assert [tuple(y.shape) for y in outputs[branch]] == [(1, 2, 8, 8, 4)] * 2


def test_heads_are_separate_or_shared_where_channels_and_scale_agree():
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.Conv3d(2, 2, 1), nn.Conv3d(2, 3, 1))
    names = {"encoder": ["0"], "decoder": ["1", "2"]}
    found = find_levels(network, 1, (2, 2, 2), **names)
    assert [level.head for level in (*found.decoder, *found.encoder)] == ["dec2", "dec1", "enc1"]
    found = find_levels(network, 1, (2, 2, 2), **names, share_heads=True)
    assert [level.head for level in (*found.decoder, *found.encoder)] == ["dec2", "dec1", "dec2"]


def test_the_network_is_left_as_it_was():
    network, options = pooled()
    network.train()
    network.first.eval()  # frozen, say
    before = copy.deepcopy(network.state_dict())
    refused = pytest.raises(ValueError)
    for names, expected in ((options, nullcontext()), (options | {"encoder": ["no"]}, refused),
                            (options | {"in_channels": 3}, refused)):
        with expected:
            find_levels(network, **names)
        assert network.training and not network.first.training and network.up.training
        assert all(not module._forward_hooks for module in network.modules())
        assert all(torch.equal(a, b) for a, b in zip(before.values(),
                                                     network.state_dict().values(), strict=True))
        assert all(p.grad is None for p in network.parameters())


def test_all_that_is_wrong_is_said_at_once():
    network, options = pooled(
        encoder=["frist", "unused", "twice", "flat", "up", "up"],
        decoder=["stages", "stages[2]", "first[0]"], encoder_modules=["stages.midle"])
    with pytest.raises(ValueError) as error:
        find_levels(network, **options)
    for words in ("Pooled: ", "'frist' is no sub-module; close to it are first",
                  "'stages.midle' is no sub-module; close to it are stages.middle",
                  "'unused' is not called", "'twice' is called 2 times",
                  "'flat' returns a tensor (1, 80), not", "'up' is named twice in the encoder",
                  "'stages' returns 2 things; name one of them, 'stages[0]' to 'stages[1]'",
                  "'stages[2]' asks for an item that is not there, the output has 2",
                  "'first[0]' asks for an item, but"):
        assert words in str(error.value)


@pytest.mark.parametrize(("options", "words"), [
    ({"encoder": []}, "the encoder has no levels"),
    ({"encoder": "first"}, "encoder 'first' and .* must each be a list of names"),
    ({"decoder": [], "encoder": ["x"]}, "the decoder has no levels; 'x' is no sub-module"),
    ({"in_channels": 3, "encoder": ["x"]}, "'x' is no.*cannot take an image .1, 3, 8, 8, 4.: "),
    ({"img_size": (8, 9, 4)}, r"'stages\[-1\]' returns the size \(4, 2, 2\), which does not div"),
])
def test_levels_that_cannot_be(options, words):
    network, options = pooled(**options)
    with pytest.raises(ValueError, match=words):
        find_levels(network, **options)


@pytest.mark.parametrize(("last", "words"), [
    (nn.AvgPool3d(2), r"returns \(1, 2, 4, 4, 2\) for an image .1, 1, 8, 8, 4.; it must ret"),
    (nn.Flatten(), r"returns \(1, 512\)"),
    (nn.MaxPool3d(1, return_indices=True), "returns a tuple in evaluation mode"),
])
def test_networks_that_return_no_logits(last, words):
    network = nn.Sequential(Pooled(), last)
    with pytest.raises(ValueError, match=words):
        find_levels(network, 1, (8, 8, 4), encoder=["0.first"], decoder=["0.up"])


class Changing(Pooled):
    """Its training differs from its evaluation."""

    def __init__(self, training):
        super().__init__()
        self.in_training = training

    def forward(self, images):
        logits = super().forward(images)
        return self.in_training(logits) if self.training else logits


@pytest.mark.parametrize(("training", "words"), [
    (lambda logits: [logits], "a list"),
    (lambda logits: logits[:, None], r"a tensor \(1, 1, 2, 8, 8, 4\)"),  # DynUNet's supervision
    (lambda logits: logits[..., ::2], r"a tensor \(1, 2, 8, 8, 2\)"),
    (lambda logits: logits[:, :1], r"a tensor \(1, 1, 8, 8, 4\)"),
])
def test_what_is_no_logits_in_training_is_refused(training, words):
    network = SideOutputs(Changing(training), 2)
    assert torch.is_tensor(network.eval()(torch.zeros(1, 1, 8, 8, 4)))
    with pytest.raises(ValueError, match=f"In training mode.*{words}.*logits .1, 2, 8, 8, 4."):
        network.train()(torch.zeros(1, 1, 8, 8, 4))


def test_monais_own_deep_supervision_is_refused():
    network = DynUNet(3, 1, 2, [3] * 3, [1, 2, 2], [2, 2], filters=(2, 3, 4),
                      norm_name="instance", deep_supervision=True, deep_supr_num=1)
    found = find_levels(network, 1, (8, 8, 8), encoder=["input_block"], decoder=["bottleneck"])
    wrapped = SideOutputs(network, 2, found.decoder, found.encoder).train()
    with pytest.raises(ValueError, match="Switch off its own deep supervision"):
        wrapped(torch.zeros(1, 1, 8, 8, 8))


def test_a_level_that_training_does_not_call_is_refused():
    class Bypassed(nn.Sequential):
        def forward(self, images):
            return self[1](images if self.training else self[0](images))

    network = Bypassed(nn.Conv3d(1, 1, 1), nn.Conv3d(1, 2, 1))
    found = find_levels(network, 1, (2, 2, 2), encoder=["0"], decoder=["1"])
    wrapped = SideOutputs(network, 2, found.decoder, found.encoder).train()
    with pytest.raises(ValueError, match="In training mode the network does not call 0"):
        wrapped(torch.zeros(1, 1, 2, 2, 2))


FACTORIES = '''
import torch
from networks import find_levels
CALLED = []

def plain(in_channels, num_classes, img_size, width=2):
    return torch.nn.Sequential(torch.nn.Conv3d(in_channels, width, 3, padding=1),
                               torch.nn.Conv3d(width, num_classes, 1))

def levelled(*, num_classes, in_channels, img_size, needed):
    network = plain(in_channels, num_classes, img_size)
    return find_levels(network, in_channels, img_size, encoder=["0"], decoder=["0"])

def positions(in_channels, classes, size):
    CALLED.append(1)

def anything(**options):
    CALLED.append(1)

def number(in_channels, num_classes, img_size):
    return 3

def wrong(in_channels, num_classes, img_size):
    return plain(in_channels, num_classes + 1, img_size)

def late(in_channels, num_classes, img_size):
    return find_levels(plain(in_channels, num_classes + 1, img_size), in_channels, img_size,
                       encoder=["0"], decoder=["0"])

text = "no function"
'''


@pytest.fixture
def factories(tmp_path, monkeypatch):
    """A folder, entered, whose module has factories; forgotten afterwards."""
    (tmp_path / "dsd_factories.py").write_text(FACTORIES)
    (tmp_path / "dsd_broken.py").write_text("import dsd_absent_module")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "dsd_factories"
    for name in ("dsd_factories", "dsd_broken"):
        sys.modules.pop(name, None)


def test_a_factory_by_its_path(factories):
    basic = build_network(f"{factories}:plain", 2, 3, (4, 4, 4), width=5)
    outputs = basic.train()(torch.zeros(1, 2, 4, 4, 4))
    assert list(outputs) == ["out"] and outputs["out"].shape == (1, 3, 4, 4, 4)
    assert basic.network[0].out_channels == 5

    options = {"upsampling": "trilinear", "needed": 1}
    network = build_network(f"{factories}:levelled", 1, 2, (4, 4, 4), True, **options).train()
    outputs = network(torch.zeros(2, 1, 4, 4, 4))
    assert {branch: len(outputs[branch]) for branch in ("dec", "enc")} == {"dec": 1, "enc": 1}
    assert network.encoder_modules == ("0",)
    basic = build_network(f"{factories}:levelled", 1, 2, (4, 4, 4), needed=1).train()
    assert list(basic(torch.zeros(1, 1, 4, 4, 4))) == ["out"]


@pytest.mark.parametrize(("path", "options", "words"), [
    ("{}:plain", {"self_distillation": True}, "returned a plain Sequential.*find_levels"),
    ("{}:plain", {"depth": 3}, "unknown options depth; known: width"),
    ("{}:levelled", {}, "needs the options needed"),
    ("{}:positions", {}, "by name; it lacks num_classes, img_size"),
    ("{}:anything", {}, "it lacks in_channels, num_classes, img_size"),
    ("{}:number", {}, "returned a int, not a torch.nn.Module"),
    ("{}:wrong", {}, "its logits have 4 classes instead of 3"),
    ("{}:late", {"self_distillation": True}, "its logits have 4 classes instead of 3"),
    ("{}:levelld", {}, "no callable levelld; close to it: levelled"),
    ("{}:text", {}, "no callable text"),
    ("dsd_broken:plain", {}, "dsd_broken cannot be imported.*No module named 'dsd_absent_module'"),
    ("dsd_nowhere:plain", {}, "dsd_nowhere cannot be imported from"),
    ("os:system", {}, "it lacks in_channels"),
    ("subprocess:run", {}, "it lacks in_channels"),
    ("a b:c", {}, "is not of the form package.module:factory"),
    (":c", {}, "is not of the form package.module:factory"),
])
def test_factories_that_are_refused(factories, path, options, words):
    with pytest.raises(ValueError, match=words):
        build_network(path.format(factories), 2, 3, (4, 4, 4), **options)
    if factories in sys.modules:
        assert sys.modules[factories].CALLED == []


def test_a_levelled_network_by_hand_is_measured(factories, monkeypatch):
    from networks import custom

    class Shy(nn.Module):
        def forward(self, images):
            return images[:, :1]

    found = custom.measured("a:b", LevelledNetwork(Shy(), (), ()), 2, 1, (4, 4, 4), False)
    assert found.num_classes is None
    with pytest.raises(ValueError, match="a:b: its logits have 1 classes"):
        custom.measured("a:b", Shy(), 2, 3, (4, 4, 4), False)
