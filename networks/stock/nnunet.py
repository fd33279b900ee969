"""nnU-Net's network (MONAI's DynUNet) with its levels named."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from monai.networks.blocks.dynunet_block import UnetResBlock, get_padding
from monai.networks.nets import DynUNet
from torch import nn

from ..dsd.levels import LevelledNetwork, check_size
from ..dsd.side_outputs import Level

Size = int | Sequence[int]
Triple = tuple[int, int, int]


def build_nnunet(in_channels: int, num_classes: int, img_size: tuple[int, int, int],
                 filters: Sequence[int] = (32, 64, 128, 256, 320),
                 kernel_size: int | Sequence[Size] = 3,
                 strides: Sequence[Size] | None = None) -> LevelledNetwork:
    """DynUNet with residual blocks and instance norm; encoder and decoder share their heads.

    A decoder level and the encoder level of the same resolution share one head; the bottleneck and
    the full-resolution encoder level have their own.

    Differs from the authors' code: any filters, kernels and strides, anisotropic ones included;
    theirs knows two lists of filters, chosen by the dataset's name.

    Args:
        filters: channels per level, bottleneck last; at least three.
        kernel_size: odd: one number for all levels, or a sequence with one entry for all levels or
            one per level, each a number or three; ((1, 3, 3),) is 1x3x3 in every level.
        strides: per level, a number or three, each up to the level's kernel plus one, the first
            1; default 1, 2, 2, ...

    Raises:
        ValueError: lengths that differ, impossible kernels or strides, or an image size that is no
            multiple of the strides.
    """
    filters = tuple(filters)
    num_levels = len(filters)
    strides = [_triple(s) for s in (strides or (1,) + (2,) * (num_levels - 1))]
    if isinstance(kernel_size, int):
        kernel_size = [kernel_size]
    kernels = [_triple(k) for k in kernel_size]
    if len(kernels) == 1:
        kernels *= num_levels
    _check_levels(filters, kernels, strides)
    scales = list(accumulate(strides, lambda a, b: tuple(x * y for x, y in zip(a, b, strict=True))))
    check_size("nnunet", img_size, divisor=scales[-1], normed_bottleneck=True)
    network = AnyStrideDynUNet(3, in_channels, num_classes, kernels, strides, strides[1:],
                               filters=filters, norm_name="instance", res_block=True)

    def level(module, index):
        return Level(module, filters[index], scales[index], head=f"level{index}")

    bottleneck = num_levels - 1
    return LevelledNetwork(
        network,
        decoder=(level("bottleneck", bottleneck),
                 *(level(f"upsamples.{i}", bottleneck - 1 - i) for i in range(num_levels - 2))),
        encoder=(level("input_block", 0),
                 *(level(f"downsamples.{i}", i + 1) for i in range(num_levels - 2))),
        initialise=DynUNet.initialize_weights,
        encoder_modules=("input_block", "downsamples", "bottleneck"))


class AnyStrideResBlock(UnetResBlock):
    """MONAI's residual block for strides up to the kernel plus one.

    MONAI's own stops at 2: beyond, the shortcut's 1x1x1 convolution would get a negative padding.
    That convolution needs none: it reads the first voxel of each step. Parameters, their names
    and, for strides 1 and 2, the results are MONAI's.
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, kernel_size: Triple,
                 stride: Triple, *args: Any, **options: Any):
        super().__init__(spatial_dims, in_channels, out_channels, kernel_size,
                         tuple(min(step, 2) for step in stride), *args, **options)
        if max(stride) > 2:
            self.conv1.conv.padding = get_padding(kernel_size, stride)
            self.conv1.conv.stride = self.conv3.conv.stride = stride


class AnyStrideDynUNet(DynUNet):
    """MONAI's DynUNet with residual blocks that take larger strides."""

    def get_input_block(self) -> nn.Module:
        """The first block that DynUNet makes; the later ones are of the same class."""
        self.conv_block = AnyStrideResBlock
        return super().get_input_block()


def _check_levels(filters: tuple[int, ...], kernels: list[Triple], strides: list[Triple]) -> None:
    """Refuse what cannot be built, with all reasons in one message."""
    if len(filters) < 3 or len(strides) != len(filters) or len(kernels) != len(filters):
        raise ValueError(f"nnunet: needs at least three levels and a kernel and a stride for each, "
                         f"got filters {filters}, kernels {kernels} and strides {strides}.")
    problems = []
    if min(filters) < 1:
        problems.append(f"filters {filters} must be positive")
    if strides[0] != (1, 1, 1):
        problems.append(f"the first stride is {strides[0]}, but must be 1: the output has the "
                        f"input's size")
    for index, (kernel, stride) in enumerate(zip(kernels, strides, strict=True)):
        if len(kernel) != 3 or len(stride) != 3:
            problems.append(f"level {index}: kernel {kernel} and stride {stride} must be one "
                            f"number or three")
            continue
        if any(k < 1 or k % 2 == 0 for k in kernel):
            problems.append(f"level {index}: kernel {kernel} must be odd, an even one changes the "
                            f"size of its feature map")
        elif any(not 1 <= s <= k + 1 for k, s in zip(kernel, stride, strict=True)):
            problems.append(f"level {index}: stride {stride} must be between 1 and the kernel plus "
                            f"one, {tuple(k + 1 for k in kernel)}; a larger step leaves voxels "
                            f"unread")
    if problems:
        raise ValueError(f"nnunet: {'; '.join(problems)}.")


def _triple(value: Size) -> tuple[int, ...]:
    if isinstance(value, int):
        return value, value, value
    return tuple(value)
