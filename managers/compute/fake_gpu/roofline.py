"""The least time that kernels can take on a GPU of known figures."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from configs.training.gpus import Gpu

from .counting import Kernel

HOST_SECONDS = 5e-6  # of Python and torch for a launch, the next one not before: a usual CPU's
HALF = (torch.float16, torch.bfloat16)


class Roofline(NamedTuple):
    """Seconds.

    Attributes:
        memory: of all bytes at the memory's full rate.
        arithmetic: of all FLOPs at the full rate of their type.
        gpu: of all kernels, each the longer of its two: no GPU is faster.
        host: to launch them one after the other. A step takes this or `gpu`, the longer.
    """

    memory: float
    arithmetic: float
    gpu: float
    host: float


def roofline(kernels: Sequence[Kernel], gpu: Gpu, tf32: bool) -> Roofline:
    """The roofline of some kernels.

    Args:
        tf32: whether matrix products in float32 may take TensorFloat-32; convolutions always do.
    """
    memory = [kernel.bytes / (gpu.gb_per_s * 1e9) for kernel in kernels]
    arithmetic = [kernel.flops / (_rate(kernel, gpu, tf32) * 1e12) for kernel in kernels]
    both = sum(max(pair) for pair in zip(memory, arithmetic, strict=True))
    return Roofline(sum(memory), sum(arithmetic), both, len(kernels) * HOST_SECONDS)


def _rate(kernel: Kernel, gpu: Gpu, tf32: bool) -> float:
    """TFLOP/s."""
    if kernel.dtype in HALF:
        return gpu.half
    if tf32 or "convolution" in kernel.name:
        return gpu.tf32
    return gpu.single
