"""Optimisers of the pre-training, their parameter groups, and what happens to gradients."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from .lars import LARS

OPTIMIZERS = {
    "sgd": partial(SGD, momentum=0.9),
    "adamw": AdamW,
    "lars": partial(LARS, momentum=0.9, eta=0.001),
}
"""Name to optimiser, called with parameter groups and lr."""


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trainable tensors in two groups: those that decay, then biases and 1-D tensors, which do not.

    Frozen tensors are in neither.
    """
    decayed, undecayed = [], []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.endswith(".bias") or parameter.ndim == 1:
            undecayed.append(parameter)
        else:
            decayed.append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay},
            {"params": undecayed, "weight_decay": 0.0}]


def build_optimizer(name: str, groups: list[dict[str, Any]], lr: float) -> Optimizer:
    """An optimiser over `parameter_groups`; ValueError if OPTIMIZERS lacks the name."""
    if name not in OPTIMIZERS:
        raise ValueError(f"Unknown optimizer {name!r}; known: {', '.join(OPTIMIZERS)}.")
    return OPTIMIZERS[name](groups, lr=lr)


def set_rates(optimizer: Optimizer, lr: float, weight_decay: float) -> None:
    """Set the rate of both parameter groups, and the weight decay of the first, which decays."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.param_groups[0]["weight_decay"] = weight_decay


@torch.no_grad()
def clip_each(parameters: Iterable[torch.Tensor], limit: float) -> None:
    """Shorten every tensor's own gradient to norm `limit` where it is longer, in place.

    Each tensor by itself (DINO, ICCV 2021), not all together as in torch's clip_grad_norm_.
    Scaled gradients must be unscaled first. Nothing waits for the device.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients:
        norms = torch.stack(torch._foreach_norm(gradients))
        factors = (limit / (norms + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, list(factors.unbind()))


def drop_last_layer_gradients(student: nn.Module) -> None:
    """Remove the gradients of every head's last layer, so that the optimiser skips it.

    No step, no decay, no momentum: the prototypes stay fixed in the first epoch, when the targets
    mean little yet (DINO, ICCV 2021).
    """
    for name, parameter in student.named_parameters():
        if "last_layer" in name:
            parameter.grad = None
