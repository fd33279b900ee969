"""LARS: gradient descent with a rate of its own for each tensor (You et al., arXiv:1708.03888)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer


class LARS(Optimizer):
    """Momentum descent whose steps are `eta` times as long as the tensor itself, times the rate.

    For a tensor w of two dimensions or more, with gradient g and weight decay d,

        u = g + d * w;  u <- u * eta * |w| / |u|;  v <- momentum * v + u;  w <- w - lr * v

    where a zero norm leaves u unscaled. 1-D tensors (biases, norms) get neither decay nor
    scaling. Tensors without a gradient are skipped: no decay, no momentum. Nothing waits for the
    device.

    Args:
        params: tensors or parameter groups.
        lr: rate, at least 0.
        weight_decay: d, at least 0.
        momentum: at least 0.
        eta: trust coefficient, above 0.

    Raises:
        ValueError: values out of range, all of them in one message.
    """

    def __init__(self, params: Iterable[Any], lr: float, weight_decay: float = 0.0,
                 momentum: float = 0.9, eta: float = 0.001):
        values = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "eta": eta}
        problems = [f"{name} must be at least 0, got {values[name]}"
                    for name in ("lr", "weight_decay", "momentum") if not values[name] >= 0]
        if not eta > 0:
            problems.append(f"eta must be above 0, got {eta}")
        if problems:
            raise ValueError(f"LARS: {'; '.join(problems)}.")
        super().__init__(params, values)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step over all groups; returns what `closure` returns, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if weights:
                self._step(weights, group)
        return loss

    def _step(self, weights: list[torch.Tensor], group: dict[str, Any]) -> None:
        adapted = [w for w in weights if w.ndim != 1]
        updates = scaled_gradients(adapted, group["weight_decay"], group["eta"])
        plain = [w for w in weights if w.ndim == 1]
        updates += [w.grad for w in plain]
        weights = adapted + plain
        for w in weights:
            if "momentum_buffer" not in self.state[w]:
                self.state[w]["momentum_buffer"] = torch.zeros_like(w)
        velocities = [self.state[w]["momentum_buffer"] for w in weights]
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, updates)
        torch._foreach_add_(weights, velocities, alpha=-group["lr"])


def scaled_gradients(weights: list[torch.Tensor], weight_decay: float,
                     eta: float) -> list[torch.Tensor]:
    """Decayed gradients, each scaled to eta times its weight's norm; unscaled at a zero norm."""
    if not weights:
        return []
    updates = list(torch._foreach_add([w.grad for w in weights], weights, alpha=weight_decay))
    weight_norms = torch.stack(torch._foreach_norm(weights))
    update_norms = torch.stack(torch._foreach_norm(updates))
    both = (weight_norms > 0) & (update_norms > 0)
    ratios = torch.where(both, eta * weight_norms / update_norms, 1.0)
    torch._foreach_mul_(updates, list(ratios.unbind()))
    return updates
