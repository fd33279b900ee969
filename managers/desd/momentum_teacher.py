"""The momentum teacher: a slow mean of the student (DINO, ICCV 2021; DeSD, MICCAI 2022)."""

from collections.abc import Sequence

import torch
from torch import nn

SHOWN = 5  # names in an error message


def pair_by_name(teacher: nn.Module, student: nn.Module,
                 ) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The teacher's parameters and the student's of the same names, in the teacher's order.

    What only the student has, such as its shallow heads, is left out. A module wrapped in
    DistributedDataParallel or DataParallel counts as the module inside.

    Differs from the authors' code: theirs pairs by position, so another order of the heads would
    average tensors that do not belong together.

    Raises:
        ValueError: the student lacks parameters of the teacher or has them in another shape; all
            are counted and the first ones named.
    """
    students = dict(_unwrapped(student).named_parameters())
    teachers = dict(_unwrapped(teacher).named_parameters())
    problems = []
    for name, parameter in teachers.items():
        if name not in students:
            problems.append(f"{name} is absent from the student")
        elif students[name].shape != parameter.shape:
            problems.append(f"{name} is {tuple(parameter.shape)} in the teacher, "
                            f"{tuple(students[name].shape)} in the student")
    if problems:
        more = ""
        if len(problems) > SHOWN:
            more = f"; and {len(problems) - SHOWN} more"
        raise ValueError("the teacher cannot follow this student; build both with one "
                         f"architecture and head: {'; '.join(problems[:SHOWN])}{more}.")
    return list(teachers.values()), [students[name] for name in teachers]


@torch.no_grad()
def update(teacher: Sequence[torch.Tensor], student: Sequence[torch.Tensor],
           momentum: float) -> None:
    """teacher <- momentum * teacher + (1 - momentum) * student, in place.

    An interpolation: one kernel for all tensors on a GPU, and equal tensors stay equal to the
    last bit. Nothing waits for the device. Buffers are not averaged: a teacher's batch norm has
    running statistics of its own.

    Args:
        teacher: from `pair_by_name`, called once, not at each step.
        student: as many tensors, of the same shapes.
        momentum: from 0 (copy the student) to 1 (stay).
    """
    torch._foreach_lerp_(teacher, student, 1 - momentum)


def _unwrapped(module: nn.Module) -> nn.Module:
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    if isinstance(module, wrappers):
        return module.module
    return module
