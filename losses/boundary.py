"""The boundary loss: where the predicted mass lies relative to the true boundary."""

import torch

from .dice_ce import in_float32


def boundary_loss(logits: torch.Tensor, dist_map: torch.Tensor) -> torch.Tensor:
    """Softmax times signed distance, averaged over samples, foreground classes and voxels.

    Source: SelfDistillSeg, the same authors' earlier system. Linear in the probabilities,
    and below 0 when the mass lies inside the objects. An absent class, whose map is 0, counts in
    the average. The value has the unit of the map.

    Differs from the authors' code: float64 stays float64 (theirs casts to float32).

    Args:
        logits: (B, K, H, W, D).
        dist_map: (B, K, H, W, D), the distance to each class's boundary, positive outside the
            class and at most 0 inside; that of class 0 is not read.

    Returns:
        A scalar, in float32 or wider.
    """
    assert logits.shape == dist_map.shape, (logits.shape, dist_map.shape)
    probs = in_float32(logits).softmax(dim=1)
    return (probs[:, 1:] * dist_map[:, 1:].to(probs.dtype)).mean()


def boundary_weight(epoch: int, start: float = 1e-6, step: float = 1e-3) -> float:
    """Weight of the boundary loss in an epoch, counted from 0: start + step * epoch.

    Source: SelfDistillSeg. Differs from the authors' code: theirs adds to the current value, so
    a resumed run depends on the loss object being restored.
    """
    return start + step * epoch
