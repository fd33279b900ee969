"""The score that chooses the best checkpoint."""

from collections.abc import Sequence

import torch
from torchmanager.metrics import Metric


def foreground_dice(label_map: torch.Tensor, label: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Dice of each foreground class of one case; a class absent from both counts as 1.

    Differs from the authors' code: there a case that lacks one class makes the mean NaN, and the
    best checkpoint is then never written.

    Args:
        label_map: (1, 1, H, W, D) integers.
        label: (1, 1, H, W, D) integers.
        num_classes: K, background included.

    Returns:
        (K - 1,) float32, on the inputs' device.
    """
    pairs = label.long().flatten() * num_classes + label_map.long().flatten()
    confusion = torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)
    overlap = confusion.diagonal()[1:].float()
    size = (confusion.sum(0) + confusion.sum(1))[1:].float()
    return torch.where(size > 0, 2 * overlap / size.clamp(min=1), torch.ones_like(size))


class ValidationDice(Metric):
    """Running mean of `foreground_dice` over cases, kept on the device until it is read."""

    def __init__(self, class_names: tuple[str, ...]):
        super().__init__()
        self.class_names = class_names
        self.reset()

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Dice per foreground class of one case."""
        return foreground_dice(input, target, len(self.class_names))

    def record(self, m: torch.Tensor) -> None:
        """Keep one case's values, on its device."""
        self._cases.append(m.detach())

    def reset(self) -> None:
        """Start a new mean."""
        self._cases: list[torch.Tensor] = []

    @property
    def result(self) -> torch.Tensor:
        """Mean over cases and foreground classes; NaN before the first case."""
        return torch.stack(self._cases).mean() if self._cases else torch.tensor(torch.nan)

    @property
    def cases(self) -> list[list[float]]:
        """Dice of each foreground class, for each case since the last reset; waits for them."""
        return torch.stack(self._cases).tolist() if self._cases else []


def mean_dice(cases: Sequence[Sequence[float]], class_names: Sequence[str]) -> dict[str, float]:
    """"dice", the mean over cases and foreground classes, and "dice_<class name>" over cases.

    Args:
        cases: as `ValidationDice.cases`, one at least.
        class_names: background first.
    """
    values = torch.tensor(cases)
    per_class = zip(class_names[1:], values.mean(0).tolist(), strict=True)
    return {"dice": float(values.mean())} | {f"dice_{name}": mean for name, mean in per_class}
