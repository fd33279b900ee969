"""What a builder hands to the wrapper, and the sizes a network can take."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from torch import nn

from .side_outputs import Level


@dataclass(frozen=True)
class LevelledNetwork:
    """A plain network with its levels named, each branch along the data flow."""

    network: nn.Module
    decoder: tuple[Level, ...]
    encoder: tuple[Level, ...]
    initialise: Callable[[nn.Module], None] | None = None


def check_size(name: str, img_size: tuple[int, int, int], divisor: tuple[int, int, int],
               normed_bottleneck: bool = False) -> None:
    """Refuse a size that the network cannot halve, or that leaves one voxel at the bottom.

    Args:
        divisor: input size over bottleneck size, per axis.
        normed_bottleneck: whether the bottleneck has instance norm, which finds no variance to
            divide by in a single voxel.

    Raises:
        ValueError: with the reason and the nearest sizes that work.
    """
    if len(img_size) != 3 or any(size < 1 for size in img_size):
        raise ValueError(f"{name}: image size {img_size} must be three positive numbers.")
    fits = all(size % d == 0 for size, d in zip(img_size, divisor, strict=True))
    single = prod(size // d for size, d in zip(img_size, divisor, strict=True)) == 1
    if fits and not (single and normed_bottleneck):
        return
    reason = (f"every axis must be a multiple of {divisor}" if not fits
              else "its bottleneck would be a single voxel, which instance norm cannot train on")
    candidates = (tuple(max(size // d, 1) * d for size, d in zip(img_size, divisor, strict=True)),
                  tuple(-(-size // d) * d for size, d in zip(img_size, divisor, strict=True)))
    double = tuple(2 * d for d in divisor)
    nearest = " or ".join(dict.fromkeys(str(double if normed_bottleneck and size == divisor
                                            else size)
                                        for size in candidates))
    raise ValueError(f"{name}: image size {tuple(img_size)} does not work: {reason}. "
                     f"Nearest sizes that do: {nearest}.")
