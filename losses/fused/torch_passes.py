"""The two passes of losses.fused.loss in torch operations, a piece of the volume at a time.

A piece is a box of one sample: on a CPU it stays in the cache, on a GPU it is as large as memory
allows, since each piece costs its launches. All heads of it are one tensor (heads, K, voxels), so
that an operation serves all of them.
"""

from collections.abc import Iterator
from math import lcm, prod

import torch

from ..heads import Head, num_classes_of, stride_of, tensors_of
from .plan import Plan, Slopes, Sums

PIECE = 6144                 # voxels: in the processor's cache; on CUDA see voxels_of_a_piece
ARRAYS = 7                   # of the size of a piece's logits that are alive together
SHARE_OF_MEMORY = 4          # a piece takes this part of the free memory of a GPU
UNKNOWN_MEMORY = 8 << 30     # bytes, where there are fake tensors and no GPU

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
    grads = [pieces.empty_gradients(head) if wanted else None
             for head, wanted in zip(heads, needed, strict=True)]
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
        for index in range(len(heads)):
            if grads[index] is not None:
                pieces.scatter(grad[index], index, grads[index], box)
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
        self.last_steps = [None if isinstance(head, torch.Tensor) else self._last_step(*head[1:])
                           for head in heads]

    def _last_step(self, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Weight (C, K * voxels) and bias (K * voxels, 1) of a last step, of a voxel's voxels."""
        voxels = prod(weight.shape[2:])
        return (weight.to(self.dtype).flatten(1),
                bias.to(self.dtype)[:, None].expand(-1, voxels).reshape(-1, 1))

    def empty_gradients(self, head: Head) -> tuple[torch.Tensor, ...]:
        """In the head's own type, except those by weight and bias, which are summed: 0."""
        data, *others = tensors_of(head)
        return (torch.empty_like(data),
                *(torch.zeros(tensor.shape, dtype=self.dtype, device=tensor.device)
                  for tensor in others))

    def boxes(self) -> Iterator[Box]:
        """All of the volume, in boxes that every head's stride divides."""
        size = self.label.shape[2:]
        steps = [lcm(*(stride_of(head)[axis] for head in self.heads)) for axis in (0, 1)]
        piece = voxels_of_a_piece(self.label.device, len(self.heads) * self.num_classes
                                  * self.dtype.itemsize)
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
        for head, last_step, target in zip(self.heads, self.last_steps, logits, strict=True):
            if last_step is None:
                target.copy_(head[sample, :, rows, columns])
                continue
            weight, bias = last_step
            feature = head[0][(sample, slice(None), *_shrunk(box, head))].to(self.dtype)
            made = torch.addmm(bias, weight.T, feature.flatten(1))
            stride = stride_of(head)
            _by_voxel(target, stride).copy_(made.view(-1, *stride, *feature.shape[1:]))
        return logits.flatten(2)

    def scatter(self, grad: torch.Tensor, index: int, into: tuple[torch.Tensor, ...],
                box: Box) -> None:
        """Put the gradient (K, n) of one box of the head `index` where it belongs."""
        head = self.heads[index]
        sample, rows, columns = box
        grad = grad.view(-1, *self.label[sample, 0, rows, columns].shape)
        if isinstance(head, torch.Tensor):
            into[0][sample, :, rows, columns] = grad
            return
        place = (sample, slice(None), *_shrunk(box, head))
        feature, weight = head[0][place].to(self.dtype), self.last_steps[index][0]
        by_made = _by_voxel(grad, stride_of(head)).reshape(weight.shape[1], -1)
        by_feature, by_weight, by_bias = into
        by_feature[place] = (weight @ by_made).view(feature.shape)
        by_weight.view(len(weight), -1).addmm_(feature.flatten(1), by_made.T)
        by_bias += by_made.view(self.num_classes, -1).sum(1)


def voxels_of_a_piece(device: torch.device, bytes_of_logits: int) -> int:
    """How many voxels to take at once, each with this many bytes of logits.

    On CUDA it follows the free memory, which is known without waiting for the device; where
    determinism is asked for, the memory that the GPU has, since other pieces round otherwise.
    """
    if device.type != "cuda":
        return PIECE
    if not torch.cuda.is_initialized():
        free = UNKNOWN_MEMORY
    elif torch.are_deterministic_algorithms_enabled():
        free = torch.cuda.get_device_properties(device).total_memory // 4
    else:
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = torch.cuda.mem_get_info(device)[0] + cached
    return max(PIECE, free // (SHARE_OF_MEMORY * ARRAYS * bytes_of_logits))


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
