"""Layers whose backward pass torch sums in no fixed order on GPUs.

Under torch.use_deterministic_algorithms they compute the same values in another way.
"""

from itertools import product

import torch
from torch import nn
from torch.nn.functional import interpolate, pad


def is_asked_for(images: torch.Tensor) -> bool:
    """Whether to compute in the deterministic way."""
    return images.is_cuda and torch.are_deterministic_algorithms_enabled()


class MaxPool3d(nn.MaxPool3d):
    """torch's max pooling, deterministic on request."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W, D) -> the same, pooled."""
        if not is_asked_for(features):
            return super().forward(features)
        return max_pool3d(features, self.kernel_size, self.stride, self.padding)


class Trilinear(nn.Upsample):
    """torch's trilinear upsampling, deterministic on request.

    Args:
        scale: output size over input size, whole numbers, per axis.
        align_corners: as in torch.nn.functional.interpolate.
    """

    def __init__(self, scale: tuple[int, int, int], align_corners: bool):
        super().__init__(scale_factor=scale, mode="trilinear", align_corners=align_corners)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w, d) -> (B, C, h * scale, w * scale, d * scale)."""
        if not is_asked_for(features):
            return super().forward(features)
        return trilinear(features, self.scale_factor, self.align_corners)


def max_pool3d(features: torch.Tensor, kernel: int, stride: int, padding: int) -> torch.Tensor:
    """Max pooling of (B, C, H, W, D) from one strided view for each voxel of the kernel.

    Memory: the size of the result times the number of voxels in the kernel.
    """
    padded = pad(features, (padding,) * 6, value=-torch.inf)
    height, width, depth = [stride * ((size - kernel) // stride) + 1 for size in padded.shape[2:]]
    views = [padded[:, :, i:i + height:stride, j:j + width:stride, k:k + depth:stride]
             for i, j, k in product(range(kernel), repeat=3)]
    return torch.stack(views).max(0).values


def trilinear(features: torch.Tensor, scale: tuple[int, int, int],
              align_corners: bool) -> torch.Tensor:
    """Trilinear upsampling of (B, C, h, w, d) as a matrix product along each axis."""
    for axis, factor in enumerate(scale, start=2):
        if factor != 1:
            size = features.shape[axis]
            weights = interpolate(torch.eye(size, device=features.device)[None],
                                  scale_factor=factor, mode="linear",
                                  align_corners=align_corners)[0].to(features.dtype)
            features = (features.movedim(axis, -1) @ weights).movedim(-1, axis)
    return features
