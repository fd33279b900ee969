"""The loss of SelfDistillSeg, the system with shape priors that came before DSD."""

from typing import Any

import torch

from .boundary import boundary_sum
from .dice_ce import dice_ce_one_hot, in_float32, one_hot
from .dsd import branch_kl


def shape_prior_loss(outputs: dict[str, Any], label: torch.Tensor, dist_map: torch.Tensor,
                     beta: float, alpha: float = 0.05, temperature: float = 2.0,
                     ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """(1 - alpha) * sum Dice-CE + beta * sum boundary + alpha * KL, as that paper has it.

    Source: "Self-distillation of U-shaped networks for 3D cardiac image segmentation with shape
    priors". Its seven outputs are the main one, decoder 4, 3, 2 and encoder 2, 3, 4; the sums run
    over the main and the decoder outputs. No training uses it: it states how its total differs
    from that of `DSDLoss` with shape priors:

    - alpha also takes from the Dice-CE, and Dice leaves class 0 out (cross-entropy does not);
    - neither branch has a level 1, so decoder 2 teaches; it has a boundary term all the same;
    - temperature 2 and no background in the KL, which is summed over voxels and averaged over
      samples only: at 96^3 voxels alpha 0.05 weighs the mean per voxel by 44,237.

    Args:
        outputs: {"out": logits, "dec": [dec4, dec3, dec2], "enc": [enc2, enc3, enc4]}, every
            entry (B, K, H, W, D); the last of a branch teaches and is not detached.
        label: (B, 1, H, W, D), integer values 0..K-1 of any dtype.
        dist_map: (B, K, H, W, D), see `boundary_loss`.
        beta: weight of the boundary term, see `boundary_weight`.
        alpha: weight of the KL, between 0 and 1.
        temperature: T > 0.

    Returns:
        The total, and its terms as scalars: "dice_ce", "boundary" and "kl" (with T^2), each a sum
        over outputs, without beta and alpha.
    """
    supervised = [outputs["out"], *outputs["dec"]]
    target = one_hot(label, in_float32(outputs["out"]))
    num_voxels = outputs["out"][0, 0].numel()
    terms = {
        "dice_ce": sum(dice_ce_one_hot(in_float32(logits), target, include_background=False)
                       for logits in supervised),
        "boundary": boundary_sum(supervised, dist_map),
        "kl": num_voxels * sum(branch_kl(outputs[branch], temperature, include_background=False)
                               for branch in ("dec", "enc")),
    }
    total = (1 - alpha) * terms["dice_ce"] + beta * terms["boundary"] + alpha * terms["kl"]
    return total, terms
