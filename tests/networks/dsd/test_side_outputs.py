"""The wrapper: what it returns, when its heads run, and what it leaves behind."""

import copy
import json
import pickle
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from monai.networks.nets import UNETR, DynUNet, SwinUNETR, VNet
from torch import nn

from losses import dsd_loss
from networks import Level, SideOutputs

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "dsd_networks.json").read_text())
EXAMPLE = {"unetr": "hippocampus/unetr_fs16", "swinunetr": "msd_brats/swinunetr_fs12",
           "nnunet": "hippocampus/nnunet_16-256", "vnet": "hippocampus/vnet"}

every = pytest.mark.parametrize("name", list(EXAMPLE))


def side_logits(outputs):
    return [outputs["out"], *outputs["dec"], *outputs["enc"]]


def seeded(network, image):
    """Side logits of a training pass whose dropout (V-Net's) is always the same."""
    torch.manual_seed(3)
    return side_logits(network(image))


def kept_tensors(module):
    """Names and shapes of tensors on sub-modules beside their parameters and buffers.

    MONAI's constructors put some there, so tests compare with those of a new network.
    """
    def shapes(value):
        if isinstance(value, dict):
            value = value.values()
        if isinstance(value, torch.Tensor):
            return [tuple(value.shape)]
        nested = not isinstance(value, str) and isinstance(value, Iterable)
        return [shape for item in value for shape in shapes(item)] if nested else []
    found = {f"{name}.{key}": shapes(value) for name, child in module.named_modules()
             for key, value in vars(child).items()
             if key not in ("_parameters", "_buffers", "_modules")}
    return {key: value for key, value in found.items() if value}


@every
def test_one_head_feeds_exactly_the_golden_outputs(tiny, image, name):
    network = tiny(name).train()
    golden = [head["deepup"] for head in GOLDEN[EXAMPLE[name]]["heads"]]
    fed_by = {frozenset(i for i, other in enumerate(golden) if other == key)
              for key in golden if key is not None}
    with torch.no_grad():
        before = seeded(network, image)
        found = set()
        for head in network.heads.values():
            unchanged = head.upsample.bias.clone()
            head.upsample.bias.add_(1)
            after = seeded(network, image)
            found.add(frozenset(i for i, (a, b) in enumerate(zip(before, after, strict=True))
                                if not torch.equal(a, b)))
            head.upsample.bias.copy_(unchanged)
    assert found == fed_by


def test_unetr_bottleneck_is_the_normed_vit_output_on_its_grid(tiny, image):
    network = tiny("unetr").train()
    with torch.no_grad():
        tokens, _ = network.network.vit(image)                       # (1, 4*2*2, 48)
        grid = tokens.view(1, 4, 2, 2, 48).permute(0, 4, 1, 2, 3)
        expected = network.heads["vit"](grid)
        normed = nn.functional.layer_norm(tokens, (48,))             # weight 1 and bias 0 so far
        torch.testing.assert_close(tokens, normed, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(network(image)["dec"][0], expected)


@every
def test_evaluation_is_the_plain_network(tiny, image, name):
    network = tiny(name).eval()
    plain = {"unetr": lambda: UNETR(1, 3, (64, 32, 32), feature_size=4, hidden_size=48,
                                    mlp_dim=96, num_heads=4, proj_type="perceptron"),
             "nnunet": lambda: DynUNet(3, 1, 3, [3] * 5, [1, 2, 2, 2, 2], [2] * 4,
                                       filters=[4, 5, 6, 7, 8], norm_name="instance",
                                       res_block=True),
             "swinunetr": lambda: SwinUNETR(in_channels=1, out_channels=3, feature_size=12),
             "vnet": lambda: VNet(3, 1, 3)}[name]().eval()
    lacking, unexpected = plain.load_state_dict(network.network.state_dict(), strict=False)
    assert not unexpected and all("cross_attn" in key for key in lacking)  # MONAI 1.5's idle block
    calls = []
    for head in network.heads.values():
        head.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    with torch.no_grad():
        logits = network(image)
        assert torch.is_tensor(logits) and torch.equal(logits, plain(image))
        assert calls == []
        network.train()(image)
        assert sum(calls) == 8 and len(calls) == len(network.heads)


@every
def test_checkpoint_without_heads_is_the_basic_network(tiny, image, name):
    with_heads, basic = tiny(name), tiny(name, self_distillation=False)
    state = {key: value + 0.01 for key, value in with_heads.state_dict().items()
             if not key.startswith("heads.")}
    basic.load_state_dict(state)  # strict: neither missing nor unexpected keys
    with_heads.load_state_dict(state, strict=False)
    with torch.no_grad():
        assert torch.equal(basic.eval()(image), with_heads.eval()(image))
        outputs = basic.train()(image)
    assert list(outputs) == ["out"] and outputs["out"].shape == (1, 3, 64, 32, 32)


@every
def test_no_tensor_stays_on_a_module(tiny, image, name):
    network = tiny(name)
    new = kept_tensors(network)
    network.train()(image)
    assert kept_tensors(network) == new
    network.eval()(image)
    assert kept_tensors(network) == new


@every
def test_no_tensor_stays_after_an_error(tiny, image, name):
    network = tiny(name).train()
    new = kept_tensors(network)
    seen = {}

    def fail(*_):
        seen.update(kept_tensors(network))
        raise RuntimeError("out of memory, say")

    last = {"nnunet": "output_block", "vnet": "out_tr"}.get(name, "out")
    hook = network.network.get_submodule(last).register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="say"):
        network(image)
    assert len(seen) == len(new) + 8, "the features were not there to be left behind"
    assert kept_tensors(network) == new
    hook.remove()
    assert len(seeded(network, image)) == 9


