"""The dual self-distillation loss (DSD, ISBI 2024; IEEE TBME 2025)."""

from typing import Any

import torch

from .dice_ce import dice_ce_one_hot, in_float32, one_hot
from .distillation import mean_kl, tempered_log_probs

Outputs = torch.Tensor | dict[str, Any]


def dsd_loss(outputs: Outputs, label: torch.Tensor, alpha: float = 1.0, temperature: float = 3.0,
             include_background: bool = True) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Dice-CE on the output and every decoder level, plus alpha times the KL of both branches.

    L = DiceCE(out, y) + sum_i DiceCE(dec_i, y)
        + alpha * T^2 * [ sum_s KL(dec_teacher || dec_s) + sum_s KL(enc_teacher || enc_s) ]

    The teacher of a branch is its last entry, the deepest along the data flow; it is not
    detached. A branch that is absent adds nothing, so {"out": logits} gives Dice-CE alone.

    Differs from the authors' code: alpha has an effect (theirs is lost on its way to the loss),
    and the KL has no NaN gradients.

    Args:
        outputs: {"out": logits, "dec": [logits, ...], "enc": [logits, ...]}, every entry
            (B, K, H, W, D); in evaluation the logits alone.
        label: (B, 1, H, W, D), integer values 0..K-1 of any dtype.
        alpha: weight of the KL terms.
        temperature: T of teacher and students.
        include_background: whether class 0 takes part in the KL terms.

    Returns:
        The total, and its terms as scalars still attached to the graph: "dice_ce_out",
        "dice_ce_dec4" .. "dice_ce_dec1", "kl_dec" and "kl_enc" (with T^2, without alpha).
    """
    if isinstance(outputs, torch.Tensor):
        outputs = {"out": outputs}
    out = in_float32(outputs["out"])
    target = one_hot(label, out)
    terms = {"dice_ce_out": dice_ce_one_hot(out, target)}
    decoder = outputs.get("dec", [])
    for number, logits in zip(range(len(decoder), 0, -1), decoder, strict=True):
        terms[f"dice_ce_dec{number}"] = dice_ce_one_hot(in_float32(logits), target)
    total = sum(terms.values())
    for branch in ("dec", "enc"):
        if outputs.get(branch):
            kl = branch_kl(outputs[branch], temperature, include_background)
            terms[f"kl_{branch}"] = kl
            total = total + alpha * kl
    return total, terms


def branch_kl(branch: list[torch.Tensor], temperature: float,
              include_background: bool = True) -> torch.Tensor:
    """T^2 times the sum of KL(teacher || student) over one branch, the teacher its last entry."""
    *students, teacher = (tempered_log_probs(logits, temperature, include_background)
                          for logits in branch)
    return temperature**2 * sum((mean_kl(student, teacher) for student in students),
                                start=teacher.new_zeros(()))
