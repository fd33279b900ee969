"""The dual self-distillation loss (DSD, ISBI 2024; IEEE TBME 2025)."""

from typing import Any

import torch
from torch.nn.functional import mse_loss

from .dice_ce import dice_ce_one_hot, in_float32, one_hot
from .distillation import mean_kl, tempered_log_probs
from .heads import named_outputs, with_whole_logits
from .teachers import is_published, taught_terms, weights_by_name

Outputs = torch.Tensor | dict[str, Any]

DISTIL = {"both": ("dec", "enc"), "decoder": ("dec",), "encoder": ("enc",), "none": ()}
"""Which branches the KL runs over; "none" is deep supervision alone."""


def dsd_loss(outputs: Outputs, label: torch.Tensor, alpha: float = 1.0, temperature: float = 3.0,
             include_background: bool = True, *, distil: str = "both",
             detach_teacher: bool = False, supervise_encoder: bool = False,
             hint_weight: float = 0.0, side_weights: str = "equal", teacher: str = "deepest",
             where: str = "everywhere") -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Dice-CE on the output and every decoder level, plus alpha times the KL of both branches.

    L = DiceCE(out, y) + sum_i DiceCE(dec_i, y)
        + alpha * T^2 * [ sum_s KL(dec_teacher || dec_s) + sum_s KL(enc_teacher || enc_s) ]

    The teacher of a branch is its last entry, the deepest along the data flow; by default it
    takes gradients too. A branch that is absent adds nothing, so {"out": logits} gives Dice-CE
    alone.

    Differs from the authors' code: alpha has an effect (theirs is lost on its way to the loss),
    and the KL has no NaN gradients. `detach_teacher`, `supervise_encoder`, `side_weights`,
    `teacher` and `where` are ours.

    Args:
        outputs: {"out": logits, "dec": [logits, ...], "enc": [logits, ...]}, every entry
            (B, K, H, W, D) or, of a side head, a step before it (losses.heads); in evaluation the
            logits alone. With hints also "hints":
            {"dec": [vector, ...], "enc": [vector, ...]}, pooled features (B, F), teacher last.
        label: (B, 1, H, W, D), integer values 0..K-1 of any dtype.
        alpha: weight of the KL terms.
        temperature: T of teacher and students.
        include_background: whether class 0 takes part in the KL terms.
        distil: a key of DISTIL, the branches with a KL term.
        detach_teacher: whether the KL and the hints leave the teachers without a gradient. An
            encoder teacher then has none at all, unless `supervise_encoder` or a head shared
            with the decoder gives it one.
        supervise_encoder: whether the encoder outputs have a Dice-CE too.
        hint_weight: weight of the hints: the mean squared error between each student's vector
            and its teacher's, summed over the students of both branches, whatever `distil` is
            (published: 1e-4). At 0 hints are not read.
        side_weights: of the side outputs' Dice-CE and KL, one of losses.SIDE_WEIGHTS. An output
            of weight 0 has no gradient from them, and its Dice-CE is a record.
        teacher: of losses.TEACHERS; "ema" needs "teacher" in a training dict: the logits of the
            averaged network.
        where: of losses.WHERE, the voxels of the KL.

    Returns:
        The total, and its terms, scalars with their graph: "dice_ce_out",
        "dice_ce_dec4" .. "dice_ce_dec1", "dice_ce_enc1" .. "dice_ce_enc4", "kl_dec" and "kl_enc"
        (with T^2, without alpha), "kl_out" where the main output is taught, "hint_dec" and
        "hint_enc" (without their weight).

    Raises:
        KeyError: `distil` is not a key of DISTIL.
        ValueError: `hint_weight` is above 0 and a training dict has no hints.
    """
    is_training = isinstance(outputs, dict)
    if not is_training:
        outputs = {"out": outputs}
    outputs = with_whole_logits(outputs)
    weights = weights_by_name(outputs, side_weights)
    supervised = supervision_terms(outputs, label, supervise_encoder, weights)
    branches = [branch for branch in DISTIL[distil] if outputs.get(branch)]
    if is_published(side_weights, teacher, where):
        kl = {}
        for branch in branches:
            kl[f"kl_{branch}"] = branch_kl(outputs[branch], temperature, include_background,
                                           detach_teacher)
    else:
        kl = taught_terms(outputs, label, branches, temperature, include_background,
                          detach_teacher=detach_teacher, side_weights=side_weights,
                          teacher=teacher, where=where)
    hints = {}
    if is_training and hint_weight > 0:
        hints = hint_terms(outputs, detach_teacher)
    total = 0.0
    for name, term in supervised.items():
        total = total + weights[name.removeprefix("dice_ce_")] * term
    total = total + alpha * sum(kl.values()) + hint_weight * sum(hints.values())
    return total, supervised | kl | hints


def supervision_terms(outputs: dict[str, Any], label: torch.Tensor, supervise_encoder: bool,
                      weights: dict[str, float]) -> dict[str, torch.Tensor]:
    """Dice-CE of each output that sees the label, named after it; detached at weight 0."""
    target = one_hot(label, in_float32(outputs["out"]))
    terms = {}
    for name, logits in named_outputs(outputs).items():
        if name.startswith("enc") and not supervise_encoder:
            continue
        if weights[name] == 0:
            logits = logits.detach()
        terms[f"dice_ce_{name}"] = dice_ce_one_hot(in_float32(logits), target)
    return terms


def branch_kl(branch: list[torch.Tensor], temperature: float, include_background: bool = True,
              detach_teacher: bool = False) -> torch.Tensor:
    """T^2 times the sum of KL(teacher || student) over one branch, the teacher its last entry."""
    if detach_teacher:
        branch = _detach_teacher(branch)
    *students, teacher = [tempered_log_probs(logits, temperature, include_background)
                          for logits in branch]
    total = teacher.new_zeros(())
    for student in students:
        total = total + mean_kl(student, teacher)
    return temperature**2 * total


def hint_terms(outputs: dict[str, Any], detach_teacher: bool = False) -> dict[str, torch.Tensor]:
    """Per branch, the sum over students of the mean squared error to the teacher's vector."""
    if "hints" not in outputs:
        raise ValueError("hint_weight is above 0 but the network's outputs have no hints: "
                         "build it with hints=True, or set hint_weight to 0.")
    terms = {}
    for branch, vectors in outputs["hints"].items():
        if detach_teacher:
            vectors = _detach_teacher(vectors)
        *students, teacher = map(in_float32, vectors)
        total = teacher.new_zeros(())
        for student in students:
            total = total + mse_loss(student, teacher)
        terms[f"hint_{branch}"] = total
    return terms


def _detach_teacher(branch: list[torch.Tensor]) -> list[torch.Tensor]:
    return [*branch[:-1], branch[-1].detach()]
