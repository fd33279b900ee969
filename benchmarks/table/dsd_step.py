"""A training step with DSD against the basic one, and the DSD loss against the plain functions.

Steps are those of the training scripts: SegmentationManager.train_step with AdamW. The plain side
of the loss is the heads at full size and losses.dsd_loss, forward and backward from the features.
On a GPU also in bf16 with the fused optimiser, and the loss by torch operations beside Triton's.
"""

from collections.abc import Callable
from unittest.mock import patch

import torch

from benchmarks.measure import paired, peak_growth_mib
from benchmarks.table.rows import Row
from losses import DiceCELoss, DSDLoss, RunningLoss, dsd_loss
from losses.fused import triton_ops
from losses.fused.loss import fused_dsd_loss
from managers import SegmentationManager
from managers.compute.devices import keep_freed_memory
from networks import build_network

NETWORKS = {"nnunet": {}, "unetr": {}}  # with the published options
CLASSES = 8


def step(network: str, method: str, size: int, device: str = "cpu", amp: bool = False,
         classes: int = CLASSES, batch: int = 1,
         loss: RunningLoss | None = None) -> Callable[[], object]:
    """One optimiser step on a batch of noise; `loss` in place of the method's own."""
    torch.manual_seed(0)
    if device == "cpu":
        keep_freed_memory()
    model = build_network(network, 1, classes, (size,) * 3, method == "dsd", **NETWORKS[network])
    loss = loss or (DSDLoss() if method == "dsd" else DiceCELoss())
    optimizer = torch.optim.AdamW(model.parameters(), fused=amp or None)
    names = tuple(f"class {index}" for index in range(classes))
    manager = SegmentationManager(model, optimizer, loss, names, (size,) * 3,
                                  amp="bf16" if amp else "off")
    manager.to(torch.device(device))
    manager.model.train()
    images = torch.randn(batch, 1, *(size,) * 3, device=device)
    label = torch.randint(0, classes, (batch, 1, *(size,) * 3), device=device)

    return lambda: manager.train_step(images, label)


def loss_sides(size: int, device: str, amp: bool) -> tuple[Callable, Callable]:
    """The plain and the fused loss from the same features, their gradients included."""
    torch.manual_seed(0)
    network = build_network("nnunet", 1, CLASSES, (size,) * 3, True).to(device).train()
    with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=amp):
        logits, maps = _collect(network, torch.randn(1, 1, *(size,) * 3, device=device))
    label = torch.randint(0, CLASSES, (1, 1, *(size,) * 3), device=device)
    leaves = [logits.requires_grad_(), *network.heads.parameters()]
    for of_head in maps.values():
        leaves += [feature.requires_grad_() for feature in of_head]

    def side(function: Callable, whole: bool) -> Callable[[], torch.Tensor]:
        def run() -> torch.Tensor:
            outputs = {"out": logits}
            with torch.autocast(device, torch.bfloat16, enabled=amp):
                made = {name: iter(network.heads[name](of_head, whole))
                        for name, of_head in maps.items()}
                for branch, levels in network.levels.items():
                    outputs[branch] = [next(made[level.head]) for level in levels]
            total = function(outputs, label)[0]
            torch.autograd.grad(total, leaves)
            return total.detach()
        return run
    return side(dsd_loss, True), side(fused_dsd_loss, False)


def _collect(network: torch.nn.Module,
             images: torch.Tensor) -> tuple[torch.Tensor, dict[str, list[torch.Tensor]]]:
    """The network's logits, and of each side head the feature maps that it gets."""
    maps = {}

    def keep(name: str) -> Callable:
        def hook(_module: torch.nn.Module, inputs: tuple) -> None:
            maps[name] = [feature.detach() for feature in inputs[0]]
        return hook

    hooks = [head.register_forward_pre_hook(keep(name)) for name, head in network.heads.items()]
    logits = network(images)["out"].detach()
    for handle in hooks:
        handle.remove()
    return logits, maps


def rows(device: str, quick: bool) -> list[Row]:
    """DSD against basic for two networks, in time and memory; the loss against the plain one."""
    size, pairs, result = (32, 1, []) if quick else (96, 2, [])
    if device == "cuda":
        result, pairs = _gpu_steps(size, 1 if quick else 10), 10
    for network in NETWORKS if device == "cpu" else ():
        where = f"{network}, {size}^3, batch 1, {CLASSES} classes, {device} float32"
        timing = paired(step(network, "dsd", size, device), step(network, "basic", size, device),
                        pairs, device=device)
        result.append(Row(f"DSD step / basic step, {where}", timing["ratio"], 1.15,
                          note=_spread(timing), details=timing))
        dsd, basic = (peak_growth_mib(step, network, method, size) for method in ("dsd", "basic"))
        result.append(Row(f"the same, growth of memory, {network}", dsd / basic, 1.10,
                          note=f"{dsd:.0f} / {basic:.0f} MiB",
                          details={"dsd_mib": dsd, "basic_mib": basic}))
    amp = device == "cuda"
    plain, fused = loss_sides(size, device, amp)
    timing = paired(plain, fused, pairs + 4, device=device)
    what = "DSD loss with side heads, forward and backward: plain functions / fused"
    result.append(Row(f"{what}, {'AMP bf16' if amp else 'float32'}", timing["ratio"],
                      5 if amp else 4, better="high", note=_spread(timing), details=timing))
    if amp:
        in_torch = paired(without_triton(fused), fused, pairs + 4, device=device)
        result.append(Row("the same: torch operations / Triton", in_torch["ratio"], 1,
                          better="high", note=_spread(in_torch), details=in_torch))
        growth = _cuda_growth(plain), _cuda_growth(fused)
        result.append(Row("the same, memory: fused / plain", growth[1] / growth[0], 0.1,
                          note=f"{growth[1]:.0f} / {growth[0]:.0f} MiB"))
    return result


def _gpu_steps(size: int, pairs: int) -> list[Row]:
    """DSD over basic on a GPU, two crops: float32, and bf16 with the fused optimiser."""
    found = []
    for network in NETWORKS:
        for amp, precision in ((False, "float32"), (True, "bf16, fused")):
            sides = [step(network, method, size, "cuda", amp, batch=2)
                     for method in ("dsd", "basic")]
            timing = paired(*sides, pairs, warm_up=3, device="cuda")
            dsd, basic = (_cuda_growth(side) for side in sides)
            found.append(Row(f"DSD step / basic step, {network}, {size}^3, batch 2, {CLASSES} "
                             f"classes, cuda {precision}", timing["ratio"], 1.15,
                             note=_spread(timing), details=timing))
            found.append(Row(f"the same, memory beyond weights and optimiser, {network} "
                             f"{precision}", dsd / basic, 1.10,
                             note=f"{dsd:.0f} / {basic:.0f} MiB",
                             details={"dsd_mib": dsd, "basic_mib": basic}))
            del sides
            torch.cuda.empty_cache()
    return found


def without_triton(run: Callable[[], None]) -> Callable[[], None]:
    """The fused loss by torch operations, as where Triton is missing."""
    def torch_alone() -> None:
        with patch.object(triton_ops, "can_take", return_value=False):
            run()
    return torch_alone


def _cuda_growth(run: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def _spread(timing: dict) -> str:
    return (f"{timing['smallest']:.2f} to {timing['largest']:.2f}; {timing['first_s']:.3g} s / "
            f"{timing['second_s']:.3g} s")
