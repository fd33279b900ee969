"""The fused DSD loss against the plain function: values and gradients, in both ways."""

import math
from math import lcm

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from losses import DISTIL, DSDLoss, boundary_loss, dsd_loss
from losses.fused import cpu_passes, torch_passes
from losses.fused.loss import fused_dsd_loss
from losses.fused.plan import Plan, Slopes
from losses.heads import whole_logits

STRIDES = [(1, 1, 1), (2, 2, 2), (1, 2, 2), (2, 2, 1), (2, 1, 2)]
WAYS = {"torch": torch.float64, "compiled": torch.float32}
needs_compiler = pytest.mark.skipif(cpu_passes.library() is None, reason="no C compiler here")


@pytest.fixture(params=["torch", pytest.param("compiled", marks=needs_compiler)])
def way(request, monkeypatch):
    """The dtype of a way's inputs; in both, the smallest volumes are cut into several pieces."""
    least = 0 if request.param == "compiled" else math.inf
    monkeypatch.setattr(cpu_passes, "WORTH_BUILDING", least)
    monkeypatch.setattr(torch_passes, "PIECE", 16)
    return WAYS[request.param]


def random_outputs(seed, dtype, batch=2, classes=3, cells=(2, 2, 3), strides=STRIDES[:4] * 2,
                   channels=5, spread=2.0):
    """Outputs whose heads have these strides, None for whole logits; label; all leaves by name."""
    generator = torch.Generator().manual_seed(seed)
    real = [stride for stride in strides if stride] + [(1, 1, 1)]
    size = [cell * lcm(*(s[axis] for s in real)) for axis, cell in enumerate(cells)]

    def leaf(*shape):
        return (spread * torch.randn(*shape, generator=generator)).to(dtype).requires_grad_()

    def head(stride, width):
        if stride is None:
            return leaf(batch, classes, *size)
        return (leaf(batch, width, *(n // s for n, s in zip(size, stride, strict=True))),
                leaf(width, classes, *stride), leaf(classes))

    heads = [head(stride, channels + (index == 2)) for index, stride in enumerate(strides)]
    half = len(heads) // 2
    outputs = {"out": leaf(batch, classes, *size), "dec": heads[:half], "enc": heads[half:]}
    label = torch.randint(0, classes, (batch, 1, *size), generator=generator)
    names = ["out", *(f"{'dec' if i < half else 'enc'}{i}" for i in range(len(heads)))]
    leaves = {}
    for name, entry in zip(names, [outputs["out"], *heads], strict=True):
        parts = (entry,) if isinstance(entry, torch.Tensor) else entry
        leaves |= {f"{name}.{part}": tensor for part, tensor in enumerate(parts)}
    return outputs, label, leaves


def compare(outputs, label, leaves, tolerance=None, **options):
    """Total, terms and gradients of total and of every term by every leaf agree."""
    plain, plain_terms = dsd_loss(outputs, label, **options)
    ours, terms = fused_dsd_loss(outputs, label, **options)
    assert list(terms) == list(plain_terms)
    assert_close(ours, plain, **(tolerance or {}))
    assert_close(terms, plain_terms, **(tolerance or {}))
    weights = [0.3 + index for index in range(len(terms))]
    for a, b in ((ours, plain),
                 (sum(w * v for w, v in zip(weights, terms.values(), strict=True)),
                  sum(w * v for w, v in zip(weights, plain_terms.values(), strict=True)))):
        found = torch.autograd.grad(a, list(leaves.values()), allow_unused=True, retain_graph=True)
        wanted = torch.autograd.grad(b, list(leaves.values()), allow_unused=True,
                                     retain_graph=True)
        largest = {}  # of features, of weights, of biases, whose own may all but cancel
        for name, grad in zip(leaves, wanted, strict=True):
            size = 1e-12 if grad is None else grad.abs().max().item()
            largest[name[-1]] = max(largest.get(name[-1], 1e-12), size)
        for name, mine, theirs in zip(leaves, found, wanted, strict=True):
            if theirs is None:
                assert mine is None, f"{name}: a gradient where there must be none"
                continue
            scale = largest[name[-1]]
            assert_close(mine / scale, theirs / scale, **(tolerance or {}),
                         msg=lambda text, name=name: f"{name}: {text}")


FLOAT32 = {"rtol": 1e-4, "atol": 2e-5}


def tolerance_of(dtype):
    """Gradients are compared relative to the largest of all heads."""
    return FLOAT32 if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-11}


@pytest.mark.parametrize("distil", DISTIL)
@pytest.mark.parametrize("detach_teacher", [False, True])
@pytest.mark.parametrize("supervise_encoder", [False, True])
@pytest.mark.parametrize("include_background", [False, True])
def test_equals_the_plain_loss(way, distil, detach_teacher, supervise_encoder, include_background):
    outputs, label, leaves = random_outputs(0, way)
    heads = [outputs["out"], *outputs["dec"], *outputs["enc"]]
    assert cpu_passes.can_take(heads, label) == (way == WAYS["compiled"])
    compare(outputs, label, leaves, tolerance_of(way), alpha=0.7, temperature=3.0, distil=distil,
            detach_teacher=detach_teacher, supervise_encoder=supervise_encoder,
            include_background=include_background)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), batch=st.integers(1, 4), classes=st.integers(2, 20),
       cells=st.tuples(*[st.integers(1, 3)] * 3), temperature=st.sampled_from([0.5, 1, 2, 3, 4.5]),
       strides=st.lists(st.sampled_from([None, *STRIDES]), min_size=2, max_size=8),
       alpha=st.floats(0, 2), background=st.booleans(), channels=st.integers(1, 9),
       compiled=st.booleans())
