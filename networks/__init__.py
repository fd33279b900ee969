"""From images (B, C, H, W, D) to logits and side outputs."""

from .dsd.any_network import find_levels, with_side_outputs
from .dsd.hint_head import HintHead
from .dsd.levels import LevelledNetwork
from .dsd.side_head import UPSAMPLINGS, LastStep, SideHead
from .dsd.side_outputs import Level, SideOutputs
from .registry import NETWORKS, build_network
from .resnet.desd import ARCHS, DeSDStudent, DeSDTeacher, build_desd, start_teacher
from .resnet.projection_head import ProjectionHead
from .resnet.resnet3d import DEPTHS, ResNet3D, pooled, resnet3d
from .weights.initial_weights import load_encoder_weights, start_from
from .weights.transfer import TransferReport, transfer_weights
from .weights.weight_files import read_weights

__all__ = ["ARCHS", "DEPTHS", "NETWORKS", "UPSAMPLINGS", "DeSDStudent", "DeSDTeacher", "HintHead",
           "LastStep", "Level", "LevelledNetwork", "ProjectionHead", "ResNet3D", "SideHead",
           "SideOutputs", "TransferReport", "build_desd", "build_network", "find_levels",
           "load_encoder_weights", "pooled", "read_weights", "resnet3d",
           "start_from", "start_teacher", "transfer_weights", "with_side_outputs"]
