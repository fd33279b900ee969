"""The 3D ResNet encoder against the reference numbers, and what its maps are."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from networks import DEPTHS, pooled, resnet3d

GOLDEN_DIR = Path(__file__).parents[2] / "golden"
GOLDEN = json.loads((GOLDEN_DIR / "desd.json").read_text())
KEYS = json.loads((GOLDEN_DIR / "desd_state_dict_keys.json").read_text())


def on_meta(depth, in_channels=1):
    with torch.device("meta"):
        return resnet3d(depth, in_channels)


def entries(module):
    return [[name, list(value.shape)] for name, value in module.state_dict().items()]


def fill(module, seed):
    """The golden file's recipe: values that depend on names and shapes, not on initialisers."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in sorted(module.state_dict().items()):
        if not value.is_floating_point() or name.endswith(("mean", "var", "weight_g")):
            continue
        draw = torch.randn(value.shape, generator=generator)
        if value.ndim >= 2:
            draw /= value[0].numel() ** 0.5
        else:
            draw = 0.1 * draw + name.endswith(".weight")
        value.copy_(draw)


@pytest.mark.parametrize("depth", [10, 18, 34, 50])
def test_parameter_counts(depth):
    encoder, reference = on_meta(depth), GOLDEN["params"][f"res3d{depth}"]
    assert sum(p.numel() for p in encoder.parameters()) == reference["params"]
    assert len(encoder.state_dict()) == reference["state_dict_entries"]
    assert list(encoder.buffers()) == []


@pytest.mark.parametrize("depth", [18, 50])
def test_names_and_their_order_are_the_authors(depth):
    assert entries(on_meta(depth)) == [list(item) for item in KEYS[f"encoder_res3d{depth}"].items()]


def test_the_hash_of_depth_50():
    text = json.dumps(entries(on_meta(50)), separators=(",", ":"))
    reference = GOLDEN["state_dict"]["encoder_res3d50"]["sha256_of_json_dumps_items"]
    assert hashlib.sha256(text.encode()).hexdigest() == reference


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_first_block_projects_its_shortcut_and_no_other_does(depth):
    encoder = on_meta(depth)
    for stage in (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4):
        assert [block.downsample is not None for block in stage] == [True] + [False] * (
            len(stage) - 1)


@pytest.mark.parametrize("depth", DEPTHS)
def test_shapes_of_maps_and_vectors(depth):
    encoder = on_meta(depth)
    maps = encoder(torch.empty(2, 1, 16, 96, 96, device="meta"))
    # 101 to 200 have the widths of 50.
    reference = GOLDEN["shapes_input_2x1x16x96x96"][f"res3d{min(depth, 50)}"]
    names = ("conv1", "layer1", "layer2", "layer3", "layer4")
    assert [list(m.shape) for m in maps] == [reference["maps"][name] for name in names]
    assert [list(v.shape) for v in pooled(maps[1:])] == reference["vectors"]
    assert tuple(m.shape[1] for m in maps) == encoder.widths


@pytest.mark.parametrize("size", ["16x48x48", "64x192x192"])
def test_shapes_of_other_sizes(size):
    key = "res3d50_local_16x48x48" if size == "16x48x48" else f"res3d50_{size}"
    reference = GOLDEN["shapes_input_2x1x16x96x96"][key]
    shape = (1, 1, *map(int, size.split("x")))
    maps = on_meta(50)(torch.empty(shape, device="meta"))
    names = ("conv1", "layer1", "layer2", "layer3", "layer4")
    assert [list(m.shape) for m in maps] == [reference[name] for name in names]


@pytest.mark.parametrize("depth", [10, 50])
def test_the_forward_pass_is_the_authors(depth):
    reference = GOLDEN["encoder_forward"]
    images = torch.randn(2, 1, 16, 96, 96, generator=torch.Generator().manual_seed(77))
    assert images.flatten()[:4].tolist() == pytest.approx(reference["input_check_first4"])
    encoder = resnet3d(depth)
    fill(encoder, reference[f"res3d{depth}"]["seed"])
    with torch.no_grad():
        vectors = pooled(encoder.double()(images.double())[1:])
    for vector, expected in zip(vectors, reference[f"res3d{depth}"]["out"], strict=True):
        assert vector.sum().item() == pytest.approx(expected["sum_f64"], rel=1e-9)
        assert vector.norm().item() == pytest.approx(expected["norm_f64"], rel=1e-9)
        assert vector[0, :5].tolist() == pytest.approx(expected["first5_sample0"], abs=1e-3)
        assert vector[1, :3].tolist() == pytest.approx(expected["first3_sample1"], abs=1e-3)


def test_weights_start_as_torch_makes_them():
    encoder = resnet3d(10)
    bound = GOLDEN["encoder_init"]["kaiming_uniform_a_sqrt5_bound=1/sqrt(343)"]
    assert 0.99 * bound < encoder.conv1.weight.abs().max() <= bound
    assert encoder.conv1.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    norms = [m for m in encoder.modules() if isinstance(m, torch.nn.InstanceNorm3d)]
    assert len(norms) == 13
    assert all((m.weight == 1).all() and (m.bias == 0).all() for m in norms)


@pytest.mark.parametrize("depth", [18, 50])
def test_no_later_layer_writes_into_a_returned_map(depth):
    """The activations work in place: what is returned must be what its layer had put out."""
    torch.manual_seed(0)
    encoder, seen = resnet3d(depth), []
    for module in (encoder.maxpool, encoder.layer2, encoder.layer3, encoder.layer4):
        module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    encoder.layer4.register_forward_hook(lambda *passed: seen.append(passed[2].clone()))
    maps = encoder(torch.randn(1, 1, 16, 33, 33))
    assert all(torch.equal(a, b) for a, b in zip(maps, seen, strict=True))
    sum(m.square().mean() for m in maps).backward()  # torch refuses what was changed in place
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_the_stem_is_activated_and_not_yet_pooled():
    encoder = resnet3d(10)
    images = torch.randn(1, 1, 4, 33, 33)
    stem = encoder(images)[0]
    normed = torch.nn.functional.instance_norm(encoder.conv1(images))
    torch.testing.assert_close(stem, torch.where(normed > 0, normed, 0.01 * normed))


def test_training_and_evaluation_are_the_same():
    encoder, images = resnet3d(10), torch.randn(1, 1, 8, 33, 40)
    assert all(torch.equal(a, b) for a, b in zip(encoder(images), encoder.eval()(images),
                                                 strict=True))


def test_pooled_is_the_mean_over_the_voxels():
    maps = torch.arange(24.0).reshape(1, 2, 3, 2, 2)
    torch.testing.assert_close(pooled([maps])[0], torch.tensor([[5.5, 17.5]]))


def test_images_of_more_channels():
    maps = on_meta(10, in_channels=4)(torch.empty(1, 4, 16, 64, 64, device="meta"))
    assert [m.shape[1] for m in maps] == [64, 64, 128, 256, 512]


def test_an_unknown_depth_is_refused():
    with pytest.raises(ValueError, match="Unknown depth 42.*known: 10, 18, 34, 50, 101, 152, 200"):
        resnet3d(42)


@pytest.mark.parametrize("size", [(16, 32, 33), (17, 32, 32), (1, 1, 33)])
def test_two_voxels_are_left_above_the_total_stride(size):
    assert resnet3d(10)(torch.randn(1, 1, *size))[-1][0, 0].numel() == 2


def test_a_single_voxel_cannot_be_normalised():
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        resnet3d(10)(torch.randn(1, 1, 16, 32, 32))
