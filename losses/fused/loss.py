"""The DSD loss in two passes over the logits: losses.dsd_loss at a fraction of its cost.

The plain function makes several volumes of the logits' size for each head, and autograd as many
again. But all terms follow from a few sums, and their gradient has a closed form. So one pass reads
the logits piece by piece and adds up the sums; the second reads them again and writes the gradient.
No probability is kept, the label is never one-hot, and a head that is still one linear step away
from full size (see losses.heads) is never whole. There are three ways to do so: triton_ops on
CUDA, cpu_passes with a C compiler, and torch_passes for everything else.
"""

from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from ..dsd import DISTIL, hint_terms
from ..heads import Head, num_classes_of, tensors_of
from ..teachers import is_published, taught_terms, weights_by_name
from . import cpu_passes, torch_passes, triton_ops
from .plan import Plan, Slopes


def fused_dsd_loss(outputs: dict[str, Any], label: torch.Tensor, alpha: float = 1.0,
                   temperature: float = 3.0, include_background: bool = True, *,
                   distil: str = "both", detach_teacher: bool = False,
                   supervise_encoder: bool = False, hint_weight: float = 0.0,
                   side_weights: str = "equal", teacher: str = "deepest",
                   where: str = "everywhere") -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """losses.dsd_loss, fast: the same arguments, terms and gradients.

    Entries of `outputs` may be any losses.heads.Head. Sums are float64; logits in half precision
    are widened piece by piece. It can be differentiated once. The KL of other teachers, weights
    or voxels than the published ones is computed as losses.dsd_loss does, at its cost.

    Raises:
        KeyError: `distil` is not a key of DISTIL.
        ValueError: a label on the CPU is outside 0..K-1, or `hint_weight` is above 0 and there
            are no hints; on CUDA, heads that are not of the label's size.
    """
    published = is_published(side_weights, teacher, where)
    weights = weights_by_name(outputs, side_weights)
    heads, names, plan = _plan(outputs, temperature, include_background,
                               distil if published else "none", detach_teacher,
                               supervise_encoder, weights)
    if triton_ops.can_take(heads, label):
        total, values = triton_ops.terms(heads, label, plan, alpha)
    else:
        _check_label(label, num_classes_of(heads[0]))
        values = _Terms.apply(label, plan, *(tensor for head in heads for tensor in _flat(head)))
        supervised, distilled = values.split([plan.num_supervised, len(plan.branches)])
        total = supervised.sum() + alpha * distilled.sum()
    terms = dict(zip(names, values.unbind(), strict=True))
    if side_weights != "equal":  # so that there is no KL among the terms
        total = sum(weights[name.removeprefix("dice_ce_")] * term for name, term in terms.items())
    branches = [branch for branch in DISTIL[distil] if outputs.get(branch)]
    if not published and branches:
        kl = taught_terms(outputs, label, branches, temperature, include_background,
                          detach_teacher=detach_teacher, side_weights=side_weights,
                          teacher=teacher, where=where)
        total, terms = total + alpha * sum(kl.values()), terms | kl
    if hint_weight > 0:
        hints = hint_terms(outputs, detach_teacher)
        total, terms = total + hint_weight * sum(hints.values()), terms | hints
    return total, terms


def _plan(outputs: dict[str, Any], temperature: float, include_background: bool, distil: str,
          detach_teacher: bool, supervise_encoder: bool,
          weights: dict[str, float]) -> tuple[list[Head], list[str], Plan]:
    """The heads that take part, the names of the terms and who has which."""
    branches = {"dec": list(outputs.get("dec", [])), "enc": list(outputs.get("enc", []))}
    with_kl = [branch for branch in DISTIL[distil] if branches[branch]]
    if not supervise_encoder and "enc" not in with_kl:
        branches["enc"] = []
    heads, slices = [outputs["out"]], {}
    names = ["out"]
    for branch, entries in branches.items():
        slices[branch] = slice(len(heads), len(heads) + len(entries))
        heads += entries
        names += [f"{branch}{len(entries) - i if branch == 'dec' else i + 1}"
                  for i in range(len(entries))]
    num_supervised = len(heads) if supervise_encoder else 1 + len(branches["dec"])
    plan = Plan(slice(0, num_supervised), tuple(slices[branch] for branch in with_kl),
                temperature, 0 if include_background else 1, detach_teacher)
    # Heads that receive no loss get gradient None, not zeros: AdamW would decay them.
    without_kl = {slices[branch].stop - 1 for branch in with_kl
                  if detach_teacher or len(branches[branch]) == 1}
    for index, name in enumerate(names):
        is_supervised = index < num_supervised
        if is_supervised and weights[name] == 0 or not is_supervised and index in without_kl:
            heads[index] = _detached(heads[index])
    terms = [f"dice_ce_{name}" for name in names[:num_supervised]]
    return heads, terms + [f"kl_{branch}" for branch in with_kl], plan


class _Terms(torch.autograd.Function):
    """All terms at once, (S + branches,), of heads given as three tensors each; see _flat."""

    @staticmethod
    def forward(ctx: Any, label: torch.Tensor, plan: Plan,
                *tensors: torch.Tensor | None) -> torch.Tensor:
        heads = _heads(tensors)
        with _no_autocast(label.device):
            sums = _way(heads, label).sums(heads, label, plan)
        ctx.save_for_backward(label, *tensors)
        ctx.plan, ctx.sums = plan, sums
        wide = torch.float64 if tensors[0].dtype == torch.float64 else torch.float32
        return sums.terms(plan, label.numel()).to(wide)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        label, *tensors = ctx.saved_tensors
        slopes = Slopes.of(ctx.sums, ctx.plan, label.numel(), upstream)
        heads, needs = _heads(tensors), ctx.needs_input_grad[2:]
        needed = [any(needs[i:i + 3]) for i in range(0, len(needs), 3)]
        with _no_autocast(label.device):
            grads = _way(heads, label).gradients(heads, label, ctx.plan, slopes, needed)
        flat = [grad for head in grads for grad in (*(head or ()), None, None, None)[:3]]
        return None, None, *(grad.to(tensor.dtype) if need and grad is not None else None
                             for grad, tensor, need in zip(flat, tensors, needs, strict=True))


def _no_autocast(device: torch.device) -> AbstractContextManager:
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def _way(heads: list[Head], label: torch.Tensor) -> ModuleType:
    return cpu_passes if cpu_passes.can_take(heads, label) else torch_passes


def _flat(head: Head) -> tuple[torch.Tensor | None, ...]:
    """Three tensors of a head, the last two None where its logits are whole."""
    return (*tensors_of(head), None, None)[:3]


def _heads(tensors: tuple[torch.Tensor | None, ...]) -> list[Head]:
    return [tensors[i] if tensors[i + 1] is None else tuple(tensors[i:i + 3])
            for i in range(0, len(tensors), 3)]


def _detached(head: Head) -> Head:
    return (head.detach() if isinstance(head, torch.Tensor)
            else tuple(tensor.detach() for tensor in head))


def _check_label(label: torch.Tensor, num_classes: int) -> None:
    """On the CPU, where looking at values costs no waiting."""
    if label.device.type != "cpu":
        return
    low, high = label.amin().item(), label.amax().item()
    if low < 0 or high >= num_classes:
        raise ValueError(f"The label has values from {low:g} to {high:g}; with {num_classes} "
                         f"classes they must be 0 to {num_classes - 1}.")
