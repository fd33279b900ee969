"""Parameter counts, heads and output shapes against the reference numbers."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "dsd_networks.json").read_text())
CONFIGURATIONS = [name for name in GOLDEN if name != "_about"]
NORM_CROSS_ATTN = 12 * 2 * 768  # parameters MONAI >= 1.4 creates in UNETR and never uses

pytestmark = pytest.mark.parametrize("name", CONFIGURATIONS)


@pytest.fixture
def reference(name):
    """The golden entry of one configuration."""
    return GOLDEN[name]


@pytest.fixture
def build(reference, on_meta):
    """build(self_distillation, size) -> the configuration's network at size^3."""
    config = {key: tuple(value) if isinstance(value, list) else value
              for key, value in reference["config"].items() if key in ("feature_size", "filters")}

    def made(self_distillation, size=None, **options):
        size = size or full_size(reference)
        return on_meta(reference["arch"].lower(), reference["in_channels"],
                       reference["out_channels"], (size,) * 3, self_distillation,
                       **config, **options)

    return made


def full_size(reference):
    """The configuration's image size; SwinUNETR cannot run on the 32^3 of the Hippocampus."""
    size = reference["img_size"]
    return max(size, 64) if reference["arch"] == "SwinUNETR" else size


def unused_head(reference):
    """Parameters of the head that the authors' V-Net builds and never uses."""
    heads = [head for head in reference["deepup_modules"]
             if set(head["names"]) & set(reference.get("deepup_never_called", ()))]
    assert [head["scale_factor"] for head in heads] == [1] * (reference["arch"] == "VNet")
    return sum(head["params"] for head in heads)


def num_parameters(module, trainable_only):
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)


@pytest.mark.parametrize("self_distillation", [False, True], ids=["basic", "dsd"])
def test_parameter_counts(reference, build, self_distillation):
    network, method = build(self_distillation), "dsd" if self_distillation else "basic"
    unused = unused_head(reference) if self_distillation else 0
    assert num_parameters(network, True) == reference[f"params_{method}_monai_0_9"] - unused
    assert num_parameters(network, False) == reference[f"params_{method}_monai_1_6_1"] - unused
    frozen = num_parameters(network, False) - num_parameters(network, True)
    assert frozen == (NORM_CROSS_ATTN if reference["arch"] == "UNETR" else 0)


def test_overhead_is_the_heads(reference, build):
    network = build(True)
    overhead = reference["params_dsd_monai_0_9"] - reference["params_basic_monai_0_9"]
    assert num_parameters(network.heads, True) == overhead - unused_head(reference)
    num_unused = len(reference.get("deepup_never_called", ()))
    assert len(network.heads) == len(reference["deepup_modules"]) - num_unused


def test_overhead_of_the_other_upsamplings(reference, build):
    single = reference["dsd_overhead_multiple_upsample_False"] - unused_head(reference)
    assert num_parameters(build(True, upsampling="single").heads, True) == single
    k = reference["out_channels"]
    projections = sum(head["in_channels"] * k + k for head in reference["deepup_modules"]
                      if not set(head["names"]) & set(reference.get("deepup_never_called", ())))
    assert num_parameters(build(True, upsampling="trilinear").heads, True) == projections


def test_output_shapes_at_full_size(reference, build):
    network = build(True).train()
    size = (full_size(reference),) * 3
    outputs = network(torch.empty(1, reference["in_channels"], *size, device="meta"))
    shapes = [list(y.shape) for y in (outputs["out"], *outputs["dec"], *outputs["enc"])]
    recorded = [reference[key] for key in ("output_shapes_full_img", "train_forward_64",
                                           "output_shapes") if key in reference]
    assert shapes == recorded[0]
    assert list(outputs) == ["out", "dec", "enc"]


def recorded_calls(network, image, sources):
    """Outputs, (head, input, output) of each side output, and what each source module returned."""
    calls, features = {}, {}

    def note(key, inputs, made):  # a head is called once for all its levels
        calls.update({id(logits): (key, feature, logits)
                      for feature, logits in zip(inputs[0], made, strict=True)})

    hooks = [head.register_forward_hook(
        lambda _, inputs, output, key=key: note(key, inputs, output))
        for key, head in network.heads.items()]
    hooks += [network.network.get_submodule(source).register_forward_hook(
        lambda _, __, output, key=source: features.__setitem__(key, output))
        for source in sources]
    outputs = network(image)
    for hook in hooks:
        hook.remove()
    side = [*outputs["dec"], *outputs["enc"]]
    assert len(calls) == len(side)
    return outputs, [calls[id(logits)] for logits in side], features


def test_each_output_reads_the_golden_level(reference, build):
    if "heads" not in reference:  # could not run; its levels are those of the same width elsewhere
        reference = GOLDEN["msd_brats/swinunetr_fs12"] | {"in_channels": 1}
    heads = reference["heads"][1:]
    # The reference recorded its features at a size of its own.
    size = heads[0]["feature_shape"][2] * heads[0]["scale"]
    network = build(True, size).train()
    sources = [head["source_module"].split(" ")[0] for head in heads]
    image = torch.empty(1, reference["in_channels"], size, size, size, device="meta")
    outputs, calls, features = recorded_calls(network, image, sources)

    side = [*outputs["dec"], *outputs["enc"]]
    assert [head["output"] for head in heads] == [
        *(f"out_dec{i}" for i in (4, 3, 2, 1)), *(f"out_enc{i}" for i in (1, 2, 3, 4))]
    assert len(calls) == len(side) == 8
    for head, source, output, (key, feature, returned) in zip(heads, sources, side, calls,
                                                              strict=True):
        assert output is returned, f"{head['output']} is not what its head returned"
        assert list(feature.shape) == head["feature_shape"]
        assert network.heads[key].project.in_channels == head["in_channels"]
        assert size // feature.shape[2] == head["scale"]
        if source != "vit":  # its tokens are folded to a grid first
            assert feature is features[source], f"{head['output']} does not read {source}"
    theirs = [head["deepup"] for head in heads]
    ours = [key for key, _, _ in calls]
    same = [[i == j for j in keys] for keys in (theirs, ours) for i in keys]
    assert same[:8] == same[8:], "encoder and decoder share other heads than the reference"
    shared = {tuple(outputs) for outputs in reference["shared_deepup"].values()}
    num_shared = sum(count == 2 for count in Counter(ours).values())
    assert num_shared == len(shared)