@every
def test_deepcopy_after_a_step_is_independent(tiny, image, name):
    network = tiny(name).train()
    before = seeded(network, image)
    twin = copy.deepcopy(network)
    for ours, theirs in zip(before, seeded(twin, image), strict=True):
        assert torch.equal(ours, theirs)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(1.5)
        for ours, theirs, again in zip(before, seeded(twin, image),
                                       seeded(network, image), strict=True):
            assert torch.equal(ours, again) and not torch.equal(ours, theirs)


@every
def test_a_pickled_network_is_the_same(tiny, image, name):
    network = tiny(name).train()
    twin = pickle.loads(pickle.dumps(network))
    for ours, theirs in zip(seeded(network, image), seeded(twin, image), strict=True):
        assert torch.equal(ours, theirs)


def replica_of(network):
    """What DataParallel makes of a network for one of its devices, here on the CPU."""
    replicas = {module: module._replicate_for_data_parallel() for module in network.modules()}
    for module, replica in replicas.items():
        for name, child in module._modules.items():
            replica._modules[name] = replicas.get(child)
        for name, parameter in module._parameters.items():
            setattr(replica, name, None if parameter is None else parameter.clone())
    return replicas[network]


@pytest.mark.parametrize("name", ["unetr", "swinunetr", "nnunet"])  # no dropout, no buffers
def test_replicas_in_threads_do_not_mix_their_features(tiny, image, name):
    network = tiny(name).train()
    images = [image, image.flip(2)]
    with torch.no_grad():
        expected = [side_logits(network(one)) for one in images]
    replicas = [replica_of(network) for _ in images]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda replica, one: side_logits(replica(one)), replicas, images))
    for ours, theirs in zip(found, expected, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@every
def test_gradients_reach_every_trainable_parameter(tiny, image, name):
    network = tiny(name).train()
    label = torch.randint(0, 3, (1, 1, 64, 32, 32), generator=torch.Generator().manual_seed(2))
    total, _ = dsd_loss(network(image), label)
    total.backward()
    trainable = {key: p.grad for key, p in network.named_parameters() if p.requires_grad}
    without = [key for key, grad in trainable.items()
               if grad is None or not grad.isfinite().all() or not grad.any()]
    assert without == []
    frozen = {key for key, p in network.named_parameters() if not p.requires_grad}
    assert all("norm_cross_attn" in key for key in frozen)
    assert len(frozen) == (24 if name == "unetr" else 0)


class Doubler(nn.Module):
    """Three levels whose features can be computed in the head: x, 2x, 4x."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Identity(), nn.Identity(), nn.Identity()

    def forward(self, images):
        return self.third(2 * self.second(2 * self.first(images)))


def test_a_level_reads_what_it_names():
    levels = [Level("second", 1, (1, 1, 1), "a"),
              Level("first", 1, (1, 1, 1), "b", read=lambda feature: -feature)]
    network = SideOutputs(Doubler(), 1, decoder=levels, encoder=levels[::-1]).train()
    with torch.no_grad():
        for head in network.heads.values():
            for layer in (head.project, head.upsample):
                layer.weight.fill_(1)
                layer.bias.zero_()
    outputs = network(torch.ones(1, 1, 2, 2, 2))
    assert outputs["out"].unique().item() == 4
    assert [y.unique().item() for y in outputs["dec"]] == [2, -1]
    assert [y.unique().item() for y in outputs["enc"]] == [-1, 2]
    assert list(network.state_dict())[0].startswith("heads.a.")


def test_all_outputs_in_evaluation_are_those_of_the_training_pass(tiny, image):
    network = tiny("nnunet").train()  # no dropout, and instance norms: one pass for both modes
    with torch.no_grad():
        expected = side_logits(network(image))
        found = side_logits(network.eval().all_outputs(image))
        assert torch.is_tensor(network(image))
    assert len(found) == 9
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
