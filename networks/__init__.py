"""From images (B, C, H, W, D) to logits and side outputs."""

from .levels import LevelledNetwork
from .registry import NETWORKS, build_network
from .side_head import SideHead
from .side_outputs import Level, SideOutputs

__all__ = ["NETWORKS", "Level", "LevelledNetwork", "SideHead", "SideOutputs", "build_network"]
