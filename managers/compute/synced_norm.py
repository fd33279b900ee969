"""Batch norm over the samples of several processes."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def synchronise(network: nn.Module, on_gpus: bool = False) -> nn.Module:
    """Make the batch norms share statistics over all processes, in place; names and values stay.

    On GPUs they become torch's, whose kernels read the samples twice forward and twice backward.
    Hooks stay, too; torch's own conversion would lose them.
    """
    for module in [m for m in network.modules() if isinstance(m, _BatchNorm)]:
        if on_gpus:
            module.__class__ = nn.SyncBatchNorm
            module.process_group = None  # all processes
        else:
            module.__class__ = SyncedBatchNorm
    return network


class _SumOverProcesses(torch.autograd.Function):
    """Sum of every process's tensor; the gradient is the sum of every process's gradient."""

    @staticmethod
    def forward(ctx, value):
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient):
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class SyncedBatchNorm(_BatchNorm):
    """Batch norm of (N, C, ...) over the samples of all processes on CPUs.

    torch.nn.SyncBatchNorm does the same on GPUs only. Processes may have different numbers of
    samples. Statistics are computed in float32 from two sums, the second of squared deviations,
    which loses no digits. The running variance is the unbiased one over all samples, as with one
    process.
    """

    def _check_input_dim(self, input: torch.Tensor) -> None:
        assert input.ndim >= 2, input.shape

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """(N, C, ...) -> the same; the plain norm in evaluation mode or with one process."""
        if not self.training or not dist.is_initialized():
            return super().forward(samples)
        wide = samples
        if samples.dtype in (torch.float16, torch.bfloat16):
            wide = samples.float()
        others = [axis for axis in range(wide.ndim) if axis != 1]
        shape = [1, -1] + [1] * (wide.ndim - 2)
        sums = torch.cat([wide.sum(others), wide.new_full((1,), wide[:, 0].numel())])
        sums = _SumOverProcesses.apply(sums)
        count, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
        centred = wide - mean.view(shape)
        variance = _SumOverProcesses.apply(centred.square().sum(others)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (centred * scale.view(shape) + self.bias.view(shape)).to(samples.dtype)
