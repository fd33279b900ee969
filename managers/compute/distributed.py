"""Several processes, one per GPU or group of cores: the only file that knows about ranks."""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from system.exit import LOGGER_NAME, StatedError, is_started_among_several
from system.workers import num_cores

from .devices import choose_device
from .synced_norm import synchronise

Item = TypeVar("Item")
LOST = "another process has ended, see its message"
SIGNS_OF_LOSS = ("Connection closed by peer", "Connection reset by peer", "remote process exited",
                 "Broken pipe")  # in messages of gloo and NCCL
# A process that exits closes its connections, so its peers fail at once: only work is waited for.
STEP_TIMEOUT, WORK_TIMEOUT = timedelta(hours=2), timedelta(days=7)


@dataclass(frozen=True)
class Processes:
    """This process among those that train together; a single one needs no process group.

    Attributes:
        control: group for values on the host; the default group is for tensors on the device.
    """

    rank: int = 0
    world_size: int = 1
    control: Any = field(default=None, compare=False, repr=False)

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes and reports."""
        return self.rank == 0

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Within, the others begin when the main process has finished; all leave together.

        So problems of the input are reported once and files are made once. When the main process
        goes on, e.g. to create the run's folder, no other process is still reading.
        """
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()
        self.wait()

    def wait(self) -> None:
        """Wait until all processes have called this.

        Raises:
            StatedError: another process has ended; so do all methods that wait for the others.
        """
        if self.world_size > 1:
            with _with_the_others():
                dist.barrier(self.control)

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of every process's `value`; with one process the value itself."""
        if self.world_size == 1:
            return value
        total = value.detach().clone()
        group = None
        if total.device.type == "cpu":
            group = self.control
        dist.all_reduce(total, group=group)
        return total / self.world_size

    def share(self, items: Sequence[Item]) -> list[Item]:
        """This process's share of the items: every world_size-th."""
        return list(items[self.rank::self.world_size])

    def turns(self, items: Sequence[Item]) -> list[list[Item]]:
        """The `share` one by one, as many turns in every process; the last may be empty."""
        starts = range(0, len(items), self.world_size)
        return [list(items[start + self.rank:start + self.rank + 1]) for start in starts]

    def in_order(self, found: Sequence[Item]) -> list[Item]:
        """Every process's results for its `share`, in the order of all items."""
        if self.world_size == 1:
            return list(found)
        of_all: list[Any] = [None] * self.world_size
        with _with_the_others():
            dist.all_gather_object(of_all, list(found), self.control)
        return [of_all[index % self.world_size][index // self.world_size]
                for index in range(sum(map(len, of_all)))]

    def largest(self, number: int) -> int:
        """The largest of every process's `number`; waits for all."""
        return max(self._of_all(number))

    def is_first(self, number: int | None) -> bool | None:
        """Whether this process has the smallest `number` of all; None if all have None.

        Among equals the lowest rank is first. Waits for all.
        """
        no_number = torch.iinfo(torch.int64).max
        if number is None:
            number = no_number
        numbers = self._of_all(number)
        smallest = min(numbers)
        if smallest == no_number:
            return None
        return numbers.index(smallest) == self.rank

    def _of_all(self, number: int) -> list[int]:
        """Every process's `number`, by rank."""
        if self.world_size == 1:
            return [number]
        with _with_the_others():
            found, work = self.ask_all(number)
            work.wait()
        return [int(one) for one in found]

    def ask_all(self, number: int) -> tuple[list[torch.Tensor], Any]:
        """Tensors that will hold every process's `number`, by rank, and the work to wait for."""
        found = [torch.zeros((), dtype=torch.int64) for _ in range(self.world_size)]
        return found, dist.all_gather(found, torch.tensor(number), self.control, async_op=True)

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network with its gradients averaged over the processes in each backward pass.

        The graph must be the same in every step. A parameter that no output depends on may stay
        without a gradient; all outputs must have one.
        """
        if self.world_size == 1:
            return network
        device_ids = None
        if next(network.parameters()).device.type == "cuda":
            device_ids = [torch.cuda.current_device()]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*broadcast_buffers.*")  # from torch 2.13 on
            # Batch norms are synchronised, so there are no buffers to send around.
            return DistributedDataParallel(network, broadcast_buffers=False, static_graph=True,
                                           device_ids=device_ids)

    def synchronised(self, network: nn.Module) -> nn.Module:
        """The network with batch statistics over all processes; names and values stay."""
        if self.world_size == 1:
            return network
        return synchronise(network, on_gpus=dist.get_backend() != "gloo")

    def seed_step(self, seed: int, epoch: int, step: int) -> None:
        """Give each process its own random numbers, a function of values known anyway.

        A single process just continues with its generators.
        """
        if self.world_size > 1:
            drawn = np.random.SeedSequence((seed, epoch, step, self.rank)).generate_state(1)
            torch.manual_seed(int(drawn[0]))

    def leave(self) -> None:
        """End the process group; after the last collective, by every process."""
        self.wait()
        if self.world_size > 1:
            dist.destroy_process_group()


class StopVote:
    """Whether any process has received a signal: all learn of it at the same step.

    Every process asks once per step. None waits for the others' current step: each answer is to
    the previous question.
    """

    def __init__(self, processes: Processes):
        self.processes = processes
        self.agreed: int | None = None
        self._asked: tuple[list[torch.Tensor], Any] | None = None

    def ask(self, number: int | None) -> int | None:
        """The number of the signal; None as long as there was none."""
        if self.processes.world_size == 1:
            self.agreed = number
        elif self.agreed is None:
            if self._asked is not None:
                found, work = self._asked
                work.wait()
                self.agreed = int(max(found)) or None
            if self.agreed is None:
                self._asked = self.processes.ask_all(number or 0)
        return self.agreed

    def settle(self, number: int | None) -> int | None:
        """The answer to all questions so far and this one; waits for all processes."""
        self.ask(number)
        if self.processes.world_size > 1:
            self.ask(number)
        return self.agreed


@contextmanager
def _with_the_others() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if has_lost_another(error):
            raise StatedError(LOST) from error
        raise


def has_lost_another(error: BaseException) -> bool:
    """Whether an error only means that another process has ended."""
    if not isinstance(error, RuntimeError):
        return False
    return any(sign in str(error) for sign in SIGNS_OF_LOSS)


def refuse_several_processes() -> None:
    """For single-process scripts: each of several would do all the work, into one folder.

    Raises:
        ValueError: torchrun started more than one.
    """
    if is_started_among_several():
        raise ValueError(f"torchrun started {os.environ['WORLD_SIZE']} processes, but this script "
                         f"is one. Start it once, without torchrun.")


def join_processes(device: str) -> tuple[Processes, torch.device]:
    """Join the processes that torchrun started (RANK, WORLD_SIZE, LOCAL_RANK), if it did.

    NCCL between GPUs, gloo between CPUs. One process needs no process group. From here on all but
    the main process report errors only.

    Args:
        device: as for `choose_device`; each process gets the GPU of its local rank.

    Raises:
        ValueError: no such device, or more processes than GPUs.
    """
    if not is_started_among_several():
        chosen = choose_device(device)
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)  # for code that asks for "cuda" without an index
        return Processes(), chosen
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if rank > 0:
        warnings.simplefilter("ignore")
        logging.getLogger(LOGGER_NAME).setLevel(logging.ERROR)
    chosen, local_rank = choose_device(device), int(os.environ["LOCAL_RANK"])
    if chosen.type == "cuda":
        if local_rank >= torch.cuda.device_count():
            raise ValueError(f"Process {local_rank} has no GPU: this machine has "
                             f"{torch.cuda.device_count()}. Give torchrun --nproc_per_node as "
                             f"many, or --device cpu.")
        chosen = torch.device("cuda", local_rank)
        torch.cuda.set_device(chosen)
    backend = "gloo"
    if chosen.type == "cuda":
        backend = "nccl"
    dist.init_process_group(backend, timeout=STEP_TIMEOUT)
    processes = Processes(rank, world_size, dist.new_group(backend="gloo", timeout=WORK_TIMEOUT))
    processes.wait()  # the main process keeps the store by which the others still join
    return processes, chosen


def loader_workers(wanted: int) -> int:
    """How many loader processes this process starts: `wanted`, at most its share of the cores."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return min(wanted, num_cores() // local)
