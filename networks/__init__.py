"""From images (B, C, H, W, D) to logits and side outputs."""

from .any_network import find_levels, with_side_outputs
from .hint_head import HintHead
from .levels import LevelledNetwork
from .registry import NETWORKS, build_network
from .side_head import UPSAMPLINGS, SideHead
from .side_outputs import Level, SideOutputs
from .transfer import TransferReport, read_weights, transfer_weights

__all__ = ["NETWORKS", "UPSAMPLINGS", "HintHead", "Level", "LevelledNetwork", "SideHead",
           "SideOutputs", "TransferReport", "build_network", "find_levels", "read_weights",
           "transfer_weights", "with_side_outputs"]
