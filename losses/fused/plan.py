"""What the passes of losses.fused.loss exchange: which head has which terms, sums and slopes."""

from dataclasses import dataclass, fields

import torch

from ..dice_ce import SMOOTH


@dataclass(frozen=True)
class Plan:
    """Which terms the heads have; the heads are in the order out, dec, enc.

    Attributes:
        supervised: the heads with a Dice-CE, S of them.
        branches: those with a KL, a slice for each branch, its teacher last.
        temperature: T of the KL.
        first_class: of the KL: 0, or 1 without the background.
        detach_teacher: whether teachers take no gradient from the KL.
    """

    supervised: slice
    branches: tuple[slice, ...]
    temperature: float
    first_class: int
    detach_teacher: bool

    @property
    def num_supervised(self) -> int:
        """S."""
        return self.supervised.stop - self.supervised.start


@dataclass
class Sums:
    """Sums over voxels of what the terms are made of, float64.

    Attributes:
        overlap: (S, B, K), of the probability where the class is the label.
        size: (S, B, K), of the probability.
        count: (B, K), of the label's voxels.
        cross_entropy: (S,), over samples too.
        kl: (branches,), over samples and students, without T^2.
    """

    overlap: torch.Tensor
    size: torch.Tensor
    count: torch.Tensor
    cross_entropy: torch.Tensor
    kl: torch.Tensor

    @classmethod
    def zeros(cls, plan: Plan, batch: int, num_classes: int, device: torch.device) -> "Sums":
        """Nothing seen yet."""
        heads, kind = plan.num_supervised, {"dtype": torch.float64, "device": device}
        return cls(torch.zeros(heads, batch, num_classes, **kind),
                   torch.zeros(heads, batch, num_classes, **kind),
                   torch.zeros(batch, num_classes, **kind), torch.zeros(heads, **kind),
                   torch.zeros(len(plan.branches), **kind))

    def terms(self, plan: Plan, num_voxels: int) -> torch.Tensor:
        """Dice-CE of each supervised head, then KL of each branch: (S + branches,).

        Args:
            num_voxels: of all samples together.
        """
        dice = 1 - (2 * self.overlap + SMOOTH) / (self.size + self.count + SMOOTH)
        return torch.cat([dice.mean((1, 2)) + self.cross_entropy / num_voxels,
                          plan.temperature**2 / num_voxels * self.kl])


@dataclass
class Slopes:
    """The loss by what the voxels add to the sums: all that the second pass needs of the first.

    Attributes:
        overlap: (S, B, K), by the probability of a voxel's own class.
        size: (S, B, K), by the probability of any class.
        cross_entropy: (S,), by a voxel's cross-entropy.
        kl: (branches,), by a voxel's KL, times T.
    """

    overlap: torch.Tensor
    size: torch.Tensor
    cross_entropy: torch.Tensor
    kl: torch.Tensor

    @classmethod
    def of(cls, sums: Sums, plan: Plan, num_voxels: int, upstream: torch.Tensor) -> "Slopes":
        """Given the gradient (S + branches,) of whatever by the terms."""
        upstream = upstream.double()
        by_term, by_kl = upstream[:plan.num_supervised], upstream[plan.num_supervised:]
        volume = sums.size + sums.count + SMOOTH
        by_dice = by_term[:, None, None] / (volume.shape[1] * volume.shape[2])
        return cls(-2 * by_dice / volume, by_dice * (2 * sums.overlap + SMOOTH) / volume**2,
                   by_term / num_voxels, by_kl * plan.temperature / num_voxels)

    def to(self, dtype: torch.dtype) -> "Slopes":
        """The same in another precision."""
        return Slopes(*(getattr(self, field.name).to(dtype) for field in fields(self)))
