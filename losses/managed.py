"""The losses as torchmanager sees them: called as loss(outputs, label), with a running mean."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torchmanager.losses import Loss

from .boundary import boundary_loss
from .dice_ce import dice_ce
from .dsd import DISTIL, Outputs, dsd_loss
from .fused.loss import fused_dsd_loss
from .heads import whole_logits
from .teachers import SIDE_WEIGHTS, TEACHERS, WHERE

Target = torch.Tensor | dict[str, torch.Tensor]
"""A label (B, 1, H, W, D), or {"label": ..., "dist_map": (B, K, H, W, D)}; the map is optional."""


def split_target(target: Target) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The label and the distance maps, None where there are none."""
    if isinstance(target, dict):
        return target["label"], target.get("dist_map")
    return target, None


def refuse_out_of_range(loss: str, checks: Iterable[tuple[bool, str]]) -> None:
    """Raise a ValueError that names every problem of the (holds, problem) pairs, if any."""
    problems = [problem for holds, problem in checks if not holds]
    if problems:
        raise ValueError(f"{loss}: {'; '.join(problems)}.")


class RunningLoss(Loss):
    """A torchmanager loss that adds up its total and terms on the device until they are read.

    torchmanager's own `record` copies every value to the CPU, which waits for the GPU.

    Attributes:
        step_weight: of the following steps in the means. Where several processes share each
            batch, it is this one's share over an equal share.
        last_terms: of the latest step, detached.
    """

    step_weight: float = 1.0

    def __init__(self):
        super().__init__()
        self.reset()

    def terms(self, outputs: Outputs,
              target: Target) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The total and its named terms; what a subclass implements."""
        raise NotImplementedError

    def forward(self, input: Outputs, target: Target) -> torch.Tensor:
        """Total loss of `input` (dict in training, logits in evaluation) against the target."""
        total, terms = self.terms(input, target)
        self.last_terms = {name: value.detach() for name, value in terms.items()}
        return total

    def record(self, m: torch.Tensor) -> None:
        """Add one step's total and its terms to the sums, all in one kernel on a GPU."""
        values = {"loss": m.detach()} | self.last_terms
        new = list(values.values())
        if self.step_weight != 1:
            new = torch._foreach_mul(new, self.step_weight)
        new = dict(zip(values, new, strict=True))
        known = [name for name in values if name in self._sums]
        if known:
            sums = torch._foreach_add([self._sums[name] for name in known],
                                      [new[name] for name in known])
            new |= dict(zip(known, sums, strict=True))
        self._sums |= new
        self._steps += self.step_weight

    def reset(self) -> None:
        """Start a new running mean."""
        self._sums: dict[str, torch.Tensor] = {}
        self.last_terms: dict[str, torch.Tensor] = {}
        self._steps: float = 0

    @property
    def running(self) -> dict[str, Any]:
        """The sums and the weight of the steps since the last reset, for another run."""
        return {"sums": dict(self._sums), "steps": self._steps}

    def go_on(self, running: dict[str, Any], device: torch.device) -> None:
        """Continue from what `running` was."""
        self._sums = {name: value.to(device) for name, value in running["sums"].items()}
        self._steps = running["steps"]

    @property
    def result(self) -> torch.Tensor:
        """Mean total since the last reset, a scalar on the device; NaN before the first step."""
        if self._steps == 0:
            return torch.tensor(torch.nan)
        return self._sums["loss"] / self._steps

    def means(self, average: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, float]:
        """Mean total ("loss") and terms over the steps since the last reset, one at least.

        Waits for the device.

        Args:
            average: over the processes that share the steps, of a vector.
        """
        sums = [value.double() for value in self._sums.values()]
        *totals, steps = average(torch.stack([*sums, sums[0].new_tensor(self._steps)])).tolist()
        means = {"loss": 0.0}  # the first column of the record
        for name, total in zip(self._sums, totals, strict=True):
            means[name] = total / steps
        return means

    @property
    def mean_terms(self) -> dict[str, float]:
        """Mean of each term since the last reset. Waits for the device: read it seldom."""
        return {name: float(value) / self._steps
                for name, value in self._sums.items() if name != "loss"}


