"""Launches the Triton kernels of the DSD loss and adds up what their programs summed."""

from contextlib import AbstractContextManager, nullcontext
from math import lcm, prod

import torch

from ..dice_ce import SMOOTH
from ..heads import Head, num_classes_of, stride_of, tensors_of
from .plan import Plan

MOST_PROGRAMS = 1 << 11  # of a sample: enough for any GPU, and the same sums on all of them
MOST_ROWS = 1 << 26      # bytes of all programs' rows: fewer programs where weights are large
ELEMENTS = 256           # classes x voxels of a block: few registers, so many programs at once
LEAST_VOXELS = 16        # of a block: less would waste what a read brings
OPTIONS = {"num_warps": 1, "num_stages": 1}
NO_KL, STUDENT, TEACHER = range(3)


def sums(heads: list[Head], label: torch.Tensor, plan: Plan) -> torch.Tensor:
    """First pass: the sums of each sample, (B, row_of_sums) in float64.

    In the order of losses.fused.plan.Sums, each for all heads."""
    from .triton_kernels import sums_kernel
    work = _Work(heads, label, plan)
    groups = _groups(len(heads), plan)
    cells = [_cell(heads[first:last + 1]) for _, first, last in groups]
    row = row_of_sums(plan, work.num_classes)
    programs = min(work.programs(cell, prod(cell), row) for cell in cells)
    rows = torch.empty(len(label), programs, row, device=label.device)
    with _current(label.device):
        for (branch, first, last), cell in zip(groups, cells, strict=True):
            sums_kernel[(programs, len(label))](
                work.heads[first:last + 1], work.label, rows, first, branch, *work.size,
                1 / plan.temperature, SPECS=work.specs[first:last + 1], CELL=cell,
                SUPERVISED=last < plan.num_supervised, COUNTS=first == 0, ROW=row,
                **work.constants)
    return rows.sum(1, dtype=torch.float64)


def row_of_sums(plan: Plan, num_classes: int) -> int:
    """Numbers that make the sums of one sample."""
    return (2 * plan.num_supervised + 1) * num_classes + plan.num_supervised + len(plan.branches)


