"""The projection head against the reference numbers, its initialiser and its gradients."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize
from torch.nn.utils.parametrizations import weight_norm

from networks import ProjectionHead
from networks.resnet.projection_head import weight_norm_product

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "desd.json").read_text())
FEATURES, OUT, HIDDEN, BOTTLENECK = 8, 6, 16, 4


def small(use_bn=True, **options):
    return ProjectionHead(FEATURES, OUT, use_bn, hidden=HIDDEN, bottleneck=BOTTLENECK, **options)


def fill(module, seed):
    """The golden file's recipe: values that depend on names and shapes, not on initialisers."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in sorted(module.state_dict().items()):
        if not value.is_floating_point() or name.endswith(("mean", "var", "weight_g")):
            continue
        draw = torch.randn(value.shape, generator=generator)
        draw = (draw / value[0].numel() ** 0.5 if value.ndim >= 2
                else 0.1 * draw + name.endswith(".weight"))
        value.copy_(draw)


def filled(use_bn):
    head = small(use_bn)
    fill(head, 5)
    return head, torch.randn(4, FEATURES, generator=torch.Generator().manual_seed(6))


def test_the_forward_pass_with_batch_norm_is_the_authors():
    reference = GOLDEN["head_forward"]
    head, features = filled(use_bn=True)
    assert {name: list(value.shape) for name, value in head.state_dict().items()
            } == reference["keys"]
    assert features[0].tolist() == pytest.approx(reference["x_row0"])
    torch.testing.assert_close(head(features), torch.tensor(reference["y"]), rtol=0, atol=1e-5)
    torch.testing.assert_close(head.mlp[1].running_mean[:4],
                               torch.tensor(reference["bn1_running_mean_first4_after"]))


def test_the_forward_pass_without_batch_norm_is_the_authors():
    reference = GOLDEN["head_forward_nobn"]
    head, features = filled(use_bn=False)
    assert list(head.state_dict()) == reference["keys"]
    torch.testing.assert_close(head(features), torch.tensor(reference["y"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("use_bn", [True, False])
@pytest.mark.parametrize("width", [64, 128, 256, 512, 1024, 2048])
def test_parameter_counts(width, use_bn):
    with torch.device("meta"):
        head = ProjectionHead(width, 60000, use_bn)
    reference = GOLDEN["params"]["DINOHead_out60000"][f"in{width}_bn{use_bn}"]
    assert sum(p.numel() for p in head.parameters()) == reference["params"]
    assert sum(p.numel() for p in head.parameters() if p.requires_grad) == reference["trainable"]
    assert len(head.state_dict()) == reference["state_dict_entries"]


def test_initialisers():
    torch.manual_seed(0)
    head, reference = ProjectionHead(64, 500, use_bn=True), GOLDEN["head_init"]
    for index in (0, 3, 6):
        assert head.mlp[index].weight.std().item() == pytest.approx(reference["expected_std"],
                                                                    rel=0.01)
        assert not head.mlp[index].bias.any()
    bound = reference["last_layer_v_expected_bound_1/sqrt(256)"]
    assert 0.999 * bound < head.last_layer.weight_v.abs().max() <= bound
    assert head.last_layer.weight_v.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)
    assert (head.last_layer.weight_g == 1).all()


def test_norms_of_the_prototypes_are_frozen_or_learned():
    frozen, learned = small(), small(norm_last_layer=False)
    assert [name for name, p in frozen.named_parameters() if not p.requires_grad
            ] == ["last_layer.weight_g"]
    assert all(p.requires_grad for p in learned.parameters())
    for head in (frozen, learned):
        head(torch.randn(4, FEATURES)).square().sum().backward()
    assert frozen.last_layer.weight_g.grad is None
    assert learned.last_layer.weight_g.grad.shape == (OUT, 1)
    with torch.no_grad():
        features, before = torch.randn(4, FEATURES), None
        before = learned(features)
        learned.last_layer.weight_g.mul_(3)
        torch.testing.assert_close(learned(features), 3 * before)


def test_logits_are_cosines():
    head, features = filled(use_bn=False)
    vectors = head.mlp(features)
    cosines = torch.cosine_similarity(vectors[:, None], head.last_layer.weight_v[None], dim=-1)
    torch.testing.assert_close(head(features), cosines)
    with torch.no_grad():
        before = head(features)
        head.last_layer.weight_v.mul_(7)  # the length of a prototype has no effect
        torch.testing.assert_close(head(features), before)


def test_product_and_gradients_are_those_of_torchs_weight_norm():
    torch.manual_seed(0)
    layer = weight_norm(torch.nn.Linear(5, 7, bias=False)).double()
    g = layer.parametrizations.weight.original0.detach().uniform_(0.5, 2).clone().requires_grad_()
    v = layer.parametrizations.weight.original1.detach().clone().requires_grad_()
    x, y = (torch.randn(3, n, dtype=torch.float64) for n in (5, 7))
    x.requires_grad_()
    expected = torch.autograd.grad((layer(x) * y).sum(), (
        x, layer.parametrizations.weight.original1, layer.parametrizations.weight.original0))
    found = torch.autograd.grad((weight_norm_product(x, v, g) * y).sum(), (x, v, g))
    torch.testing.assert_close(weight_norm_product(x, v, g), layer(x))
    torch.testing.assert_close(found, expected)
    assert torch.autograd.gradcheck(weight_norm_product, (x, v, g))


def test_the_gradient_leaves_the_length_of_a_prototype():
    """Cosines do not change along a prototype, so that its gradient is at right angles to it."""
    head, features = filled(use_bn=True)
    head(features)[:, 2].sum().backward()
    v = head.last_layer.weight_v
    assert v.grad[2].abs().max() > 1e-3
    torch.testing.assert_close((v.grad * v).sum(1), torch.zeros(OUT), atol=1e-6, rtol=0)
    assert not v.grad[[0, 1, 3, 4, 5]].any()


def test_cosines_stay_in_float32_under_autocast():
    head, features = filled(use_bn=False)
    expected = head(features)
    with torch.autocast("cpu", torch.bfloat16):
        vectors, logits = head.mlp(features), head(features)
        logits.square().sum().backward()  # called inside, too
    assert vectors.dtype == torch.bfloat16 and logits.dtype == torch.float32
    assert torch.equal(logits, head.last_layer(normalize(vectors.float(), dim=-1)))
    torch.testing.assert_close(logits, expected, atol=0.02, rtol=0)
    assert all(p.grad.dtype == torch.float32 for p in head.parameters() if p.requires_grad)


def test_rows_are_independent_without_batch_norm():
    head, features = filled(use_bn=False)
    torch.testing.assert_close(head(features[[2, 0]]), head(features)[[2, 0]])
