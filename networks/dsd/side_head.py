"""One side head: from a level's feature map to logits at the input's size."""

from typing import NamedTuple

import torch
from torch import nn

from ..deterministic import Trilinear

UPSAMPLINGS = ("shared", "single", "trilinear")


class LastStep(NamedTuple):
    """Logits before the last step, a transposed convolution with a kernel as large as its stride.

    Attributes:
        feature: (B, C, h, w, d).
        weight: (C, K, *stride), strides of 1 or 2.
        bias: (K,).
    """

    feature: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor


class SideHead(nn.Module):
    """1x1x1 convolution to the K classes, then up to full size (DSD, the authors' "DeepUp").

    `upsampling` says how:
        "shared": one 2x transposed convolution applied log2(scale) times with shared weights, as
            published, where the scale is the same power of two on every axis; any other scale
            has a single transposed convolution.
        "single": one transposed convolution with kernel and stride equal to the scale.
        "trilinear": interpolation between aligned corners, without parameters.

    Differs from the authors' code: theirs knows isotropic scales only and returns wrongly shaped
    outputs for anisotropic strides.

    Args:
        in_channels: channels of the feature map.
        num_classes: K, background included.
        scale: input size over feature size, per axis.
        upsampling: one of UPSAMPLINGS.
    """

    def __init__(self, in_channels: int, num_classes: int, scale: tuple[int, int, int],
                 upsampling: str = "shared"):
        assert upsampling in UPSAMPLINGS, upsampling
        super().__init__()
        self.project = nn.Conv3d(in_channels, num_classes, kernel_size=1)
        if upsampling == "trilinear":
            self.repeats = 1
            self.upsample = Trilinear(scale, align_corners=True)
            return
        kernel, self.repeats = (scale, 1) if upsampling == "single" else _shared(scale)
        self.upsample = nn.ConvTranspose3d(num_classes, num_classes, kernel_size=kernel,
                                           stride=kernel)

    def forward(self, feature: torch.Tensor, whole: bool = True) -> torch.Tensor | LastStep:
        """(B, C, h, w, d) -> logits (B, K, h*scale, w*scale, d*scale).

        Unless `whole`, what a last step makes them of, where a loss can take that step piece by
        piece: a transposed convolution of stride 1 or 2 per axis.
        """
        if whole or not isinstance(self.upsample, nn.ConvTranspose3d):
            return self._upsampled(feature, self.repeats)
        if max(self.upsample.stride) == 1:
            return self._only_step(feature)
        if max(self.upsample.stride) == 2:
            return LastStep(self._upsampled(feature, self.repeats - 1), self.upsample.weight,
                            self.upsample.bias)
        return self._upsampled(feature, self.repeats)

    def _upsampled(self, feature: torch.Tensor, times: int) -> torch.Tensor:
        logits = self.project(feature)
        for _ in range(times):
            logits = self.upsample(logits)
        return logits

    def _only_step(self, feature: torch.Tensor) -> LastStep:
        """At full size both convolutions are 1x1x1: one matrix after the other, so one matrix."""
        first, second = self.project.weight.flatten(1), self.upsample.weight.flatten(1)  # KC, KK
        weight = (first.T @ second)[..., None, None, None]
        return LastStep(feature, weight, self.project.bias @ second + self.upsample.bias)


def _shared(scale: tuple[int, int, int]) -> tuple[tuple[int, int, int], int]:
    """Kernel of the transposed convolution and how often it is applied."""
    first = scale[0]
    is_power_of_two = first & (first - 1) == 0
    if first > 1 and is_power_of_two and scale == (first, first, first):
        return (2, 2, 2), first.bit_length() - 1
    return scale, 1
