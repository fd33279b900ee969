"""The two patch mergings of SwinUNETR."""

import pytest
import torch
from monai.networks.nets.swin_unetr import PatchMerging

from networks import transfer_weights
from networks.stock.swin_unetr import LegacyPatchMerging


def merged_values(merging):
    """The eight values behind each other that a merging reads from a 2x2x2 block 0 .. 7.

    The value at offset (i, j, k) is 4i + 2j + k. The norm is passed through and the reduction to
    2 channels picks one value at a time.
    """
    merging.norm = torch.nn.Identity()
    block = torch.arange(8.0).view(1, 2, 2, 2, 1)
    values = []
    for i in range(8):
        with torch.no_grad():
            merging.reduction.weight.zero_()
            merging.reduction.weight[0, i] = 1
        found = merging(block)
        assert found.shape == (1, 1, 1, 1, 2)
        values.append(int(found[0, 0, 0, 0, 0]))
    return values


def test_legacy_drops_two_sub_lattices_and_reads_two_twice():
    # 000, 100, 010, 001, 101, 010, 001, 111 in binary
    assert merged_values(LegacyPatchMerging(dim=1)) == [0, 4, 2, 1, 5, 2, 1, 7]
    # and today's: 000, 100, 010, 001, 110, 101, 011, 111
    assert merged_values(PatchMerging(dim=1)) == [0, 4, 2, 1, 6, 5, 3, 7]


def test_legacy_merges_a_whole_grid_and_pads_odd_sizes():
    merging = LegacyPatchMerging(dim=1)
    merging.norm = torch.nn.Identity()
    with torch.no_grad():
        merging.reduction.weight.zero_()
        merging.reduction.weight[0, 4] = 1  # offset (1, 0, 1)
        merging.reduction.weight[1, 7] = 1  # offset (1, 1, 1)
    grid = torch.arange(4 * 3 * 2.0).view(1, 4, 3, 2, 1)
    found = merging(grid)
    assert found.shape == (1, 2, 2, 1, 2)
    assert torch.equal(found[0, :, :, 0, 0], grid[0, 1::2, 0::2, 1, 0])
    # At the padded end of the second axis there is nothing at offset 1.
    assert torch.equal(found[0, :, :, 0, 1], torch.tensor([[9.0, 0.0], [21.0, 0.0]]))


def test_same_weights_mean_something_else(tiny, image):
    today, legacy = tiny("swinunetr"), tiny("swinunetr", legacy_patch_merging=True)
    ours, theirs = today.state_dict(), legacy.state_dict()
    marks = [name for name in theirs if name not in ours]
    assert len(marks) == 4 and all(name.endswith("legacy_patch_merging") for name in marks)
    assert all(torch.equal(theirs[name], value) for name, value in ours.items())
    with torch.no_grad():
        assert not torch.allclose(today.eval()(image), legacy.eval()(image), atol=1e-3)


def test_recomputed_blocks_give_the_same_gradients(tiny, image):
    kept, recomputed = tiny("swinunetr"), tiny("swinunetr", use_checkpoint=True)
    recomputed.load_state_dict(kept.state_dict())
    runs = []
    for network in (kept, recomputed):
        passes = []
        block = network.network.swinViT.layers1[0].blocks[0]
        block.attn.register_forward_pre_hook(lambda *_, seen=passes: seen.append(1))
        outputs = network.train()(image)
        sum(logits.square().mean() for logits in
            [outputs["out"], *outputs["dec"], *outputs["enc"]]).backward()
        runs.append(([p.grad for p in network.parameters()], len(passes)))
    (expected, once), (found, twice) = runs
    assert (once, twice) == (1, 2)
    torch.testing.assert_close(found, expected)


def test_neither_loads_the_others_weights(tiny):
    today, legacy = tiny("swinunetr"), tiny("swinunetr", legacy_patch_merging=True)
    for network, other in ((today, legacy), (legacy, today)):
        state = other.state_dict()
        with pytest.raises(RuntimeError, match="legacy_patch_merging"):
            network.load_state_dict(state)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        plain = {name: value + 0.5 for name, value in other.network.state_dict().items()}
        for part in ("network", "encoder"):
            with pytest.raises(ValueError, match="patch merging.*meaning does not"):
                transfer_weights(network, plain, part)
        assert all(torch.equal(value, before[name])
                   for name, value in network.state_dict().items())
    transfer_weights(legacy, legacy.state_dict())
