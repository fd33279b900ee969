"""The two passes of losses.fused.loss in torch operations, a piece of the volume at a time.

A piece is a box of one sample that stays in the processor's cache; all heads of it are one tensor
(heads, K, voxels), so that an operation serves all of them.
"""

from collections.abc import Iterator
from math import lcm, prod

import torch

from ..heads import Head, num_classes_of, stride_of, tensors_of
from .plan import Plan, Slopes, Sums

PIECE = {"cpu": 6144, "cuda": 1 << 18}  # voxels: in the cache; few launches, little memory

Box = tuple[int, slice, slice]
"""Sample, and the rows of its first two axes; the third is whole."""


def sums(heads: list[Head], label: torch.Tensor, plan: Plan) -> Sums:
    """First pass: what the loss needs to know of the logits."""
    pieces = _Pieces(heads, label)
    result = Sums.zeros(plan, len(label), pieces.num_classes, label.device)
    for box in pieces.boxes():
        logits, hit = pieces.logits(box), pieces.hit(box)
        log_probs = logits[plan.supervised].log_softmax(1)               # (S, K, n)
        probs = log_probs.exp()
        result.size[:, box[0]] += probs.sum(2)
        result.overlap[:, box[0]] += (probs * hit).sum(2)
        result.count[box[0]] += hit.sum(1)
        result.cross_entropy -= (log_probs * hit).sum((1, 2))
        for index, branch in enumerate(plan.branches):
            log_probs = (logits[branch, plan.first_class:] / plan.temperature).log_softmax(1)
            result.kl[index] += (log_probs[-1].exp() * _behind_teacher(log_probs)).sum()
    return result


def gradients(heads: list[Head], label: torch.Tensor, plan: Plan,
              slopes: Slopes, needed: list[bool]) -> list[tuple[torch.Tensor, ...] | None]:
    """Second pass: the gradients of each head's tensors, in their order; None if not needed."""
    pieces = _Pieces(heads, label)
    grads = [tuple(torch.zeros(tensor.shape, dtype=pieces.dtype, device=label.device)
                   for tensor in tensors_of(head))
             if wanted else None for head, wanted in zip(heads, needed, strict=True)]
    slopes = slopes.to(pieces.dtype)
    by_entropy = slopes.cross_entropy[:, None, None]
    for box in pieces.boxes():
        logits, hit = pieces.logits(box), pieces.hit(box)
        grad = torch.zeros_like(logits)
        probs = logits[plan.supervised].softmax(1)
        by_prob = slopes.size[:, box[0], :, None] + slopes.overlap[:, box[0], :, None] * hit
        by_prob -= (probs * by_prob).sum(1, keepdim=True)
        grad[plan.supervised] = probs * by_prob + by_entropy * (probs - hit)
        for index, branch in enumerate(plan.branches):
            log_probs = (logits[branch, plan.first_class:] / plan.temperature).log_softmax(1)
            probs = log_probs.exp()
            by_logits = grad[branch, plan.first_class:]
            by_logits[:-1] += slopes.kl[index] * (probs[:-1] - probs[-1])
            if not plan.detach_teacher:
                behind = _behind_teacher(log_probs)
                behind -= (probs[-1] * behind).sum(0)
                by_logits[-1] += slopes.kl[index] * probs[-1] * behind
        for index, head in enumerate(heads):
            if grads[index] is not None:
                pieces.scatter(grad[index], head, grads[index], box)
    return grads


def _behind_teacher(log_probs: torch.Tensor) -> torch.Tensor:
    """Sum over students of teacher minus student, (heads, K, n) -> (K, n)."""
    return (len(log_probs) - 1) * log_probs[-1] - log_probs[:-1].sum(0)


