"""Dice loss plus cross-entropy of one logit volume."""

import torch

SMOOTH = 1e-5


def in_float32(logits: torch.Tensor) -> torch.Tensor:
    """Half precisions as float32, because a sum over a volume overflows them."""
    if logits.dtype in (torch.float16, torch.bfloat16):
        return logits.float()
    return logits


def one_hot(label: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Labels (B, 1, H, W, D) of any dtype to 0/1 (B, K, H, W, D), type and device of `logits`."""
    target = torch.zeros_like(logits, requires_grad=False)
    return target.scatter_(1, label.long(), 1)


def dice_ce_one_hot(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """`dice_ce` on labels already one-hot; both (B, K, H, W, D) and at least float32."""
    volume = tuple(range(2, logits.ndim))
    log_probs = logits.log_softmax(dim=1)
    probs = log_probs.exp()
    overlap = (probs * target).sum(volume)                     # (B, K)
    size = probs.sum(volume) + target.sum(volume)              # (B, K)
    dice = 1 - (2 * overlap + SMOOTH) / (size + SMOOTH)        # (B, K)
    cross_entropy = -(log_probs * target).sum(dim=1)           # (B, H, W, D)
    return dice.mean() + cross_entropy.mean()


def dice_ce(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Dice loss plus cross-entropy on the softmax, both of weight 1, background included.

    Dice is unsquared, over the voxels of one sample and class, then averaged over samples and
    classes; cross-entropy is averaged over samples and voxels (DSD, the authors' setting of
    MONAI's DiceCELoss).

    Args:
        logits: (B, K, H, W, D).
        label: (B, 1, H, W, D), integer values 0..K-1 of any dtype.

    Returns:
        A scalar, in float32 or wider.
    """
    logits = in_float32(logits)
    return dice_ce_one_hot(logits, one_hot(label, logits))
