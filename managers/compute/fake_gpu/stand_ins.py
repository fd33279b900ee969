"""Shapes and types that torch knows on CUDA alone, in the place of its operations on a fake GPU.

torch.nn.SyncBatchNorm needs them; torch has no meta implementation of the kernels it is made of.
What each gives is that of aten/src/ATen/native/cuda/Normalization.cu: statistics are in float32 at
least.
"""

import torch

aten = torch.ops.aten


def _statistics(samples: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    return _per_channel(samples), _per_channel(samples)


def _statistics_of_all(samples: torch.Tensor, means: torch.Tensor, *_) -> tuple[torch.Tensor,
                                                                               torch.Tensor]:
    return means.new_empty(means.shape[1]), means.new_empty(means.shape[1])


def _normalised(samples: torch.Tensor, *_) -> torch.Tensor:
    return torch.empty_like(samples)


def _sums_of_gradients(gradient: torch.Tensor, samples: torch.Tensor, mean: torch.Tensor,
                       inverse_std: torch.Tensor, weight: torch.Tensor,
                       *_) -> tuple[torch.Tensor, ...]:
    return (torch.empty_like(mean), torch.empty_like(mean), torch.empty_like(weight),
            torch.empty_like(weight))


def _gradient(gradient: torch.Tensor, samples: torch.Tensor, *_) -> torch.Tensor:
    return torch.empty_like(samples)


def _indexed(values: torch.Tensor, indices: list[torch.Tensor | None]) -> torch.Tensor:
    """With a mask alone, as if it chose all: of a fake one nobody knows."""
    if len(indices) == 1 and indices[0] is not None and indices[0].dtype == torch.bool:
        mask = indices[0]
        return values.new_empty(mask.numel(), *values.shape[mask.ndim:])
    return aten.index.Tensor(values, indices)


def _per_channel(samples: torch.Tensor) -> torch.Tensor:
    dtype = torch.promote_types(samples.dtype, torch.float32)
    return samples.new_empty(samples.shape[1], dtype=dtype)


STAND_INS = {aten.batch_norm_stats.default: _statistics,
             aten.batch_norm_gather_stats_with_counts.default: _statistics_of_all,
             aten.batch_norm_elemt.default: _normalised,
             aten.batch_norm_backward_reduce.default: _sums_of_gradients,
             aten.batch_norm_backward_elemt.default: _gradient,
             aten.index.Tensor: _indexed}
