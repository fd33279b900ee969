"""Mixed precision: what computes in which type, and how the scaler goes on."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from losses import DiceCELoss, DSDLoss
from managers import (
    SegmentationManager,
    load_checkpoint,
    predictor_of,
    restore,
    save_checkpoint,
)
from managers.compute.precision import ShortAxisConv3d, autocast, gradient_scaler, guard_short_axes
from managers.segmentation.volume_counts import VolumeCounts
from networks import build_network

CPU = torch.device("cpu")
NAMES = ("background", "anterior", "posterior")


def fused_manager(network, amp, loss=None):
    """A manager on the CPU with the optimiser that fp16 takes."""
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
    manager = SegmentationManager(network, optimizer, loss or DSDLoss(), NAMES, (8, 8, 8), amp=amp)
    manager.to(CPU)
    manager.model.train()
    return manager


def at_scale(manager, scale):
    """Where a scaler would come to; the scale that it starts at is too large for a first step."""
    manager.scaler.load_state_dict(manager.scaler.state_dict() | {"scale": scale})


class Watched(DiceCELoss):
    """Notes in which types the loss is asked and answers."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def terms(self, outputs, target):
        total, terms = super().terms(outputs, target)
        logits = outputs["out"] if isinstance(outputs, dict) else outputs
        self.seen.append((logits.dtype, total.dtype, torch.is_autocast_enabled("cpu")))
        return total, terms


@pytest.mark.parametrize(("amp", "kind"), [("off", torch.float32), ("bf16", torch.bfloat16),
                                           ("fp16", torch.float16)])
