"""Hints: a level's feature map as one pooled vector."""

import torch

from .side_head import SideHead

HINT_WIDTH = 128


class HintHead(SideHead):
    """Side head to 128 channels, averaged over all voxels of its full-resolution output.

    The average is linear in the feature map, and a transposed convolution whose kernel equals its
    stride writes each output voxel once: the mean of its output is the mean of its kernel over
    positions, applied to the mean of its input, plus the bias. So the average is exact and the
    (B, 128, H, W, D) volume is never computed.

    Source: the L2 between feature maps of the DSD papers' ablation.

    Differs from the authors' code: theirs computes the volume and pools it, with the same result,
    and only for UNETR.

    Args:
        in_channels: channels of the feature map.
        scale: input size over feature size, per axis.
        width: channels of the vector.
    """

    def __init__(self, in_channels: int, scale: tuple[int, int, int], width: int = HINT_WIDTH):
        super().__init__(in_channels, width, scale)

    def forward(self, feature: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w, d) -> (B, width)."""
        pooled = self.project(feature.mean(dim=(2, 3, 4), keepdim=True)).flatten(1)
        kernel = self.upsample.weight.mean(dim=(2, 3, 4))  # (in, out)
        for _ in range(self.repeats):
            pooled = pooled @ kernel + self.upsample.bias
        return pooled
