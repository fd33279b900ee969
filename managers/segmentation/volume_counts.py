"""What Dice and Dice-CE of a whole volume are made from, counted slab by slab."""

import torch

from losses.dice_ce import SMOOTH

CHUNK_VALUES = 2**20  # logits looked at at a time: 4 MiB, and their softmax as much again


class VolumeCounts:
    """Counts of one volume's voxels and sums of its probabilities, added up slab by slab.

    Beside the logits it is given it holds two copies of a few rows of them, whatever the volume.
    The sums stay on the logits' device, and follow when it changes; the host waits for them once,
    when the first result is read.

    Args:
        num_classes: K, background included.
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        # (K * K,) int64, voxels by the label's class and the predicted one.
        self._voxels: torch.Tensor | None = None
        # (2 K + 1,) float64, of each class the probability within its label and anywhere, and the
        # log-likelihood.
        self._sums: torch.Tensor | None = None
        self._copied: torch.Tensor | None = None  # both on the CPU, since the last slab

    @torch.no_grad()
    def add(self, logits: torch.Tensor, label_map: torch.Tensor) -> None:
        """Count a slab: logits (K, H, W, D) and label_map (H, W, D), integers in any dtype."""
        self._move_to(logits.device)
        rows = max(1, CHUNK_VALUES // logits[:, 0].numel())
        for some, labels in zip(logits.split(rows, 1), label_map.split(rows), strict=True):
            self._add(some, labels.long())

    def _move_to(self, device: torch.device) -> None:
        self._copied = None
        if self._voxels is None:
            number = self.num_classes
            self._voxels = torch.zeros(number**2, dtype=torch.int64, device=device)
            self._sums = torch.zeros(2 * number + 1, dtype=torch.float64, device=device)
        self._voxels, self._sums = self._voxels.to(device), self._sums.to(device)

    def _add(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        pairs = (labels * self.num_classes + logits.argmax(0)).flatten()
        # Not bincount, which asks CUDA for the largest pair and waits for it.
        self._voxels.scatter_add_(0, pairs, torch.ones_like(pairs))
        log_probs = logits.log_softmax(0)
        likelihood = log_probs.gather(0, labels[None]).sum()
        probs = log_probs.exp_()
        anywhere = probs.sum((1, 2, 3))
        classes = torch.arange(self.num_classes, device=logits.device).view(-1, 1, 1, 1)
        within = probs.mul_(labels == classes).sum((1, 2, 3))
        self._sums += torch.cat([within, anywhere, likelihood[None]])

    def _on_host(self) -> torch.Tensor:
        """Counts and sums in one float64, exact up to 2^53 voxels, so that one copy takes both."""
        if self._copied is None:
            self._copied = torch.cat([self._voxels.double(), self._sums]).cpu()
        return self._copied

    @property
    def voxels(self) -> torch.Tensor:
        """(K, K) int64 on the CPU, by the label's class and the predicted one."""
        counts = self._on_host()[:self.num_classes**2]
        return counts.long().view(self.num_classes, self.num_classes)

    @property
    def dice(self) -> torch.Tensor:
        """Dice of each foreground class, (K - 1,) float32; a class absent from both counts as 1.

        Differs from the authors' code: there a case that lacks one class makes the mean NaN, and
        the best checkpoint is then never written.
        """
        voxels = self.voxels
        overlap = voxels.diagonal()[1:].float()
        size = (voxels.sum(0) + voxels.sum(1))[1:].float()
        return torch.where(size > 0, 2 * overlap / size.clamp(min=1), torch.ones_like(size))

    @property
    def dice_ce(self) -> float:
        """The volume's Dice-CE, as losses.dice_ce of its whole logits."""
        voxels, sums = self.voxels, self._on_host()[self.num_classes**2:]
        within, anywhere, likelihood = sums.split([self.num_classes] * 2 + [1])
        size = anywhere + voxels.sum(1)
        dice = 1 - (2 * within + SMOOTH) / (size + SMOOTH)
        return float(dice.mean() - likelihood / voxels.sum())


def mean_dice(cases: list[list[float]], class_names: tuple[str, ...]) -> dict[str, float]:
    """"dice", the mean over cases and foreground classes, and "dice_<class name>" over cases.

    Args:
        cases: Dice of each foreground class for each case, one at least.
        class_names: background first.
    """
    values = torch.tensor(cases)
    per_class = zip(class_names[1:], values.mean(0).tolist(), strict=True)
    return {"dice": float(values.mean())} | {f"dice_{name}": mean for name, mean in per_class}
