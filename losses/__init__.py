"""From logits to one scalar: pure functions, and the same as torchmanager losses."""

from .boundary import boundary_loss, boundary_weight
from .desd import DeSDLoss, desd_loss, teacher_targets, updated_center
from .dice_ce import dice_ce
from .distillation import pixelwise_kl
from .dsd import DISTIL, dsd_loss
from .managed import DiceCELoss, DSDLoss, RunningLoss
from .teachers import SIDE_WEIGHTS, TEACHERS, WHERE

__all__ = ["DISTIL", "SIDE_WEIGHTS", "TEACHERS", "WHERE", "DSDLoss", "DeSDLoss", "DiceCELoss",
           "RunningLoss", "boundary_loss", "boundary_weight", "desd_loss", "dice_ce", "dsd_loss",
           "pixelwise_kl", "teacher_targets", "updated_center"]
