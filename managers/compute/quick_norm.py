"""Instance norms that a CPU evaluates faster."""

import torch
from torch import nn
from torch.nn.functional import group_norm


class QuickInstanceNorm3d(nn.InstanceNorm3d):
    """An instance norm that a CPU computes, in evaluation, as a group norm of one channel a group.

    The same up to rounding in half the time; it saves a tenth of nnU-Net's forward pass. Training
    is unchanged.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W, D) -> the same."""
        is_plain = input.ndim == 5 and not self.track_running_stats
        if self.training or input.device.type != "cpu" or not is_plain:
            return super().forward(input)
        return group_norm(input, input.shape[1], self.weight, self.bias, self.eps)


def quicken_norms(network: nn.Module) -> None:
    """Make every plain InstanceNorm3d of a network a quick one, weights and names unchanged."""
    for module in network.modules():
        if type(module) is nn.InstanceNorm3d:  # a subclass may have its own forward
            module.__class__ = QuickInstanceNorm3d
