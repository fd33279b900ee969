"""What Dice and Dice-CE of a whole volume are made from, counted slab by slab."""

import torch

from losses.dice_ce import SMOOTH

CHUNK_VALUES = 2**20  # logits looked at at a time: 4 MiB, and their softmax as much again


class VolumeCounts:
    """Counts of one volume's voxels and sums of its probabilities, added up slab by slab.

    Beside the logits it is given it holds two copies of a few rows of them, whatever the volume.

    Args:
        num_classes: K, background included.

    Attributes:
        voxels: (K, K) int64 on the CPU, by the label's class and the predicted one.
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self.voxels = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        # Of each class the probability within its label and anywhere, and the log-likelihood.
        self._sums = torch.zeros(2 * num_classes + 1, dtype=torch.float64)

    @torch.no_grad()
    def add(self, logits: torch.Tensor, label_map: torch.Tensor) -> None:
        """Count a slab: logits (K, H, W, D) and label_map (H, W, D), integers in any dtype."""
        rows = max(1, CHUNK_VALUES // logits[:, 0].numel())
        for some, labels in zip(logits.split(rows, 1), label_map.split(rows), strict=True):
            self._add(some, labels.long())

    def _add(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        pairs = labels * self.num_classes + logits.argmax(0)
        counts = pairs.flatten().bincount(minlength=self.num_classes**2)
        self.voxels += counts.view_as(self.voxels).cpu()
        log_probs = logits.log_softmax(0)
        likelihood = log_probs.gather(0, labels[None]).sum()
        probs = log_probs.exp_()
        anywhere = probs.sum((1, 2, 3))
        classes = torch.arange(self.num_classes, device=logits.device).view(-1, 1, 1, 1)
        within = probs.mul_(labels == classes).sum((1, 2, 3))
        self._sums += torch.cat([within, anywhere, likelihood[None]]).cpu()

    @property
    def dice(self) -> torch.Tensor:
        """Dice of each foreground class, (K - 1,) float32; a class absent from both counts as 1.

        Differs from the authors' code: there a case that lacks one class makes the mean NaN, and
        the best checkpoint is then never written.
        """
        overlap = self.voxels.diagonal()[1:].float()
        size = (self.voxels.sum(0) + self.voxels.sum(1))[1:].float()
        return torch.where(size > 0, 2 * overlap / size.clamp(min=1), torch.ones_like(size))

    @property
    def dice_ce(self) -> float:
        """The volume's Dice-CE, as losses.dice_ce of its whole logits."""
        within, anywhere, likelihood = self._sums.split([self.num_classes] * 2 + [1])
        size = anywhere + self.voxels.sum(1)
        dice = 1 - (2 * within + SMOOTH) / (size + SMOOTH)
        return float(dice.mean() - likelihood / self.voxels.sum())


def mean_dice(cases: list[list[float]], class_names: tuple[str, ...]) -> dict[str, float]:
    """"dice", the mean over cases and foreground classes, and "dice_<class name>" over cases.

    Args:
        cases: Dice of each foreground class for each case, one at least.
        class_names: background first.
    """
    values = torch.tensor(cases)
    per_class = zip(class_names[1:], values.mean(0).tolist(), strict=True)
    return {"dice": float(values.mean())} | {f"dice_{name}": mean for name, mean in per_class}
