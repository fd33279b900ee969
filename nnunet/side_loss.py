"""The loss of the trainers: nnU-Net's own on the main output, DSD's on the side outputs."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..losses import DSDLoss
from .network import as_volume


class SideLoss(DSDLoss):
    """DSDLoss without the Dice-CE of the main output, which stays among the terms."""

    def terms(self, outputs, target):
        """See DSDLoss."""
        total, terms = super().terms(outputs, target)
        return total - terms["dice_ce_out"], terms


class MainAndSideLoss(nn.Module):
    """nnU-Net's loss of the main output plus DSD's of the side outputs, where there are any.

    Args:
        main: (logits, label) -> scalar.
        side: its running terms are those of the steps with side outputs.
    """

    def __init__(self, main: nn.Module, side: SideLoss):
        super().__init__()
        self.main, self.side = main, side

    def forward(self, outputs: Sequence[Any], targets: Sequence[torch.Tensor]) -> torch.Tensor:
        """What NetworkWithHeads returned, and a list with the label (B, 1, ...), to a scalar."""
        logits, *sides = outputs
        total = self.main(logits, targets[0])
        if not sides:
            return total
        decoder, encoder = sides
        given = {"out": as_volume(logits), "dec": decoder, "enc": encoder}
        return total + self.side(given, as_volume(targets[0]))
