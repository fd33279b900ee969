"""What a builder hands to the wrapper, and the image sizes a network can take."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from torch import nn

from .side_outputs import Level


@dataclass(frozen=True)
class LevelledNetwork:
    """A plain network with its levels named, each branch along the data flow.

    Attributes:
        initialise: applied to every module of the heads; None keeps torch's defaults.
        encoder_modules: dotted names of the sub-modules that make up the encoder, bottleneck
            included; what `transfer_weights(part="encoder")` may write to.
        num_classes: K of the network's output if it was measured, else None.
    """

    network: nn.Module
    decoder: tuple[Level, ...]
    encoder: tuple[Level, ...]
    initialise: Callable[[nn.Module], None] | None = None
    encoder_modules: tuple[str, ...] = ()
    num_classes: int | None = None


def check_size(name: str, img_size: tuple[int, int, int], divisor: tuple[int, int, int],
               normed_bottleneck: bool = False) -> None:
    """Refuse a size that the network cannot halve, or that leaves one voxel at the bottom.

    Args:
        divisor: input size over bottleneck size, per axis.
        normed_bottleneck: whether the bottleneck is normalised over its voxels: a single one has
            no variance to divide by.

    Raises:
        ValueError: with the reason and the nearest sizes that work.
    """
    if len(img_size) != 3 or any(size < 1 for size in img_size):
        raise ValueError(f"{name}: image size {img_size} must be three positive numbers.")
    fits = all(size % d == 0 for size, d in zip(img_size, divisor, strict=True))
    single = prod(size // d for size, d in zip(img_size, divisor, strict=True)) == 1
    if fits and not (single and normed_bottleneck):
        return
    reason = f"every axis must be a multiple of {divisor}"
    if fits:
        reason = "its bottleneck would be a single voxel, which its norm cannot train on"
    below = tuple(max(size // d, 1) * d for size, d in zip(img_size, divisor, strict=True))
    above = tuple(-(-size // d) * d for size, d in zip(img_size, divisor, strict=True))
    nearest: list[tuple[int, ...]] = []
    for size in (below, above):
        if normed_bottleneck and size == divisor:
            nearest += _enlarged(divisor, img_size)
        else:
            nearest.append(size)
    raise ValueError(f"{name}: image size {tuple(img_size)} does not work: {reason}. Nearest "
                     f"sizes that do: {' or '.join(map(str, dict.fromkeys(nearest)))}.")


def _enlarged(divisor: tuple[int, int, int],
              img_size: tuple[int, int, int]) -> tuple[tuple[int, int, int], ...]:
    """Sizes with more than one voxel at the bottom: one axis doubled, the best one, and all."""
    best = min((2, 1, 0), key=lambda axis: abs(2 * divisor[axis] - img_size[axis]))
    return (tuple(d * (1 + (axis == best)) for axis, d in enumerate(divisor)),
            tuple(2 * d for d in divisor))