class _Pieces:
    """Reads boxes of all heads' logits and of the label, and puts gradients back."""

    def __init__(self, heads: list[Head], label: torch.Tensor):
        self.heads = heads
        self.label = label
        tensors = [tensor for head in heads for tensor in tensors_of(head)]
        double = any(tensor.dtype == torch.float64 for tensor in tensors)
        self.dtype = torch.float64 if double else torch.float32
        self.num_classes = num_classes_of(heads[0])
        self.classes = torch.arange(self.num_classes, device=label.device)[:, None]

    def boxes(self) -> Iterator[Box]:
        """All of the volume, in boxes that every head's stride divides."""
        size = self.label.shape[2:]
        steps = [lcm(*(stride_of(head)[axis] for head in self.heads)) for axis in (0, 1)]
        piece = PIECE.get(self.label.device.type, PIECE["cpu"])
        columns = min(size[1], max(1, piece // (steps[0] * steps[1] * size[2])) * steps[1])
        rows = min(size[0], max(1, piece // (steps[0] * columns * size[2])) * steps[0])
        for sample in range(len(self.label)):
            for row in range(0, size[0], rows):
                for column in range(0, size[1], columns):
                    yield sample, slice(row, row + rows), slice(column, column + columns)

    def hit(self, box: Box) -> torch.Tensor:
        """Where each class is the label: 0/1 (K, n)."""
        sample, rows, columns = box
        label = self.label[sample, 0, rows, columns].reshape(-1)
        return (self.classes == label).to(self.dtype)

    def logits(self, box: Box) -> torch.Tensor:
        """(heads, K, n), the voxels in the volume's order."""
        sample, rows, columns = box
        size = self.label[sample, 0, rows, columns].shape
        logits = torch.empty(len(self.heads), self.num_classes, *size, dtype=self.dtype,
                             device=self.label.device)
        for head, target in zip(self.heads, logits, strict=True):
            if isinstance(head, torch.Tensor):
                target.copy_(head[sample, :, rows, columns])
                continue
            feature, weight, bias = (tensor.to(self.dtype) for tensor in
                                     (head[0][(sample, slice(None), *_shrunk(box, head))],
                                      *head[1:]))
            stride = weight.shape[2:]
            made = torch.addmm(bias.repeat_interleave(prod(stride))[:, None],
                               weight.flatten(1).T, feature.flatten(1))
            _by_voxel(target, stride).copy_(made.view(-1, *stride, *feature.shape[1:]))
        return logits.flatten(2)

    def scatter(self, grad: torch.Tensor, head: Head, into: tuple[torch.Tensor, ...],
                box: Box) -> None:
        """Put a head's gradient (K, n) of one box where it belongs."""
        sample, rows, columns = box
        grad = grad.view(-1, *self.label[sample, 0, rows, columns].shape)
        if isinstance(head, torch.Tensor):
            into[0][sample, :, rows, columns] = grad
            return
        place = (sample, slice(None), *_shrunk(box, head))
        feature, weight = head[0][place].to(self.dtype), head[1].to(self.dtype)
        by_made = _by_voxel(grad, weight.shape[2:]).reshape(weight[0].numel(), -1)
        by_feature, by_weight, by_bias = into
        by_feature[place] = (weight.flatten(1) @ by_made).view(feature.shape)
        by_weight.view(len(weight), -1).addmm_(feature.flatten(1), by_made.T)
        by_bias += by_made.view(self.num_classes, -1).sum(1)


def _shrunk(box: Box, head: Head) -> tuple[slice, slice]:
    """The box's rows and columns on the head's feature."""
    return tuple(slice(axis.start // step, axis.stop // step)
                 for axis, step in zip(box[1:], stride_of(head), strict=False))


def _by_voxel(volume: torch.Tensor, stride: tuple[int, ...]) -> torch.Tensor:
    """(K, h*s0, w*s1, d*s2) as (K, s0, s1, s2, h, w, d), without a copy."""
    channels, height, width, depth = volume.shape
    split = volume.view(channels, height // stride[0], stride[0], width // stride[1], stride[1],
                        depth // stride[2], stride[2])
    return split.permute(0, 2, 4, 6, 1, 3, 5)
