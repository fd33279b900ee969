"""nnU-Net's network (MONAI's DynUNet) with its levels named."""

from collections.abc import Sequence
from itertools import accumulate

from monai.networks.nets import DynUNet

from .levels import LevelledNetwork, check_size
from .side_outputs import Level

Size = int | Sequence[int]


def build_nnunet(in_channels: int, num_classes: int, img_size: tuple[int, int, int],
                 filters: Sequence[int] = (32, 64, 128, 256, 320),
                 kernel_size: int | Sequence[Size] = 3,
                 strides: Sequence[Size] | None = None) -> LevelledNetwork:
    """DynUNet with residual blocks and instance norm; encoder and decoder share their heads.

    A decoder level and the encoder level of the same resolution are read by one head, the
    bottleneck and the full-resolution encoder level have their own.

    Differs from the authors' code: any filters and kernels, and anisotropic strides; theirs knows
    two lists of filters, chosen by the dataset's name.

    Args:
        filters: channels per level, bottleneck last; at least three.
        kernel_size: one number for all levels, or one entry per level, a number or three.
        strides: per level, a number or three, each 1 or 2, the first 1; default 1, 2, 2, ...

    Raises:
        ValueError: lengths that differ, strides other than 1 and 2, or an image size that the
            strides cannot halve.
    """
    filters = tuple(filters)
    num_levels = len(filters)
    strides = [_triple(s) for s in (strides or (1,) + (2,) * (num_levels - 1))]
    kernels = [_triple(k) for k in ([kernel_size] * num_levels if isinstance(kernel_size, int)
                                    else kernel_size)]
    if num_levels < 3 or len(strides) != num_levels or len(kernels) != num_levels:
        raise ValueError(f"nnunet: needs at least three levels and a kernel and a stride for each, "
                         f"got filters {filters}, kernels {kernels} and strides {strides}.")
    if any(stride not in (1, 2) for level_strides in strides for stride in level_strides):
        raise ValueError(f"nnunet: strides {strides} must be 1 or 2 on each axis; MONAI's "
                         f"residual block cannot take larger steps.")
    if strides[0] != (1, 1, 1):
        raise ValueError(f"nnunet: the first stride is {strides[0]}, but must be 1: "
                         f"the output has the input's size.")
    scales = list(accumulate(strides, lambda a, b: tuple(x * y for x, y in zip(a, b, strict=True))))
    check_size("nnunet", img_size, divisor=scales[-1], normed_bottleneck=True)
    network = DynUNet(3, in_channels, num_classes, kernels, strides, strides[1:], filters=filters,
                      norm_name="instance", res_block=True)

    def level(module, index):
        return Level(module, filters[index], scales[index], head=f"level{index}")

    bottleneck = num_levels - 1
    return LevelledNetwork(
        network,
        decoder=(level("bottleneck", bottleneck),
                 *(level(f"upsamples.{i}", bottleneck - 1 - i) for i in range(num_levels - 2))),
        encoder=(level("input_block", 0),
                 *(level(f"downsamples.{i}", i + 1) for i in range(num_levels - 2))),
        initialise=DynUNet.initialize_weights)


def _triple(value: Size) -> tuple[int, int, int]:
    return (value,) * 3 if isinstance(value, int) else tuple(value)
