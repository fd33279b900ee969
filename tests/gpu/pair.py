"""Two processes on a fake GPU: what the first one does, while the other answers at once."""

from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn
from torch.testing._internal.distributed.fake_pg import FakeStore

from managers.compute.distributed import Processes
from managers.compute.fake_gpu.device import GPU, fake_gpu, place
from managers.compute.synced_norm import synchronise
from tests.gpu import runs


class OneOfTwo(Processes):
    """The first of two processes; gradients are not averaged.

    DistributedDataParallel does that in C++, which reads the values that fake tensors lack.
    """

    def __init__(self):
        super().__init__(0, 2)

    def parallel(self, network):
        return network


@contextmanager
def one_of_two():
    """Within, there is a process group, which is not gloo's, and what it exchanges is made up."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        yield OneOfTwo()
    finally:
        dist.destroy_process_group()


def steps(method, network, *flags):
    """As runs.steps."""
    with one_of_two() as processes:
        return runs.steps(method, network, *flags, processes=processes)


def desd_steps(*flags):
    """As runs.desd_steps."""
    with one_of_two() as processes:
        return runs.desd_steps(*flags, processes=processes)


def norms(dtype):
    """What batch norm takes: one process's, ours of several on CPUs, and torch's on GPUs.

    Bytes and peak memory as multiples of the input.
    """
    found = {}
    with one_of_two():
        for kind in ("one process", "ours", "torch"):
            norm = nn.BatchNorm3d(32)
            if kind != "one process":
                synchronise(norm, on_gpus=kind == "torch")
            with fake_gpu() as count:
                place(norm)
                samples = torch.empty(2, 32, 96, 96, 96, device=GPU, dtype=dtype,
                                      requires_grad=True)
                size = samples.numel() * samples.element_size()
                count.start()
                normalised = norm(samples)
                normalised.backward(torch.empty_like(normalised))
                found[kind] = runs.told(count) | {"bytes": round(count.bytes / size, 1)}
    return found
