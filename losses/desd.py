"""The self-distillation loss over the crops and depths of an encoder (DeSD, MICCAI 2022)."""

import math
from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import cross_entropy

from .dice_ce import in_float32
from .managed import RunningLoss, refuse_out_of_range


def teacher_targets(teacher_logits: torch.Tensor, center: torch.Tensor,
                    teacher_temp: float = 0.04) -> torch.Tensor:
    """softmax((logits - center) / temperature): centred and sharpened (DINO, ICCV 2021).

    From raw logits (2B, K) and a centre (1, K) to probabilities (2B, K) without a gradient, in
    float32 or wider. A temperature below the student's sharpens.
    """
    centred = in_float32(teacher_logits.detach()) - center
    return (centred / teacher_temp).softmax(dim=-1)


def crop_targets(targets: torch.Tensor, num_crops: int) -> torch.Tensor:
    """What each crop has to predict: the targets of the other global views.

    They are added up and scaled so that the mean cross-entropy over all rows is the mean over the
    pairs of a global view and another crop, with one product per crop instead of per pair.

    Args:
        targets: (2B, K), of global view 0, then of view 1.
        num_crops: V, both global views among them, at least 2.

    Returns:
        (V * B, K), crop-major: view 0 gets the target of view 1, view 1 that of view 0, each
        local crop both.
    """
    first, second = targets.chunk(2)
    local = [first + second] * (num_crops - 2)
    return torch.cat([second, first, *local]) * (num_crops / (2 * (num_crops - 1)))


