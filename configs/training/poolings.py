"""How often a crop is halved along each axis: nnU-Net's rule.

Source: Isensee et al., nnU-Net, Nature Methods 18, 2021, and get_pool_and_conv_props of its code.
"""

from collections.abc import Sequence
from math import ceil

Triple = tuple[int, int, int]
SMALLEST = 4        # voxels of an axis at the bottleneck
MAX_POOLINGS = 4    # five levels, as published for nnunet; nnU-Net's own code has no limit
FIRST_FILTERS, MOST_FILTERS = 32, 320


def nnunet_levels(size: Sequence[int], spacing_mm: Sequence[float],
                  exact: bool = False) -> tuple[list[Triple], list[Triple]]:
    """Strides and kernels of each level, the first stride 1.

    An axis is halved while it has 2 x SMALLEST voxels, and only while its voxels are less than
    twice as wide as the finest of those that can be halved. Its kernel is 1 until its voxels are
    less than twice as wide as the finest of all, then 3; the bottleneck's is 3.

    Args:
        size: of the crop, voxels.
        spacing_mm: of its voxels.
        exact: whether only even sizes are halved, because the crop is not padded.
    """
    size, spacing = list(size), list(spacing_mm)
    kernel = [1, 1, 1]
    strides: list[Triple] = [(1, 1, 1)]
    kernels: list[Triple] = []
    while len(strides) <= MAX_POOLINGS:
        halved = _axes_to_halve(size, spacing, exact)
        if not halved:
            break
        for axis in range(3):
            if spacing[axis] < 2 * min(spacing):
                kernel[axis] = 3
        kernels.append(tuple(kernel))
        stride = [1, 1, 1]
        for axis in halved:
            stride[axis] = 2
            size[axis] = ceil(size[axis] / 2)
            spacing[axis] *= 2
        strides.append(tuple(stride))
    return strides, [*kernels, (3, 3, 3)]


def _axes_to_halve(size: list[int], spacing: list[float], exact: bool) -> list[int]:
    large = [axis for axis in range(3) if size[axis] >= 2 * SMALLEST]
    if not large:
        return []
    finest = min(spacing[axis] for axis in large)
    halved = [axis for axis in large if spacing[axis] < 2 * finest]
    if exact and any(size[axis] % 2 for axis in halved):
        return []
    if len(halved) == 1 and size[halved[0]] < 3 * SMALLEST:
        return []
    return halved


def divisor_of(strides: Sequence[int | Sequence[int]]) -> Triple:
    """The size of an image over that of the bottleneck, per axis."""
    divisor = [1, 1, 1]
    for stride in strides:
        if isinstance(stride, int):
            stride = (stride,) * 3
        for axis in range(3):
            divisor[axis] *= stride[axis]
    return tuple(divisor)


def filters_of(num_levels: int) -> tuple[int, ...]:
    """Channels per level: doubled from one to the next, as in nnU-Net."""
    return tuple(min(FIRST_FILTERS * 2**level, MOST_FILTERS) for level in range(num_levels))