def test_the_network_is_in_half_precision_and_the_loss_is_not(tiny_network, batches, amp, kind):
    manager, (batch,) = fused_manager(tiny_network(False), amp, Watched()), batches(1)
    manager.train_step(batch["image"], batch["label"])
    assert manager.compiled_losses.seen == [(kind, torch.float32, False)]
    assert {p.dtype for p in manager.model.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in manager.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
@pytest.mark.parametrize("options", [{"boundary_weight": 0.1}, {"supervise_encoder": True},
                                     {"distil": "none"}, {"include_background": False}], ids=str)
def test_every_kind_of_loss_takes_half_precision(tiny_network, batches, options, amp):
    label, found = batches(1)[0]["label"], {}
    dist_map = torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    target = {"label": label, "dist_map": dist_map}
    for kind in ("off", amp):
        manager = fused_manager(tiny_network(), kind, DSDLoss(**options))
        manager.train_step(batches(1)[0]["image"], target)
        found[kind] = manager.summary["loss"]
    assert found[amp] == pytest.approx(found["off"], rel=0.02)


def test_validation_is_in_half_precision_and_its_sums_are_not(tiny_network, batches,
                                                              monkeypatch):
    counted, add = set(), VolumeCounts.add

    def watched(self, logits, label_map):
        counted.add((logits.dtype, torch.is_autocast_enabled("cpu")))
        add(self, logits, label_map)

    monkeypatch.setattr(VolumeCounts, "add", watched)
    manager, kinds = fused_manager(tiny_network(False), "bf16"), []
    manager.model.register_forward_hook(lambda _, __, logits: kinds.append(logits.dtype))
    manager.model.eval()
    manager.test(batches(1, (12, 8, 9), crops=1), device=CPU)
    assert set(kinds) == {torch.bfloat16}
    assert counted == {(torch.float32, False)}


def test_the_final_prediction_is_in_full_precision(tiny_network, batches, config):
    image, kinds = batches(1)[0]["image"][0], []
    manager = fused_manager(tiny_network(), "bf16")
    manager.model.register_forward_hook(lambda _, __, logits: kinds.append(logits.dtype))
    predictor_of(manager.raw_model, config("--amp", "bf16"), CPU).label_map(image)
    assert kinds == [torch.float32]


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_a_step_is_near_that_of_full_precision(tiny_network, batches, amp):
    found = {}
    for kind in ("off", amp):
        manager, (batch,) = fused_manager(tiny_network(), kind), batches(1)
        at_scale(manager, 64.0)
        before = torch.cat([p.detach().flatten().clone() for p in manager.model.parameters()])
        manager.train_step(batch["image"], batch["label"])
        gradient = torch.cat([p.grad.flatten() for p in manager.model.parameters()])
        after = torch.cat([p.detach().flatten() for p in manager.model.parameters()])
        found[kind] = manager.summary["loss"], gradient  # unscaled by the step
        assert not torch.equal(before, after)
    assert found[amp][0] == pytest.approx(found["off"][0], rel=0.01)  # bf16 has 8 bits
    apart = (found[amp][1] - found["off"][1]).norm() / found["off"][1].norm()
    assert apart < 0.05


def test_fp16_reads_no_value_that_full_precision_does_not(tiny_network, batches):
    # Without side outputs: the CPU's own fused loss may read what is in its memory anyway. On a
    # CPU the watch over the loss reads it in each step.
    reads = {"off": [], "fp16": []}

    class Reads(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            reads[amp].extend([function] if "_local_scalar_dense" in str(function) else [])
            return function(*args, **(kwargs or {}))

    for amp in reads:
        manager, (batch,) = fused_manager(tiny_network(False), amp, DiceCELoss()), batches(1)
        manager.train_step(batch["image"], batch["label"])  # starts the scaler, which is on a CPU
        with Reads():
            manager.train_step(batch["image"], batch["label"])
    assert reads["fp16"] == reads["off"]


def test_a_step_of_infinite_gradients_is_left_out(tiny_network, batches):
    manager, (batch,) = fused_manager(tiny_network(), "fp16"), batches(1)
    at_scale(manager, 2.0**120)
    before = [p.detach().clone() for p in manager.model.parameters()]
    manager.train_step(batch["image"], batch["label"])
    assert all(torch.equal(a, b) for a, b in zip(before, manager.model.parameters(), strict=True))
    assert manager.scaler.get_scale() == 2.0**119


def test_the_scaler_is_restored_to_the_bit(tiny_network, batches, tmp_path):
    manager, (batch,) = fused_manager(tiny_network(), "fp16"), batches(1)
    at_scale(manager, 24.0)
    manager.train_step(batch["image"], batch["label"])
    save_checkpoint(tmp_path / "last.model", manager.raw_model, manager.compiled_optimizer,
                    [{"epoch": 1}], {}, manager.scaler)
    manager.train_step(batch["image"], batch["label"])

    resumed, state = fused_manager(tiny_network(), "fp16"), load_checkpoint(tmp_path / "last.model")
    assert (state["scaler"]["scale"], state["scaler"]["_growth_tracker"]) == (24.0, 1)
    assert restore(state, resumed.model, resumed.compiled_optimizer, resumed.scaler)
    resumed.to(CPU)  # which makes the scaler anew for the device
    resumed.train_step(batch["image"], batch["label"])
    assert resumed.scaler.state_dict() == manager.scaler.state_dict()
    torch.testing.assert_close(resumed.model.state_dict(), manager.model.state_dict(), rtol=0,
                               atol=0)


def test_a_checkpoint_without_a_scaler_starts_one(tiny_network, tmp_path):
    manager = fused_manager(tiny_network(), "fp16")
    save_checkpoint(tmp_path / "last.model", manager.raw_model, manager.compiled_optimizer,
                    [{"epoch": 1}], {}, gradient_scaler(CPU, "off"))
    state, fresh = load_checkpoint(tmp_path / "last.model"), manager.scaler.state_dict()
    restore(state, manager.model, manager.compiled_optimizer, manager.scaler)
    del state["scaler"]  # as runs of before have it
    restore(state, manager.model, manager.compiled_optimizer, manager.scaler)
    assert manager.scaler.state_dict() == fresh


def fill_free_memory_with_nan():
    """Of every size that an allocator may hand out next: what reads it unwritten is seen."""
    for size in (64, 256, 1024, 4096, 16384, 65536, 262144):
        blocks = [torch.full((size,), float("nan")) for _ in range(20)]
        del blocks


@pytest.mark.parametrize("amp", ["off", "bf16"])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "size"), [
    (3, 1, 1, 1, (8, 8, 8)),
    (3, 1, 1, 1, (8, 8, 2)),
    (3, 1, 1, 1, (8, 3, 8)),
    (3, 2, 1, 1, (1, 1, 1)),
    (5, 1, 2, 1, (4, 5, 6)),
    (7, 2, 3, 1, (7, 9, 9)),
    (7, 2, 3, 1, (6, 6, 6)),
    (7, 2, 3, 1, (5, 3, 8)),
    (7, 2, 3, 1, (8, 8, 8)),
    (3, 1, 4, 4, (4, 12, 9)),
    ((1, 3, 3), (1, 2, 2), (0, 1, 1), 1, (1, 3, 4)),
    (1, 1, 0, 1, (1, 1, 1)),
])
def test_gradients_over_short_axes(kernel, stride, padding, dilation, size, amp):
    """Those of float64, which is not oneDNN's, whatever was in memory before."""
    torch.manual_seed(0)
    plain = nn.Conv3d(2, 3, kernel, stride, padding, dilation)
    guarded = deepcopy(plain)
    guard_short_axes(guarded)
    assert type(guarded) is ShortAxisConv3d and list(guarded.state_dict()) == [*plain.state_dict()]
    plain.double()
    images = torch.randn(1, 2, *size).requires_grad_()
    images_64 = images.detach().double().requires_grad_()
    expected = plain(images_64)
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    fill_free_memory_with_nan()
    with autocast(CPU, amp):
        found = guarded(images)
    assert found.dtype == (torch.bfloat16 if amp == "bf16" else torch.float32)
    fill_free_memory_with_nan()
    (found.float() * weights.float()).sum().backward()
    tolerance = 0.05 if amp == "bf16" else 1e-5
    for ours, theirs in ((found, expected), (images.grad, images_64.grad),
                         (guarded.weight.grad, plain.weight.grad),
                         (guarded.bias.grad, plain.bias.grad)):
        torch.testing.assert_close(ours.double(), theirs, rtol=tolerance,
                                   atol=tolerance * (1 + theirs.abs().max().item()))


