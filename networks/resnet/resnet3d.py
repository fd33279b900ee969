"""The 3D ResNet encoder of DeSD: images (B, C, D, H, W) to five feature maps."""


import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool3d

from ..deterministic import MaxPool3d

STEM_WIDTH = 64
PLANES = (64, 128, 256, 512)
"""Channels of the 3x3x3 convolutions, per stage."""


class BasicBlock(nn.Module):
    """Two 3x3x3 convolutions and a shortcut, for depths 10, 18 and 34.

    Args:
        project: whether the shortcut is a 1x1x1 convolution and a norm instead of the identity.
    """

    expansion = 1

    def __init__(self, in_channels: int, planes: int, stride: int, project: bool):
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, planes, 3, stride, padding=1, bias=False)
        self.norm1 = _norm(planes)
        self.conv2 = nn.Conv3d(planes, planes, 3, padding=1, bias=False)
        self.norm2 = _norm(planes)
        self.nonlin = _nonlin()
        self.downsample = None
        if project:
            self.downsample = _projection(in_channels, planes, stride)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        out = self.nonlin(self.norm1(self.conv1(maps)))
        out = self.norm2(self.conv2(out))
        if self.downsample is not None:
            maps = self.downsample(maps)
        return self.nonlin(out + maps)


class Bottleneck(nn.Module):
    """1x1x1, 3x3x3 with the stride, 1x1x1 convolution and a shortcut, for depths from 50.

    Args:
        project: whether the shortcut is a 1x1x1 convolution and a norm instead of the identity.
    """

    expansion = 4

    def __init__(self, in_channels: int, planes: int, stride: int, project: bool):
        super().__init__()
        width = planes * self.expansion
        self.conv1 = nn.Conv3d(in_channels, planes, 1, bias=False)
        self.norm1 = _norm(planes)
        self.conv2 = nn.Conv3d(planes, planes, 3, stride, padding=1, bias=False)
        self.norm2 = _norm(planes)
        self.conv3 = nn.Conv3d(planes, width, 1, bias=False)
        self.norm3 = _norm(width)
        self.nonlin = _nonlin()
        self.downsample = None
        if project:
            self.downsample = _projection(in_channels, width, stride)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        out = self.nonlin(self.norm1(self.conv1(maps)))
        out = self.nonlin(self.norm2(self.conv2(out)))
        out = self.norm3(self.conv3(out))
        if self.downsample is not None:
            maps = self.downsample(maps)
        return self.nonlin(out + maps)


STAGES = {10: (BasicBlock, (1, 1, 1, 1)), 18: (BasicBlock, (2, 2, 2, 2)),
          34: (BasicBlock, (3, 4, 6, 3)), 50: (Bottleneck, (3, 4, 6, 3)),
          101: (Bottleneck, (3, 4, 23, 3)), 152: (Bottleneck, (3, 8, 36, 3)),
          200: (Bottleneck, (3, 24, 36, 3))}
"""Depth to the kind of block and the number of blocks in each stage."""

DEPTHS = tuple(STAGES)


class ResNet3D(nn.Module):
    """A residual encoder of 3D convolutions (DeSD, MICCAI 2022).

    Convolutions have no bias, norms are instance norms with weight and bias, the activation is a
    leaky ReLU of slope 0.01. The first block of every stage projects its shortcut, the first
    stage of a basic ResNet included, where width and size stay the same. Weights start as torch
    makes them. Names and order of the state dict are the authors'.

    Differs from the authors' code: returns the feature maps, where theirs returns pooled vectors
    (`pooled` gives those); an initialiser that theirs defines and never calls is left out.

    Args:
        depth: a member of DEPTHS.
        in_channels: channels of the images.

    Attributes:
        widths: channels of the five maps.

    Raises:
        ValueError: a depth that is not known.
    """

    def __init__(self, depth: int, in_channels: int = 1):
        super().__init__()
        if depth not in STAGES:
            raise ValueError(f"Unknown depth {depth!r} of a 3D ResNet; known: "
                             f"{', '.join(map(str, DEPTHS))}.")
        block, counts = STAGES[depth]
        self.depth = depth
        self.widths = (STEM_WIDTH, *(planes * block.expansion for planes in PLANES))
        self.conv1 = nn.Conv3d(in_channels, STEM_WIDTH, 7, (1, 2, 2), padding=3, bias=False)
        self.norm1 = _norm(STEM_WIDTH)
        self.nonlin = _nonlin()
        self.maxpool = MaxPool3d(3, 2, padding=1)
        stem, first, second, third, _ = self.widths
        self.layer1 = _stage(block, stem, PLANES[0], counts[0], stride=1)
        self.layer2 = _stage(block, first, PLANES[1], counts[1], stride=2)
        self.layer3 = _stage(block, second, PLANES[2], counts[2], stride=2)
        self.layer4 = _stage(block, third, PLANES[3], counts[3], stride=2)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Feature maps, fine to coarse.

        Args:
            images: (B, C, D, H, W), any size that leaves more than one voxel in the last map.

        Returns:
            Five maps, of `widths` channels: stem (D, H/2, W/2), before the max pooling; layer1
            (D/2, H/4, W/4), layer2 (D/4, H/8, W/8), layer3 (D/8, H/16, W/16) and layer4
            (D/16, H/32, W/32), every halving rounded up.

        Raises:
            ValueError: one voxel is left, up to 16x32x32: its norm has no variance to divide by.
        """
        maps = [self.nonlin(self.norm1(self.conv1(images)))]
        out = self.maxpool(maps[0])
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            out = stage(out)
            maps.append(out)
        return maps


def resnet3d(depth: int, in_channels: int = 1) -> ResNet3D:
    """The encoder of one depth.

    Raises:
        ValueError: a depth that is not in DEPTHS.
    """
    return ResNet3D(depth, in_channels)


def pooled(maps: list[torch.Tensor]) -> list[torch.Tensor]:
    """Mean over the voxels of each map: (B, w, D, H, W) to (B, w)."""
    return [adaptive_avg_pool3d(features, 1).flatten(1) for features in maps]


def _stage(block: type[BasicBlock] | type[Bottleneck], in_channels: int, planes: int, count: int,
           stride: int) -> nn.Sequential:
    width = planes * block.expansion
    return nn.Sequential(block(in_channels, planes, stride, project=True),
                         *(block(width, planes, 1, project=False) for _ in range(count - 1)))


def _projection(in_channels: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(in_channels, width, 1, stride, bias=False), _norm(width))


def _norm(channels: int) -> nn.InstanceNorm3d:
    return nn.InstanceNorm3d(channels, eps=1e-5, affine=True)


def _nonlin() -> nn.LeakyReLU:
    return nn.LeakyReLU(0.01, inplace=True)
