"""Atrous spatial pyramid pooling: one map at several dilations at once."""

from collections.abc import Sequence

import torch
from torch import nn

DILATIONS = (2, 4, 8)


class ASPP(nn.Module):
    """A 1x1x1 and dilated 3x3x3 convolutions and the map's mean side by side, joined by 1x1x1.

    Source: ASPP (Chen et al., DeepLab, 2017), which DeSD (MICCAI 2022) puts between encoder and
    decoder; branches and dilations are those of ShaSpec, which has the same encoder. DeepLab's
    dilations 6, 12 and 18 would read little but padding here: the map of a 192 x 192 x 64 crop has
    6 x 6 x 4 voxels.

    Differs from ShaSpec: the mean, which is the same in all voxels, has no norm of its own and
    joins the others after their norm. An instance norm removes what all voxels share, so the
    branch would have no effect.

    Args:
        channels: of the map, of every branch and of the result.
        dilations: one 3x3x3 branch each.
    """

    def __init__(self, channels: int, dilations: Sequence[int] = DILATIONS):
        super().__init__()
        self.branches = nn.ModuleList(
            [conv_norm_act(channels, channels, 1),
             *(conv_norm_act(channels, channels, 3, dilation) for dilation in dilations)])
        self.join = nn.Conv3d(len(self.branches) * channels, channels, 1, bias=False)
        self.norm = nn.InstanceNorm3d(channels, affine=True)
        self.pooled = nn.Sequential(nn.Conv3d(channels, channels, 1, bias=False), _act(),
                                    nn.Conv3d(channels, channels, 1, bias=False))
        self.act = _act()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, D, H, W) -> the same shape."""
        joined = self.join(torch.cat([branch(features) for branch in self.branches], dim=1))
        pooled = self.pooled(features.mean(dim=(2, 3, 4), keepdim=True))
        return self.act(self.norm(joined) + pooled)


def conv_norm_act(in_channels: int, out_channels: int, kernel_size: int,
                  dilation: int = 1) -> nn.Sequential:
    """A convolution that keeps the size and has no bias, instance norm, leaky ReLU (0.01)."""
    conv = nn.Conv3d(in_channels, out_channels, kernel_size, dilation=dilation, bias=False,
                     padding=dilation * (kernel_size // 2))
    return nn.Sequential(conv, nn.InstanceNorm3d(out_channels, affine=True), _act())


def _act() -> nn.LeakyReLU:
    return nn.LeakyReLU(0.01, inplace=True)