def terms(found: torch.Tensor, plan: Plan, num_classes: int, num_voxels: int,
          alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Total and terms, (S + branches,), of the sums; see losses.fused.plan.Sums.terms."""
    from .triton_finish import terms_kernel
    number = plan.num_supervised + len(plan.branches)
    values = torch.empty(number, device=found.device)
    total = torch.empty((), device=found.device)
    with _current(found.device):
        terms_kernel[(1,)](found, values, total, len(found), num_voxels, alpha, plan.temperature,
                           NUM_BRANCHES=len(plan.branches), **_constants(plan, num_classes))
    return total, values


def slopes(found: torch.Tensor, plan: Plan, num_classes: int, num_voxels: int, alpha: float,
           by_total: torch.Tensor | None, by_terms: torch.Tensor | None) -> torch.Tensor:
    """losses.fused.plan.Slopes, one after the other, in float32.

    Args:
        by_total: gradient of whatever by the total, None for 0; by_terms: by the terms.
    """
    from .triton_finish import slopes_kernel
    number = plan.num_supervised + len(plan.branches)
    result = torch.empty(2 * plan.num_supervised * len(found) * num_classes + number,
                         device=found.device)
    with _current(found.device):
        slopes_kernel[(number,)](
            found, found if by_total is None else by_total,
            found if by_terms is None else by_terms.contiguous(), result, len(found), num_voxels,
            alpha, plan.temperature, HAS_TOTAL=by_total is not None,
            HAS_TERMS=by_terms is not None, **_constants(plan, num_classes))
    return result


def _constants(plan: Plan, num_classes: int) -> dict[str, int | float]:
    return {"SMOOTH": SMOOTH, "K": num_classes, "NUM_SUPERVISED": plan.num_supervised,
            "ROW": row_of_sums(plan, num_classes), "PADDED": _padded(num_classes), **OPTIONS}


def _padded(num_classes: int) -> int:
    """The next power of two, as the blocks of Triton are."""
    return 1 << (num_classes - 1).bit_length()


def gradients(heads: list[Head], label: torch.Tensor, plan: Plan, slopes: torch.Tensor,
              needed: list[bool]) -> list[torch.Tensor]:
    """Second pass: by the first tensor of each needed head, and by its weight and bias.

    Args:
        slopes: see `slopes`.
        needed: of the heads.

    Returns:
        Tensors like the heads' first ones, each followed by a vector of the gradients of weight
        and bias, in float32, where logits are not whole.
    """
    work = _Work(heads, label, plan)
    grads = []
    with _current(label.device):
        for roles in _roles(len(heads), plan):
            if needed[roles[0]]:
                grads += _gradients_of(work, heads, label, plan, slopes, *roles)
    return grads


def _gradients_of(work: "_Work", heads: list[Head], label: torch.Tensor, plan: Plan,
                  slopes: torch.Tensor, head: int, branch: int, role: int,
                  others: list[int]) -> list[torch.Tensor]:
    """Those of one head; `others` are its teacher or its students."""
    from .triton_kernels import gradients_kernel
    read = [head, *others]
    cell, voxels = _cell([heads[index] for index in read]), prod(stride_of(heads[head]))
    data = work.heads[head][0]
    row = sum(tensor.numel() for tensor in tensors_of(heads[head])[1:])
    programs = work.programs(cell, prod(cell) // voxels, row)
    rows = torch.empty(len(label) * programs, row, device=label.device)
    kept = data.shape[1] * work.block if voxels > 1 else 0
    grad = torch.empty_like(data)
    gradients_kernel[(programs, len(label))](
        tuple(work.heads[index] for index in read), grad, work.label, rows,
        torch.empty(len(label) * programs * kept, device=label.device), slopes, head, branch,
        *work.size, 1 / plan.temperature, SPECS=tuple(work.specs[index] for index in read),
        CELL=cell, SUPERVISED=head < plan.num_supervised, ROLE=role, ROW=row, **work.constants)
    return [grad, rows.sum(0)] if row else [grad]


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """The same tensor where its voxels follow each other in memory, else a copy."""
    if tensor.is_contiguous(memory_format=torch.channels_last_3d):
        return tensor
    return tensor.contiguous()


class _Work:
    """What both passes tell their kernel of the heads and the volume."""

    def __init__(self, heads: list[Head], label: torch.Tensor, plan: Plan):
        self.batch, self.size = len(label), tuple(label.shape[2:])
        self.num_classes = num_classes_of(heads[0])
        padded = _padded(self.num_classes)
        self.block = min(max(ELEMENTS // padded, LEAST_VOXELS), 32)
        label = label.contiguous()
        self.label = label.to(torch.uint8) if label.dtype == torch.bool else label
        self.heads = tuple(_described(head) for head in heads)
        self.specs = tuple((0 if isinstance(head, torch.Tensor) else head[0].shape[1],
                            stride_of(head)) for head in heads)
        self.constants = {"K": self.num_classes, "FIRST_CLASS": plan.first_class,
                          "NUM_SUPERVISED": plan.num_supervised, "PADDED": padded,
                          "BLOCK": self.block, **OPTIONS}
        if padded * self.block > ELEMENTS:
            self.constants["maxnreg"] = 255  # all of them, rather than some on the stack

    def programs(self, cell: tuple[int, int, int], parts: int, row: int) -> int:
        """Of each sample: each has a block at least, and all their rows stay small."""
        blocks = -(-prod(self.size) // (prod(cell) * self.block))
        return max(1, min(MOST_PROGRAMS, blocks * parts, MOST_ROWS // (4 * self.batch * (row + 1))))


def _described(head: Head) -> tuple[torch.Tensor | int, ...]:
    """A head as the kernels take it."""
    data, weight, bias = (dense(head),) * 3 if isinstance(head, torch.Tensor) else (
        dense(head[0]), head[1].contiguous(), head[2].contiguous())
    channels, voxels = data.shape[1], prod(data.shape[2:])
    by_channel, by_voxel = (voxels, 1) if data.is_contiguous() else (1, channels)
    return data, weight, bias, channels * voxels, by_channel, by_voxel


def _groups(num_heads: int, plan: Plan) -> list[tuple[int, int, int]]:
    """(branch, first head, last head): each branch, and as branch -1 each head of none."""
    groups = [(number, branch.start, branch.stop - 1)
              for number, branch in enumerate(plan.branches)]
    inside = {head for branch in plan.branches for head in range(branch.start, branch.stop)}
    return [(-1, head, head) for head in range(num_heads) if head not in inside] + groups


def _roles(num_heads: int, plan: Plan) -> list[tuple[int, int, int, list[int]]]:
    """(head, branch, role, its teacher or its students) of each head, in their order."""
    roles = []
    for branch, first, last in _groups(num_heads, plan):
        students = list(range(first, last))
        roles += [(head, branch, STUDENT, [last]) for head in students]
        taught = students and not plan.detach_teacher
        roles.append((last, branch, TEACHER, students) if taught else (last, branch, NO_KL, []))
    return sorted(roles)


def _cell(heads: list[Head]) -> tuple[int, int, int]:
    """The smallest box that all strides divide."""
    return tuple(lcm(*(stride_of(head)[axis] for head in heads)) for axis in range(3))


def _current(device: torch.device) -> AbstractContextManager:
    """Triton launches on the current device, whatever device its tensors are on."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
