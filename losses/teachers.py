"""Other teachers for DSD than the deepest side output, and the voxels on which they teach.

The students pull the published teacher, a side output, towards themselves. At temperature 3 that
pull does not fade where the teacher is confident, so these teachers take no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import max_pool3d

from .distillation import mean_kl, tempered_log_probs
from .heads import named_outputs, whole_logits

TEACHERS = ("deepest", "main", "ensemble", "ema")
"""Who teaches the side outputs of both branches.

"deepest": the last output of each branch, as published. "main": the main output (Zhang et al., "Be
your own teacher", ICCV 2019). "ensemble": the mean probability of the main output and the two
decoder outputs next to it, which teaches the main output too (Lan et al., "Knowledge distillation
by on-the-fly native ensemble", NeurIPS 2018). "ema": the main output of the network with averaged
weights, which also teaches the main output (Tarvainen and Valpola, "Mean teachers", NeurIPS 2017).
"""
WHERE = ("everywhere", "right", "boundary")
"""Voxels of the KL. "right": where the teacher's class is the label (Meng et al., "Conditional
teacher-student learning", ICASSP 2019). "boundary": up to two voxels from a change of the label,
where segmentations differ (ours)."""
SIDE_WEIGHTS = ("equal", "halved")
"""Of the side outputs. "halved": 1/2 for the largest, half of that a level further, and 0 for the
smallest (nnU-Net, Isensee et al., Nature Methods 2021); the main output weighs 1."""
_BAND = 2  # voxels on each side of a boundary


def is_published(side_weights: str, teacher: str, where: str) -> bool:
    """Whether the KL is the papers': the deepest output of a branch teaches, all weigh alike."""
    return (side_weights, teacher, where) == ("equal", "deepest", "everywhere")


def side_weights_of(number: int, side_weights: str) -> list[float]:
    """Weights of a branch's outputs, the smallest feature map first (the order of "dec")."""
    if side_weights == "equal":
        return [1.0] * number
    weights = [0.5 ** (number - rank) for rank in range(number)]
    if number > 1:
        weights[0] = 0.0
    return weights


def weights_by_name(outputs: dict[str, Any], side_weights: str) -> dict[str, float]:
    """The weight of each output, named as the terms of the loss name it."""
    decoder = side_weights_of(len(outputs.get("dec", [])), side_weights)
    encoder = side_weights_of(len(outputs.get("enc", [])), side_weights)[::-1]
    return dict(zip(named_outputs(outputs), [1.0, *decoder, *encoder], strict=True))


def taught_terms(outputs: dict[str, Any], label: torch.Tensor, branches: Sequence[str],
                 temperature: float, include_background: bool = True, *,
                 detach_teacher: bool = False, side_weights: str = "equal",
                 teacher: str = "deepest",
                 where: str = "everywhere") -> dict[str, torch.Tensor]:
    """T^2 times the weighted sum of KL(teacher || student) over the students of each branch.

    Args:
        outputs: as of losses.dsd_loss; for the teacher "ema" also "teacher": logits
            (B, K, H, W, D) without gradient.
        label: (B, 1, H, W, D), integer values.
        branches: of "dec" and "enc", those that are there.
        detach_teacher: of "deepest"; the others never take a gradient.
        side_weights, teacher, where: of SIDE_WEIGHTS, TEACHERS and WHERE.

    Returns:
        "kl_dec" and "kl_enc", and "kl_out" where the teacher also teaches the main output.
    """
    if not branches:
        return {}
    weights = weights_by_name(outputs, side_weights)
    if teacher != "deepest":
        teacher_logits = _teacher_logits(outputs, teacher, temperature)
    terms = {}
    for branch in branches:
        logits = [whole_logits(head) for head in outputs[branch]]
        names = [name for name in weights if name.startswith(branch)]
        if teacher == "deepest":
            *logits, teacher_logits = logits
            if detach_teacher:
                teacher_logits = teacher_logits.detach()
        students = dict(zip(names, logits, strict=False))  # the deepest teacher's name is left
        terms[f"kl_{branch}"] = _weighted_kl(students, teacher_logits, weights, label, temperature,
                                             include_background, where)
    if teacher in ("ensemble", "ema"):
        terms["kl_out"] = _weighted_kl({"out": outputs["out"]}, teacher_logits, weights, label,
                                       temperature, include_background, where)
    return terms


@torch.no_grad()
def _teacher_logits(outputs: dict[str, Any], teacher: str, temperature: float) -> torch.Tensor:
    """Logits of the teacher, (B, K, H, W, D), without gradient."""
    if teacher == "ema":
        return outputs["teacher"]
    if teacher == "main":
        return outputs["out"].detach()
    heads = [outputs["out"], *map(whole_logits, outputs.get("dec", [])[-2:])]
    log_probs = torch.stack([tempered_log_probs(head, temperature) for head in heads])
    mean = log_probs.logsumexp(dim=0) - torch.tensor(float(len(heads))).log()
    return temperature * mean  # whose softmax at this temperature is the mean probability


def _weighted_kl(students: dict[str, torch.Tensor], teacher: torch.Tensor,
                 weights: dict[str, float], label: torch.Tensor, temperature: float,
                 include_background: bool, where: str) -> torch.Tensor:
    teacher_log_probs = tempered_log_probs(teacher, temperature, include_background)
    mask = _mask(teacher, label, where)
    total = teacher_log_probs.new_zeros(())
    for name, logits in students.items():
        if weights[name] > 0:
            student_log_probs = tempered_log_probs(logits, temperature, include_background)
            total = total + weights[name] * mean_kl(student_log_probs, teacher_log_probs, mask)
    return temperature**2 * total


@torch.no_grad()
def _mask(teacher: torch.Tensor, label: torch.Tensor, where: str) -> torch.Tensor | None:
    """The voxels (B, H, W, D) that the KL is over; None for all."""
    if where == "everywhere":
        return None
    if where == "right":
        return teacher.argmax(dim=1) == label[:, 0]
    classes, size = label.float(), 2 * _BAND + 1
    highest = max_pool3d(classes, size, stride=1, padding=_BAND)
    lowest = -max_pool3d(-classes, size, stride=1, padding=_BAND)
    return (highest != lowest)[:, 0]