def test_what_torch_pads_in_another_way_is_left_to_it():
    for told in ({"padding": "same"}, {"padding": 1, "padding_mode": "replicate"}):
        convolution = nn.Conv3d(1, 2, 3, **told)
        images = torch.randn(1, 1, 2, 3, 4)
        expected = convolution(images)
        guard_short_axes(convolution)
        assert torch.equal(convolution(images), expected)


@pytest.mark.parametrize("amp", ["off", "fp16", "bf16"])
def test_every_convolution_on_a_cpu_is_guarded(tiny_network, amp):
    kinds = {type(m) for m in fused_manager(tiny_network(), amp).model.modules()
             if isinstance(m, nn.Conv3d)}
    assert kinds == {ShortAxisConv3d}


def test_unetr_trains_a_step_in_bf16(batches):
    torch.manual_seed(0)
    network = build_network("unetr", 1, 3, (32, 32, 32), True, feature_size=2, hidden_size=12,
                            mlp_dim=12, num_heads=2)
    manager, (batch,) = fused_manager(network, "bf16"), batches(1, (32, 32, 32), crops=1)
    manager.train_step(batch["image"], batch["label"])
    gradients = [p.grad for p in manager.model.parameters() if p.grad is not None]
    assert len(gradients) > 50 and all(grad.isfinite().all() for grad in gradients)
