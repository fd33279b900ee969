"""A U-shaped network on DeSD's encoder, with its levels named."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from ..deterministic import Trilinear
from ..dsd.levels import LevelledNetwork, check_size
from ..dsd.side_outputs import Level
from .aspp import ASPP, conv_norm_act
from .resnet3d import DEPTHS, BasicBlock, ResNet3D, resnet3d

DECODER_WIDTHS = (256, 128, 64, 32)
DIVISOR = (32, 32, 16)  # (H, W, D) of an image over that of the bottleneck
ENCODER_LEVELS = ("stem", "layer1", "layer2", "layer3")


def build_resnet_unet(depth: int, in_channels: int, num_classes: int,
                      img_size: tuple[int, int, int], skip_connection: bool = True,
                      aspp: bool = True,
                      decoder_widths: Sequence[int] = DECODER_WIDTHS) -> LevelledNetwork:
    """DeSD's encoder with a decoder; every level has its own head.

    The decoder's levels are the bottleneck (the output of the ASPP) and the up stages except the
    last, which the logits are made from; the encoder's are its maps except the last.

    Args:
        depth: of the encoder, one of DEPTHS.
        skip_connection: whether the encoder's maps are added to the decoder's.
        aspp: whether there is an ASPP between encoder and decoder.
        decoder_widths: channels of the four up stages; the first is the bottleneck's as well.

    Raises:
        ValueError: impossible options, an image size that is no multiple of (32, 32, 16), or one
            that leaves a single voxel at the bottleneck.
    """
    name = f"resnet{depth}-unet"
    widths = tuple(decoder_widths)
    problems = []
    if len(widths) != 4 or any(not isinstance(n, int) or n < 1 for n in widths):
        problems.append(f"decoder_widths {decoder_widths} must be four positive numbers")
    for option, value in (("skip_connection", skip_connection), ("aspp", aspp)):
        if not isinstance(value, bool):
            problems.append(f"{option} {value!r} must be true or false")
    if problems:
        raise ValueError(f"{name}: {'; '.join(problems)}.")
    check_size(name, img_size, DIVISOR, normed_bottleneck=True)
    encoder = resnet3d(depth, in_channels)
    scales = [(2 * n, 2 * n, n) for n in (1, 2, 4, 8, 16)]

    decoder_levels = [Level("aspp", widths[0], scales[4], head="bottleneck", read=swap_axes)]
    for i in range(3):
        decoder_levels.append(Level(f"stages.{i}", widths[i], scales[3 - i], head=f"up{i + 1}",
                                    read=swap_axes))
    encoder_levels = []
    for i, head in enumerate(ENCODER_LEVELS):
        encoder_levels.append(Level("encoder", encoder.widths[i], scales[i], head=head,
                                    read=partial(_map_of_encoder, index=i)))
    return LevelledNetwork(
        ResNetUNet(encoder, num_classes, skip_connection, aspp, widths),
        decoder=tuple(decoder_levels), encoder=tuple(encoder_levels), encoder_modules=("encoder",))


RESNET_UNETS = {f"resnet{depth}-unet": partial(build_resnet_unet, depth) for depth in DEPTHS}


class ResNetUNet(nn.Module):
    """DeSD's encoder (MICCAI 2022), an ASPP, four up stages, a 1x1x1 convolution to the classes.

    The encoder takes (B, C, D, H, W), slices first, and halves that axis once less than the
    others. The class logits, at half the size in plane, are brought to full size by trilinear
    interpolation.

    Source: the DeSD paper states encoder and ASPP, the authors' README the 1x1x1 convolution after
    a decoder that is not published. This decoder is that of TransDoDNet and ShaSpec, from the same
    group and with the same encoder. New convolutions start from Kaiming-normal weights (fan out);
    the encoder and the convolution to the classes from torch's defaults.

    Args:
        encoder: DeSD's; its state dict appears under "encoder.".
        num_classes: K, background included.
        skip_connection, aspp, widths: see `build_resnet_unet`.
    """

    def __init__(self, encoder: ResNet3D, num_classes: int, skip_connection: bool, aspp: bool,
                 widths: Sequence[int]):
        super().__init__()
        *skips, deepest = encoder.widths
        self.encoder = encoder
        self.reduce = conv_norm_act(deepest, widths[0], 1)
        self.aspp = nn.Identity()
        if aspp:
            self.aspp = ASPP(widths[0])
        self.stages = nn.ModuleList()
        before = widths[0]
        for width, skip_channels in zip(widths, reversed(skips), strict=True):
            if not skip_connection:
                skip_channels = None
            self.stages.append(UpStage(before, width, skip_channels))
            before = width
        self.head = nn.Conv3d(widths[-1], num_classes, 1)
        self.upsample = Trilinear((2, 2, 1), align_corners=False)
        for part in (self.reduce, self.aspp, self.stages):
            part.apply(_kaiming)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W, D) to logits (B, K, H, W, D)."""
        *maps, deepest = self.encoder(swap_axes(images))
        features = self.aspp(self.reduce(deepest))  # (B, 256, D/16, W/32, H/32)
        for stage, skip in zip(self.stages, reversed(maps), strict=True):
            features = stage(features, skip)
        logits = swap_axes(self.head(features))  # (B, K, H/2, W/2, D)
        return self.upsample(logits)


class UpStage(nn.Module):
    """Twice the size by a transposed convolution, a skip connection added, two convolutions.

    Args:
        skip_channels: of the encoder's map; None for no skip connection.
    """

    def __init__(self, in_channels: int, width: int, skip_channels: int | None):
        super().__init__()
        self.up = nn.ConvTranspose3d(in_channels, width, 2, stride=2, bias=False)
        self.skip = None
        if skip_channels is not None:
            self.skip = conv_norm_act(skip_channels, width, 1)
        self.residual = BasicBlock(width, width, stride=1, project=False)

    def forward(self, features: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """(B, C, d, h, w) and a map (B, S, 2d, 2h, 2w) of the encoder to (B, width, 2d, 2h, 2w)."""
        features = self.up(features)
        if self.skip is not None:
            features = features + self.skip(skip)
        return self.residual(features)


def swap_axes(volume: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W, D) to (B, C, D, W, H) and back: slices first, as the encoder takes them.

    For a volume in RAS order, (x, y, z) to (z, y, x).
    """
    return volume.transpose(2, 4)


def _map_of_encoder(maps: list[torch.Tensor], index: int) -> torch.Tensor:
    return swap_axes(maps[index])


def _kaiming(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=0.01, mode="fan_out", nonlinearity="leaky_relu")
