"""Launches the kernels of losses.fused_triton_kernels: units of work, rows of sums, memory."""

from contextlib import AbstractContextManager, nullcontext
from math import lcm, prod

import torch

from .fused_plan import Plan, Sums
from .heads import Head, num_classes_of, stride_of, tensors_of

MOST_PROGRAMS = 512  # of a sample and a unit of work; the sums' order depends on it, not on the GPU
MOST_ROWS = 1 << 26  # bytes of all programs' rows: fewer programs where weights are large
ELEMENTS = 512       # classes x voxels of a block, which one warp holds in its registers
OPTIONS = {"num_warps": 1, "num_stages": 1}


def sums(heads: list[Head], label: torch.Tensor, plan: Plan) -> torch.Tensor:
    """First pass: the sums of each sample, (B, row_of_sums) in float64; see as_sums."""
    from .fused_triton_kernels import sums_kernel
    work = _Work(heads, label, plan)
    units = [(branch, first, last, _cell(heads[first:last + 1]))
             for branch, first, last in _groups(len(heads), plan)]
    row = row_of_sums(plan, work.num_classes)
    programs = work.programs([unit[3] for unit in units], row)
    rows = torch.zeros(len(label), programs, row, device=label.device)
    with _current(label.device):
        sums_kernel[(programs, len(label), len(units))](
            work.heads, work.label, rows, *work.size, 1 / plan.temperature, UNITS=tuple(units),
            NUM_SUPERVISED=plan.num_supervised, ROW=row, **work.constants, **OPTIONS)
    return rows.sum(1, dtype=torch.float64)


def row_of_sums(plan: Plan, num_classes: int) -> int:
    """Numbers that make the sums of one sample."""
    return (2 * plan.num_supervised + 1) * num_classes + plan.num_supervised + len(plan.branches)


def as_sums(found: torch.Tensor, plan: Plan, num_classes: int) -> Sums:
    """What `sums` returns, by name and without a copy where samples stay apart."""
    heads, batch = plan.num_supervised, len(found)
    by_class = heads * num_classes
    overlap, size, count, cross_entropy, kl = found.split(
        [by_class, by_class, num_classes, heads, len(plan.branches)], dim=1)
    return Sums(overlap.view(batch, heads, num_classes).transpose(0, 1),
                size.view(batch, heads, num_classes).transpose(0, 1), count,
                cross_entropy.sum(0), kl.sum(0))


def gradients(heads: list[Head], label: torch.Tensor, plan: Plan, slopes: torch.Tensor,
              needed: list[bool]) -> list[torch.Tensor]:
    """Second pass: by the first tensor of each needed head, then by their weights and biases.

    Args:
        slopes: losses.fused_plan.Slopes, one after the other, in float32.
        needed: of the heads.

    Returns:
        Tensors like the heads' first ones, and a vector of all weights' and biases' gradients,
        each weight's before its bias's, in float32.
    """
    from .fused_triton_kernels import gradients_kernel
    work = _Work(heads, label, plan)
    grads = [torch.empty_like(head[0]) if wanted else head[0]  # the latter is not written
             for head, wanted in zip(work.heads, needed, strict=True)]
    units, row, scratch = [], 0, 0
    for head, branch, teacher, first, stop in _roles(len(heads), plan):
        if not needed[head]:
            continue
        reads = [head, *range(first, stop)] if teacher == head else [head, max(teacher, head)]
        units.append((head, branch, teacher, first, stop,
                      _cell([heads[index] for index in reads]), row))
        row += sum(tensor.numel() for tensor in tensors_of(heads[head])[1:])
        if prod(stride_of(heads[head])) > 1:
            scratch = max(scratch, heads[head][0].shape[1] * work.block)
    programs = work.programs([unit[5] for unit in units], row)
    rows = torch.zeros(len(label) * programs, row, device=label.device)
    kept = torch.empty(len(label) * programs * len(units) * scratch, device=label.device)
    with _current(label.device):
        gradients_kernel[(programs, len(label), len(units))](
            work.heads, tuple(grads), work.label, rows, kept, slopes, *work.size,
            1 / plan.temperature, UNITS=tuple(units),
            NUM_SUPERVISED=plan.num_supervised, ROW=row, SCRATCH=scratch, **work.constants,
            **OPTIONS)
    return [grad for grad, wanted in zip(grads, needed, strict=True) if wanted] + [rows.sum(0)]


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """The same tensor where its voxels follow each other in memory, else a copy."""
    if tensor.is_contiguous(memory_format=torch.channels_last_3d):
        return tensor
    return tensor.contiguous()


class _Work:
    """What both passes tell their kernel of the heads and the volume."""

    def __init__(self, heads: list[Head], label: torch.Tensor, plan: Plan):
        self.size = tuple(label.shape[2:])
        self.num_classes = num_classes_of(heads[0])
        padded = 1 << (self.num_classes - 1).bit_length()
        self.block = max(32, ELEMENTS // padded)
        label = label.contiguous()
        self.label = label.to(torch.uint8) if label.dtype == torch.bool else label
        self.heads = tuple(_described(head) for head in heads)
        specs = tuple((0 if isinstance(head, torch.Tensor) else head[0].shape[1],
                       stride_of(head), index if index < plan.num_supervised else -1)
                      for index, head in enumerate(heads))
        self.constants = {"SPECS": specs, "K": self.num_classes, "FIRST_CLASS": plan.first_class,
                          "PADDED": padded, "BLOCK": self.block}

    def programs(self, cells: list[tuple[int, int, int]], row: int) -> int:
        """Of each sample and unit: no more than its blocks, and rows that stay small."""
        most = max(prod(cell) * -(-prod(self.size) // (prod(cell) * self.block))
                   for cell in cells)
        memory = MOST_ROWS // (4 * max(row, 1) * len(self.label))
        return max(1, min(MOST_PROGRAMS, most, memory))


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


def _roles(num_heads: int, plan: Plan) -> list[tuple[int, int, int, int, int]]:
    """(head, branch, teacher, first student, end of students) of each head; -1 for none.

    A teacher that takes gradients is its own teacher.
    """
    roles = []
    for branch, first, last in _groups(num_heads, plan):
        roles += [(head, branch, last, first, last) for head in range(first, last)]
        taught = branch >= 0 and first < last and not plan.detach_teacher
        roles.append((last, branch, last if taught else -1, first, last))
    return roles


def _cell(heads: list[Head]) -> tuple[int, int, int]:
    """The smallest box that all strides divide."""
    return tuple(lcm(*(stride_of(head)[axis] for head in heads)) for axis in range(3))


def _current(device: torch.device) -> AbstractContextManager:
    """Triton launches on the current device, whatever device its tensors are on."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