def head_losses(student_logits: Sequence[torch.Tensor], targets: torch.Tensor,
                student_temp: float = 0.1) -> list[torch.Tensor]:
    """Cross-entropy of every head with the teacher's targets, averaged over samples and pairs.

    From each head's logits (V * B, K), crop-major with the two global views first, and targets
    (2B, K) to a scalar per head, in float32 or wider.
    """
    expected = crop_targets(targets, 2 * len(student_logits[0]) // len(targets))
    return [cross_entropy(in_float32(logits) / student_temp, expected)
            for logits in student_logits]


def desd_loss(student_logits: Sequence[torch.Tensor], teacher_logits: torch.Tensor,
              center: torch.Tensor, student_temp: float = 0.1, teacher_temp: float = 0.04,
              ) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Every head of the student predicts, from each crop, the teacher's targets of the others.

    For a head with logits s and for the targets p = softmax((t - center) / teacher_temp),

        L = mean over i in {0, 1}, v != i of  mean over samples of  -p_i . log_softmax(s_v / Ts)

    so V crops make 2 (V - 1) pairs. The total is the mean of the heads' losses; the teacher
    gets no gradient.

    Args:
        student_logits: of each head (V * B, K), shallow to deep; the rows are crop-major, all
            samples of global view 0, all of view 1, then local crops.
        teacher_logits: (2B, K), raw, of the two global views.
        center: (1, K), see `updated_center`.
        student_temp, teacher_temp: above 0; Ts is the student's.

    Returns:
        The total, and the loss of every head, shallow to deep: scalars in float32 or wider.

    Raises:
        ValueError: shapes that do not fit together.
    """
    _check_shapes(student_logits, teacher_logits, center)
    targets = teacher_targets(teacher_logits, center, teacher_temp)
    per_head = head_losses(student_logits, targets, student_temp)
    return torch.stack(per_head).mean(), per_head


def entropies(probs: torch.Tensor) -> torch.Tensor:
    """Entropy in nats over the last axis of probabilities (..., K); 0 log 0 is 0."""
    return torch.special.entr(probs).sum(dim=-1)


def updated_center(center: torch.Tensor, batch_mean: torch.Tensor,
                   momentum: float = 0.9) -> torch.Tensor:
    """momentum * center + (1 - momentum) * batch_mean, all (1, K) (DINO, ICCV 2021)."""
    return momentum * center + (1 - momentum) * batch_mean


def _check_shapes(student_logits: Sequence[torch.Tensor], teacher_logits: torch.Tensor,
                  center: torch.Tensor) -> None:
    shapes = [tuple(logits.shape) for logits in student_logits]
    teacher = tuple(teacher_logits.shape)
    problems = []
    if not shapes or len(set(shapes)) > 1:
        problems.append(f"the heads' logits must be one or more of one shape, got {shapes}")
    if len(teacher) != 2 or teacher[0] < 2 or teacher[0] % 2:
        problems.append(f"the teacher's logits must be (2B, K), got {teacher}")
    elif shapes and (len(shapes[0]) != 2 or shapes[0][1] != teacher[1]
                     or shapes[0][0] < teacher[0] or shapes[0][0] % (teacher[0] // 2)):
        problems.append(f"the student's logits must be (V * {teacher[0] // 2}, {teacher[1]}) with "
                        f"V >= 2 crops, for teacher's logits {teacher}; got {shapes[0]}")
    if tuple(center.shape) != (1, *teacher[1:]):
        problems.append(f"the centre must be {(1, *teacher[1:])}, got {tuple(center.shape)}")
    if problems:
        raise ValueError(f"DeSD loss: {'; '.join(problems)}.")


class DeSDLoss(RunningLoss):
    """The DeSD loss with its centre, called as loss(student_logits, teacher_logits).

    After each training step the centre moves towards the mean of the teacher's raw logits, so it
    lags one step behind the targets; in evaluation it stays.

    Its mean terms are "loss_ssl" (the deepest head), "deep_loss_1", "deep_loss_2", ... (the
    others, shallow to deep), "teacher_entropy" (of the targets, in nats), "kl" (teacher to
    deepest head: its loss without that entropy), "target_information" (nats that the targets
    tell about which row of the batch they belong to: the entropy of their mean, over all
    processes, without the mean of their entropies) and "center_norm" (after the step).

    The state dict holds "center" alone; the unused "loss_center" of the authors' files is ignored.

    Attributes:
        teacher_temp: to be set anew in each epoch, see managers.schedules.teacher_temperature.
        center: (1, out_dim), zero at first.

    Args:
        out_dim: K, width of the logits.
        student_temp: above 0.
        center_momentum: share of the old centre that stays, from 0 to 1.
        average: from this process's means (2, K), of logits and of targets, to those over all
            processes, so that one collective does for both; None for a single process.

    Raises:
        ValueError: values out of range, all of them in one message.
    """

    center: torch.Tensor

    def __init__(self, out_dim: int, student_temp: float = 0.1, center_momentum: float = 0.9,
                 average: Callable[[torch.Tensor], torch.Tensor] | None = None):
        refuse_out_of_range("DeSD", [
            (out_dim >= 1, f"out_dim must be at least 1, got {out_dim}"),
            (0 < student_temp < math.inf, f"student_temp must be above 0, got {student_temp}"),
            (0 <= center_momentum <= 1,
             f"center_momentum must be from 0 to 1, got {center_momentum}"),
        ])
        super().__init__()
        self.student_temp = student_temp
        self.teacher_temp = 0.04
        self.center_momentum = center_momentum
        self.average = average
        self.register_buffer("center", torch.zeros(1, out_dim))
        self.register_load_state_dict_pre_hook(_without_loss_center)

    def terms(self, outputs: Sequence[torch.Tensor],
              target: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Total and terms; see `desd_loss`, whose student_logits and teacher_logits these are.

        Raises:
            ValueError: shapes that do not fit together or to out_dim.
        """
        _check_shapes(outputs, target, self.center)
        targets = teacher_targets(target, self.center, self.teacher_temp)
        *shallow, deepest = per_head = head_losses(outputs, targets, self.student_temp)
        mean_logits, mean_target = self._batch_means(target.detach(), targets)
        if self.training:
            self.center.copy_(updated_center(self.center, mean_logits, self.center_momentum))
        entropy = entropies(targets).mean()
        terms = {"loss_ssl": deepest}
        for i, loss in enumerate(shallow, start=1):
            terms[f"deep_loss_{i}"] = loss
        terms |= {"teacher_entropy": entropy, "kl": deepest - entropy,
                  "target_information": entropies(mean_target).sum() - entropy,
                  "center_norm": self.center.norm()}
        return torch.stack(per_head).mean(), terms

    def _batch_means(self, *rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Mean over the rows of all processes of each of the tensors (2B, K), as (1, K)."""
        means = torch.stack([in_float32(each).mean(dim=0) for each in rows])
        if self.average is not None:
            means = self.average(means)
        return means.split(1)


def _without_loss_center(_module, state_dict, prefix, *_) -> None:
    state_dict.pop(f"{prefix}loss_center", None)
