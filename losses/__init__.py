"""From logits to one scalar: pure functions, and the same as torchmanager losses."""

from .dice_ce import dice_ce
from .distillation import pixelwise_kl
from .dsd import dsd_loss
from .managed import DiceCELoss, DSDLoss, RunningLoss

__all__ = ["DSDLoss", "DiceCELoss", "RunningLoss", "dice_ce", "dsd_loss", "pixelwise_kl"]
