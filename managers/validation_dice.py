"""The score that chooses the best checkpoint."""

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
    def per_class(self) -> dict[str, float]:
        """Mean over cases, by class name."""
        if not self._cases:
            return {}
        means = torch.stack(self._cases).mean(0).tolist()
        return dict(zip(self.class_names[1:], means, strict=True))