def test_any_shape(seed, batch, classes, cells, temperature, strides, alpha, background, channels,
                   compiled):
    compiled = compiled and cpu_passes.library() is not None
    dtype = torch.float32 if compiled else torch.float64
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_passes, "WORTH_BUILDING", 0 if compiled else math.inf)
        outputs, label, leaves = random_outputs(seed, dtype, batch, classes, cells,
                                                strides[:len(strides) // 2 * 2], channels)
        compare(outputs, label, leaves, tolerance_of(dtype), alpha=alpha, temperature=temperature,
                include_background=background)


def test_gradcheck():
    outputs, label, leaves = random_outputs(3, torch.float64, 1, 2, (1, 1, 1),
                                            [(2, 2, 2), None, (1, 1, 1), (2, 1, 2)], 2, 1.0)
    entries = list(leaves)

    def total(*tensors):
        by_name = dict(zip(entries, tensors, strict=True))
        parts = {name.split(".")[0]: [by_name[other] for other in entries
                                      if other.split(".")[0] == name.split(".")[0]]
                 for name in entries}
        heads = [tuple(part) if len(part) == 3 else part[0] for part in parts.values()]
        return fused_dsd_loss({"out": heads[0], "dec": heads[1:3], "enc": heads[3:]}, label,
                              0.4, 2.0, supervise_encoder=True)[0]

    assert torch.autograd.gradcheck(total, tuple(leaves.values()))


def test_absent_classes(way):
    outputs, label, leaves = random_outputs(1, way, classes=6)
    compare(outputs, label.clamp(max=1), leaves, tolerance_of(way))
    compare(outputs, torch.zeros_like(label), leaves, tolerance_of(way))


def test_logits_far_apart(way):
    """Probabilities that underflow have no NaN, and the gradient of the plain loss."""
    outputs, label, leaves = random_outputs(2, way, spread=25.0)
    compare(outputs, label, leaves, tolerance_of(way), temperature=2.0)


def test_label_of_any_type(way):
    outputs, label, _ = random_outputs(4, way)
    expected = fused_dsd_loss(outputs, label)[0]
    for dtype in (torch.uint8, torch.int16, torch.float32):
        assert torch.equal(fused_dsd_loss(outputs, label.to(dtype))[0], expected)


@pytest.mark.parametrize("value", [-1, 3])
def test_label_out_of_range(value):
    outputs, label, _ = random_outputs(4, torch.float32)
    label[1, 0, 0, 0, 0] = value
    with pytest.raises(ValueError, match="0 to 2"):
        fused_dsd_loss(outputs, label)


def test_half_precision_is_widened(way):
    """bfloat16 logits: sums as from the same values in float32, gradients rounded to bfloat16."""
    if way == torch.float64:
        pytest.skip("float64 is never half")
    outputs, label, leaves = random_outputs(5, torch.bfloat16)
    wide = {branch: [tuple(t.detach().float().requires_grad_() for t in head) for head in heads]
            for branch, heads in outputs.items() if branch != "out"}
    wide["out"] = outputs["out"].detach().float().requires_grad_()
    ours, plain = fused_dsd_loss(outputs, label)[0], dsd_loss(wide, label)[0]
    assert ours.dtype == torch.float32
    assert_close(ours, plain)
    ours.backward()
    plain.backward()
    for mine, theirs in zip(
            [outputs["out"], *(t for b in ("dec", "enc") for h in outputs[b] for t in h)],
            [wide["out"], *(t for b in ("dec", "enc") for h in wide[b] for t in h)], strict=True):
        assert mine.grad.dtype == torch.bfloat16
        scale = theirs.grad.abs().max()
        assert_close(mine.grad.float() / scale, theirs.grad / scale, rtol=1e-2, atol=4e-3)


def test_not_a_number_shows(way):
    for position in range(3):  # out, dec, enc
        outputs, label, _ = random_outputs(6, way)
        entry = [outputs["out"], outputs["dec"][1][0], outputs["enc"][0][0]][position]
        with torch.no_grad():
            entry[0, 0, 0, 0, 0] = math.nan
        assert math.isnan(fused_dsd_loss(outputs, label)[0].item())


@needs_compiler
def test_compiled_way_is_the_same_in_each_run(way):
    outputs, label, leaves = random_outputs(7, torch.float32)
    first, second = (torch.autograd.grad(fused_dsd_loss(outputs, label)[0], list(leaves.values()))
                     for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@needs_compiler
def test_several_threads_add_up(monkeypatch):
    monkeypatch.setattr(cpu_passes, "WORTH_BUILDING", 0)
    outputs, label, leaves = random_outputs(8, torch.float32, cells=(3, 2, 2))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        compare(outputs, label, leaves, FLOAT32)
    finally:
        torch.set_num_threads(threads)


def test_without_a_compiler(monkeypatch):
    """The torch way takes over, without a word."""
    cpu_passes.library.cache_clear()
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr(cpu_passes, "WORTH_BUILDING", 0)
    try:
        outputs, label, leaves = random_outputs(9, torch.float32)
        assert not cpu_passes.can_take([outputs["out"]], label)
        compare(outputs, label, leaves, FLOAT32)
    finally:
        cpu_passes.library.cache_clear()


def test_torch_gradients_have_the_type_of_their_head():
    """No second volume in float32 beside each head in half precision."""
    outputs, label, _ = random_outputs(11, torch.bfloat16, strides=[(2, 2, 2), None])
    heads = [outputs["out"], *outputs["dec"], *outputs["enc"]]
    plan = Plan(slice(0, 2), (), 3.0, 0, False)
    with torch.no_grad():
        sums = torch_passes.sums(heads, label, plan)
        slopes = Slopes.of(sums, plan, label.numel(), torch.ones(2))
        grads = torch_passes.gradients(heads, label, plan, slopes, [True] * 3)
    assert all(grad[0].dtype == torch.bfloat16 for grad in grads)


def test_a_gpu_takes_a_sample_at_once():
    """96^3 voxels of nine heads and eight classes are one piece: a piece costs its launches."""
    per_voxel = 9 * 8 * torch.float32.itemsize
    assert torch_passes.voxels_of_a_piece(torch.device("cuda"), per_voxel) >= 96**3
    assert torch_passes.voxels_of_a_piece(torch.device("cpu"), per_voxel) == torch_passes.PIECE


def test_shape_priors_of_heads_that_are_not_whole():
    outputs, label, leaves = random_outputs(10, torch.float64)
    dist_map = torch.randn(2, 3, *label.shape[2:], dtype=torch.float64)
    ours = DSDLoss(boundary_weight=0.5)(outputs, {"label": label, "dist_map": dist_map})
    heads = [outputs["out"], *map(whole_logits, outputs["dec"][:-1])]
    plain = dsd_loss(outputs, label)[0] + 0.5 * sum(boundary_loss(h, dist_map) for h in heads)
    assert_close(ours, plain)
    names = list(leaves.values())
    assert_close(torch.autograd.grad(ours, names), torch.autograd.grad(plain, names))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("include_background", [False, True])
def test_equals_the_plain_loss_on_a_gpu(include_background):
    outputs, label, _ = random_outputs(12, torch.float32)
    move = {branch: [tuple(t.detach().cuda().requires_grad_() for t in head) for head in heads]
            for branch, heads in outputs.items() if branch != "out"}
    move["out"] = outputs["out"].detach().cuda().requires_grad_()
    leaves = {"out": move["out"]} | {
        f"{branch}{i}.{part}": tensor for branch in ("dec", "enc")
        for i, head in enumerate(move[branch]) for part, tensor in enumerate(head)}
    compare(move, label.cuda(), leaves, FLOAT32, include_background=include_background)
