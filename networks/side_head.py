"""One side head: from a level's feature map to logits at the input's size."""

import torch
from torch import nn


class SideHead(nn.Module):
    """1x1x1 convolution to the K classes, then transposed convolution up to full size.

    For a scale that is the same power of two on every axis, one 2x transposed convolution is
    applied log2(scale) times with shared weights (DSD, the authors' "DeepUp"). Any other scale
    has a single transposed convolution with kernel and stride equal to the scale.

    Differs from the authors' code: theirs knows isotropic scales only and returns wrongly shaped
    outputs for anisotropic strides.

    Args:
        in_channels: channels of the feature map.
        num_classes: K, background included.
        scale: input size over feature size, per axis.
    """

    def __init__(self, in_channels: int, num_classes: int, scale: tuple[int, int, int]):
        super().__init__()
        kernel, self.repeats = _upsampling(scale)
        self.project = nn.Conv3d(in_channels, num_classes, kernel_size=1)
        self.upsample = nn.ConvTranspose3d(num_classes, num_classes, kernel_size=kernel,
                                           stride=kernel)

    def forward(self, feature: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w, d) -> logits (B, K, h*scale, w*scale, d*scale)."""
        logits = self.project(feature)
        for _ in range(self.repeats):
            logits = self.upsample(logits)
        return logits


def _upsampling(scale: tuple[int, int, int]) -> tuple[tuple[int, int, int], int]:
    """Kernel of the transposed convolution and how often it is applied."""
    first = scale[0]
    is_power_of_two = first & (first - 1) == 0
    if first > 1 and is_power_of_two and scale == (first, first, first):
        return (2, 2, 2), first.bit_length() - 1
    return scale, 1
