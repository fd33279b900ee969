"""Pixel-wise distillation between two logit volumes."""

import torch

from .dice_ce import in_float32


def tempered_log_probs(logits: torch.Tensor, temperature: float,
                       include_background: bool = True) -> torch.Tensor:
    """Log-softmax over the classes of logits (B, K, H, W, D) / temperature.

    Without the background its logit is left out, so the other classes are renormalised among
    themselves: the result is (B, K-1, H, W, D).
    """
    logits = in_float32(logits)
    if not include_background:
        logits = logits[:, 1:]
    return (logits / temperature).log_softmax(dim=1)


def mean_kl(student_log_probs: torch.Tensor, teacher_log_probs: torch.Tensor,
            mask: torch.Tensor | None = None) -> torch.Tensor:
    """KL(teacher || student): summed over classes, averaged over samples and voxels.

    Takes log-probabilities, so that a teacher's probability that underflows to zero has gradient
    zero. Differs from the authors' code: theirs goes through log(target), whose gradient is NaN
    there.

    Args:
        mask: the voxels to average over, (B, H, W, D) booleans; None for all, 0 if it has none.
    """
    kl = teacher_log_probs.exp() * (teacher_log_probs - student_log_probs)  # (B, K, H, W, D)
    per_voxel = kl.sum(dim=1)
    if mask is None:
        return per_voxel.mean()
    return (per_voxel * mask).sum() / mask.sum().clamp_min(1)


def pixelwise_kl(student_logits: torch.Tensor, teacher_logits: torch.Tensor,
                 temperature: float) -> torch.Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)), averaged over samples and voxels.

    Gradients flow into the student and the teacher; detach the teacher to stop the latter.

    Args:
        student_logits: (B, K, H, W, D).
        teacher_logits: (B, K, H, W, D).
        temperature: T > 0.

    Returns:
        A scalar, in float32 or wider.
    """
    return temperature**2 * mean_kl(tempered_log_probs(student_logits, temperature),
                                    tempered_log_probs(teacher_logits, temperature))
