"""The losses as torchmanager sees them: called as loss(outputs, label), with a running mean."""

import torch
from torchmanager.losses import Loss

from .dsd import Outputs, dsd_loss


class RunningLoss(Loss):
    """A torchmanager loss whose running mean and terms stay on the device until they are read.

    torchmanager's own `record` copies every value to the CPU, which waits for the GPU at each
    step; this one adds on the device.
    """

    def __init__(self):
        super().__init__()
        self.reset()

    def terms(self, outputs: Outputs,
              label: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The total and its named terms; what a subclass implements."""
        raise NotImplementedError

    def forward(self, input: Outputs, target: torch.Tensor) -> torch.Tensor:
        """Total loss of `outputs` (dict in training, logits in evaluation) against the label."""
        total, terms = self.terms(input, target)
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach()
        return total

    def record(self, m: torch.Tensor) -> None:
        """Add one step's total to the running mean, on its device."""
        self._sums["loss"] = self._sums.get("loss", 0) + m.detach()
        self._steps += 1

    def reset(self) -> None:
        """Start a new running mean."""
        self._sums: dict[str, torch.Tensor] = {}
        self._steps = 0

    @property
    def result(self) -> torch.Tensor:
        """Mean total since the last reset, a scalar on the device; NaN before the first step."""
        return self._sums["loss"] / self._steps if self._steps else torch.tensor(torch.nan)

    @property
    def mean_terms(self) -> dict[str, float]:
        """Mean of each term since the last reset. Waits for the device: read it seldom."""
        return {name: float(value) / self._steps
                for name, value in self._sums.items() if name != "loss"}


class DiceCELoss(RunningLoss):
    """Dice-CE on the main output alone: training without distillation."""

    def terms(self, outputs, label):
        """Dice-CE of "out"; see losses.dice_ce."""
        logits = outputs["out"] if isinstance(outputs, dict) else outputs
        return dsd_loss(logits, label)


class DSDLoss(RunningLoss):
    """The dual self-distillation loss; see losses.dsd_loss.

    Args:
        alpha: weight of the KL terms, at least 0.
        temperature: T of teacher and students, above 0.
        include_background: whether class 0 takes part in the KL terms.

    Raises:
        ValueError: alpha or temperature out of range.
    """

    def __init__(self, alpha: float = 1.0, temperature: float = 3.0,
                 include_background: bool = True):
        if not (alpha >= 0 and temperature > 0):
            raise ValueError(f"DSD: alpha must be at least 0 and temperature above 0, "
                             f"got {alpha} and {temperature}.")
        super().__init__()
        self.alpha = alpha
        self.temperature = temperature
        self.include_background = include_background

    def terms(self, outputs, label):
        """Dice-CE per output and KL per branch; see losses.dsd_loss."""
        return dsd_loss(outputs, label, self.alpha, self.temperature, self.include_background)