class DiceCELoss(RunningLoss):
    """Dice-CE on the main output alone: training without distillation."""

    def terms(self, outputs, target):
        """Dice-CE of "out"; see losses.dice_ce. Distance maps are not read."""
        if isinstance(outputs, dict):
            outputs = outputs["out"]
        label, _ = split_target(target)
        total = dice_ce(outputs, label)
        return total, {"dice_ce_out": total}


class DSDLoss(RunningLoss):
    """The dual self-distillation loss, with shape priors on request; see losses.dsd_loss.

    Shape priors add `boundary_weight` times the boundary losses of the main output and of every
    decoder output but the last: main, dec4, dec3, dec2, as in SelfDistillSeg, which has no dec1.
    In evaluation the term is that of the main output, or absent without distance maps.

    Attributes:
        boundary_weight: None without shape priors; otherwise to be set anew in each epoch, see
            losses.boundary_weight.
        kl_share: of `alpha` that counts, from 0 to 1; managers.callbacks.KLRamp raises it.
        options: of losses.dsd_loss, besides alpha.

    Args: as of losses.dsd_loss, and boundary_weight.

    Raises:
        ValueError: values out of range, all of them in one message.
    """

    def __init__(self, alpha: float = 1.0, temperature: float = 3.0,
                 include_background: bool = True, *, distil: str = "both",
                 detach_teacher: bool = False, supervise_encoder: bool = False,
                 hint_weight: float = 0.0, side_weights: str = "equal",
                 teacher: str = "deepest", where: str = "everywhere",
                 boundary_weight: float | None = None):
        refuse_out_of_range("DSD", [
            (0 <= alpha < math.inf, f"alpha must be at least 0, got {alpha}"),
            (0 < temperature < math.inf, f"temperature must be above 0, got {temperature}"),
            (distil in DISTIL, f"distil must be one of {', '.join(DISTIL)}, got {distil!r}"),
            (0 <= hint_weight < math.inf, f"hint_weight must be at least 0, got {hint_weight}"),
            (side_weights in SIDE_WEIGHTS,
             f"side_weights must be one of {', '.join(SIDE_WEIGHTS)}, got {side_weights!r}"),
            (teacher in TEACHERS,
             f"teacher must be one of {', '.join(TEACHERS)}, got {teacher!r}"),
            (where in WHERE, f"where must be one of {', '.join(WHERE)}, got {where!r}"),
            (boundary_weight is None or 0 <= boundary_weight < math.inf,
             f"boundary_weight must be None or at least 0, got {boundary_weight}"),
        ])
        super().__init__()
        self.alpha = alpha
        self.kl_share = 1.0
        self.boundary_weight = boundary_weight
        self.options = {
            "temperature": temperature, "include_background": include_background,
            "distil": distil, "detach_teacher": detach_teacher,
            "supervise_encoder": supervise_encoder, "hint_weight": hint_weight,
            "side_weights": side_weights, "teacher": teacher, "where": where}

    def terms(self, outputs, target):
        """Dice-CE per output, KL and hint per branch, and "boundary" (without its weight).

        Raises:
            ValueError: in training, shape priors without distance maps, or hints that the
                network does not give.
        """
        label, dist_map = split_target(target)
        is_training = isinstance(outputs, dict)
        function, heads = dsd_loss, [outputs]
        if is_training:
            function, heads = fused_dsd_loss, [outputs["out"], *outputs.get("dec", [])[:-1]]
        total, terms = function(outputs, label, self.alpha * self.kl_share, **self.options)
        if self.boundary_weight is not None and dist_map is not None:
            terms["boundary"] = sum(boundary_loss(whole_logits(head), dist_map) for head in heads)
            total = total + self.boundary_weight * terms["boundary"]
        elif self.boundary_weight is not None and is_training:
            raise ValueError("Shape priors need the target {\"label\": ..., \"dist_map\": ...} "
                             "in training; got a label without distance maps.")
        return total, terms
