"""Copying the entries of a state dict that fit."""

import pytest
import torch
from torch import nn

from networks import SideOutputs, build_network, transfer_weights

SIZE, FILTERS = (8, 8, 8), (2, 3, 4)


def small(self_distillation=True, filters=FILTERS, num_classes=2, seed=0):
    torch.manual_seed(seed)
    return build_network("nnunet", 1, num_classes, SIZE, self_distillation, filters=filters)


def values(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(network, before):
    """First components of the names of what has changed."""
    now = network.state_dict()
    return {name for name in before if not torch.equal(before[name], now[name])}


class Pair(nn.Module):
    """An encoder and a decoder of one convolution each, and a batch norm."""

    def __init__(self, width=3):
        super().__init__()
        self.encoder, self.norm = nn.Conv3d(1, width, 1), nn.BatchNorm3d(width)
        self.decoder = nn.Conv3d(width, 2, 1)

    def forward(self, images):
        return self.decoder(self.norm(self.encoder(images)))


def pair(**options):
    return SideOutputs(Pair(**options), 2, encoder_modules=("encoder", "norm"))


@pytest.mark.parametrize("prefixed", [True, False], ids=["ours", "plain"])
def test_everything_is_copied_from_an_equal_network(prefixed):
    network, other = small(False), small(False, seed=1)
    state = other.state_dict() if prefixed else other.network.state_dict()
    report = transfer_weights(network, state)
    assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(),
                                                 other.state_dict().values(), strict=True))
    assert report.unmatched == {}
    # DynUNet's blocks have two names each and are reported once.
    assert set(report.matched) == {name for name, _ in network.named_parameters()}


def test_heads_of_another_run_are_copied_or_reported():
    network, basic = small(True), small(False, seed=1)
    report = transfer_weights(network, basic.state_dict())
    assert {name.split(".")[0] for name in report.unmatched} == {"heads"}
    assert set(report.unmatched.values()) == {"not in the file"}
    report = transfer_weights(basic, network.state_dict())
    assert set(report.unmatched.values()) == {"not in the network"}
    assert transfer_weights(network, small(True, seed=1).state_dict()).unmatched == {}


def test_shapes_that_differ_are_left_and_told():
    network, other = small(num_classes=2), small(num_classes=5, seed=1)
    before = values(network)
    report = transfer_weights(network, other.state_dict())
    name = "network.output_block.conv.conv.weight"
    assert report.unmatched[name] == ("of shape (5, 2, 1, 1, 1) in the file, "
                                      "(2, 2, 1, 1, 1) in the network")
    assert torch.equal(before[name], network.state_dict()[name])
    assert "network.input_block.conv1.conv.weight" in report.matched


def test_encoder_alone():
    network, other = pair(), pair()
    before = values(network)
    other.network.norm.num_batches_tracked.fill_(7)
    other.network.norm.running_mean.fill_(2)
    other.network.norm.weight.data.fill_(3)
    report = transfer_weights(network, other.state_dict() | {"extra": torch.ones(2)}, "encoder")
    assert changed(network, before) == {"network.encoder.weight", "network.encoder.bias",
                                        "network.norm.weight", "network.norm.running_mean",
                                        "network.norm.num_batches_tracked"}
    assert report.unmatched == {"network.decoder.weight": "not part of the encoder",
                                "network.decoder.bias": "not part of the encoder",
                                "extra": "not in the network"}
    assert report.part == "encoder"


def test_the_names_of_the_encoder_alone_are_enough():
    network, encoder = pair(), nn.Conv3d(1, 3, 1)
    report = transfer_weights(network, encoder.state_dict())
    assert report.matched == ("network.encoder.weight", "network.encoder.bias")
    assert report.encoder_count() == "2 of 7 of the encoder"
    assert torch.equal(network.network.encoder.weight, encoder.weight)


@pytest.mark.parametrize("name", ["unetr", "swinunetr", "nnunet", "vnet"])
def test_every_network_knows_its_encoder(tiny, name):
    network = tiny(name)
    before = values(network)
    state = {key: value + 1 if value.is_floating_point() else value
             for key, value in before.items()}
    report = transfer_weights(network, state, "encoder")
    inside = {name.split(".")[1] for name in report.matched}
    assert inside == {module.split(".")[0] for module in network.encoder_modules}
    decoder = [level.module for level in network.levels["dec"][1:]]
    outside = {name.removeprefix("network.") for name in report.unmatched}
    assert all(any(other.startswith(module) for other in outside) for module in decoder)
    assert not any(name.startswith("heads.") for name in changed(network, before))


def test_a_copy_is_independent_of_the_file():
    network, state = pair(), values(pair())
    transfer_weights(network, state)
    with torch.no_grad():
        network.network.encoder.weight.zero_()
    assert state["network.encoder.weight"].any()


@pytest.mark.parametrize(("state", "part", "words"), [
    ({"a": torch.ones(1), "b": torch.ones(1)}, "network", "The file has a, b; the network has net"),
    ({"network.norm.num_batches_tracked": torch.tensor(3)}, "network", "No weight matches"),
    ({"network.decoder.bias": torch.ones(2)}, "encoder", "No weight matches .part: encoder"),
    ({"network.decoder.bias": torch.ones(2)}, "decoder", "'decoder'; known: network, encoder"),
])
def test_nothing_is_written_where_nothing_fits(state, part, words):
    network = pair()
    before = values(network)
    with pytest.raises(ValueError, match=words):
        transfer_weights(network, state, part)
    assert changed(network, before) == set()


def test_shapes_are_told_where_nothing_fits_for_them():
    state = {name: torch.zeros(7) for name in small().state_dict()}
    with pytest.raises(ValueError, match=r"No weight matches .*another shape, such as .*\(7,\)"):
        transfer_weights(small(), state)


def test_an_unknown_encoder_is_refused():
    network = SideOutputs(Pair(), 2)
    with pytest.raises(ValueError, match="what the encoder of this network is"):
        transfer_weights(network, network.state_dict(), "encoder")


def test_the_report_is_a_table_by_module():
    other = pair(width=4).network.state_dict()
    other["decoder.bias"] = torch.zeros(2)
    del other["norm.weight"]
    report = str(transfer_weights(pair(), other))
    assert report.splitlines() == [
        "Weights copied (network): 2 entries, 3 values; 1 of 7 of the encoder; not copied: 7 "
        "entries.",
        "  encoder  2 of another shape (6)",
        "             such as network.encoder.weight, of shape (4, 1, 1, 1, 1) in the file, "
        "(3, 1, 1, 1, 1) in the network",
        "  norm     1 not in the file (3); 3 of another shape (9); 1 copied (1)",
        "             such as network.norm.bias, of shape (4,) in the file, (3,) in the network",
        "  decoder  1 of another shape (6); 1 copied (2)",
        "             such as network.decoder.weight, of shape (2, 4, 1, 1, 1) in the file, "
        "(2, 3, 1, 1, 1) in the network",
    ]
