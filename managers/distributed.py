"""Several processes, one per GPU or group of cores: the only file that knows about ranks."""

import os
import warnings
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from data.parallel import num_cores

from .devices import choose_device


@dataclass(frozen=True)
class Processes:
    """This process among those that train together; alone without a process group."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes and reports."""
        return self.rank == 0

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of every process's `value`; the value itself where there is one process."""
        if self.world_size == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total / self.world_size

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network with its gradients averaged over the processes in each backward pass."""
        if self.world_size == 1:
            return network
        on_gpu = next(network.parameters()).device.type == "cuda"
        # The batch norm is synchronised, so that there are no buffers to send around.
        return DistributedDataParallel(network, broadcast_buffers=False,
                                       device_ids=[torch.cuda.current_device()] if on_gpu else None)

    def synchronised(self, network: nn.Module) -> nn.Module:
        """The network with batch statistics over all processes; names and values stay."""
        if self.world_size > 1:
            for module in [m for m in network.modules() if type(m) is nn.BatchNorm1d]:
                module.__class__ = SyncedBatchNorm1d
        return network

    def leave(self) -> None:
        """End the process group; after the last collective, by every process."""
        if self.world_size > 1:
            dist.barrier()
            dist.destroy_process_group()


def is_alone() -> bool:
    """Whether this process trains by itself, so that it may stop between any two steps."""
    return not (dist.is_available() and dist.is_initialized())


def refuse_several_processes() -> None:
    """For a script that is one process: several would each do all of it, into one folder.

    Raises:
        ValueError: torchrun started more than one.
    """
    world_size = int(os.environ.get("WORLD_SIZE", 1))
    if world_size > 1:
        raise ValueError(f"torchrun started {world_size} processes, which is for pretrain_DeSD.py "
                         f"alone. Start this script once, without torchrun; --use_multi_gpus "
                         f"trains on several GPUs.")


def only_main_speaks() -> bool:
    """Whether this process is the one that shows progress; all others keep quiet about warnings.

    To be asked first: reading the tiles is a time before the processes join.
    """
    is_main = int(os.environ.get("WORLD_SIZE", 1)) == 1 or int(os.environ["RANK"]) == 0
    if not is_main:
        warnings.simplefilter("ignore")
    return is_main


def join_processes(device: str) -> tuple[Processes, torch.device]:
    """Join the processes that torchrun started (RANK, WORLD_SIZE, LOCAL_RANK), if it did.

    NCCL between GPUs, gloo between CPUs. One process needs no process group.

    Args:
        device: as for `choose_device`; each process gets the GPU of its local rank.

    Raises:
        ValueError: no such device, or more processes than GPUs.
    """
    chosen = choose_device(device)
    world_size = int(os.environ.get("WORLD_SIZE", 1))
    if world_size == 1:
        return Processes(), chosen
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    if chosen.type == "cuda":
        if local_rank >= torch.cuda.device_count():
            raise ValueError(f"Process {local_rank} has no GPU: this machine has "
                             f"{torch.cuda.device_count()}. Give torchrun --nproc_per_node as "
                             f"many, or --device cpu.")
        chosen = torch.device("cuda", local_rank)
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Processes(rank, world_size), chosen


def loader_workers(wanted: int) -> int:
    """Loader processes of this process: as many as wanted, at most its share of the cores."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return min(wanted, num_cores() // local)


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


class SyncedBatchNorm1d(nn.BatchNorm1d):
    """Batch norm of (N, C) over the rows of all processes, on GPUs and CPUs alike.

    torch.nn.SyncBatchNorm does the same but runs on GPUs only. Statistics are made in float32 from
    two sums, the second of squared deviations, which loses no digits. The running variance is the
    unbiased one over all rows, as with one process.
    """

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(N, C) -> (N, C); in evaluation mode, or alone, what nn.BatchNorm1d does."""
        if not self.training or not dist.is_initialized():
            return super().forward(rows)
        wide = rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
        sums = torch.cat([wide.sum(0), wide.new_tensor([len(wide)])])
        sums = _SumOverProcesses.apply(sums)
        count = sums[-1].detach()
        centred = wide - sums[:-1] / count
        variance = _SumOverProcesses.apply(centred.square().sum(0)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(sums[:-1] / count, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        return (centred * torch.rsqrt(variance + self.eps) * self.weight + self.bias).to(rows.dtype)
