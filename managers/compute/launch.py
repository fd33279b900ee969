"""--use_multi_gpus: one process for each GPU of this machine, started by the script itself."""

import math
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence

import torch

from configs import TrainingConfig
from data import dataset_of
from system.exit import is_started_among_several
from system.signals import forwarded
from system.workers import num_cores

from .devices import choose_device

GRACE_SECONDS = 30  # for the others, once a process has failed


def spread_over_gpus(config: TrainingConfig) -> None:
    """With --use_multi_gpus start this command once for each GPU, then exit with its status.

    Returns without the flag, in a process started in this way, and, with a warning, if there is
    only work for one process.

    Raises:
        SystemExit: the processes have ended.
    """
    if not config.use_multi_gpus or is_started_among_several():
        return
    num_gpus = 0
    if choose_device(config.device).type == "cuda":
        num_gpus = torch.cuda.device_count()
    num_crops = config.batch_size * dataset_of(config).augmentation.num_crops
    number = min(num_gpus, num_crops)
    if number < 2:
        why = "a step has a single crop; give a larger --batch_size or --num_crops"
        if num_gpus < 2:
            why = "it takes two GPUs or more and a --device among them"
        warnings.warn(f"--use_multi_gpus: one process is used; {why}.", stacklevel=2)
        return
    if number < num_gpus:
        warnings.warn(f"--use_multi_gpus: {number} of {num_gpus} GPUs are used, since a step has "
                      f"{num_crops} crops; a larger --batch_size uses more.", stacklevel=2)
    sys.exit(run_processes([sys.executable, *sys.argv], number))


def run_processes(command: Sequence[str], number: int) -> int:
    """Run a command as `number` processes that know of each other, as torchrun does.

    A signal is passed on to all of them; a second one kills them. When one fails, the others are
    ended.

    Returns:
        The status of the first that failed, as a shell gives it; 0 if none did.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number, "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": port,
              "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", max(num_cores() // number, 1))}
    processes: list[subprocess.Popen] = []

    told: list[int] = []

    def tell(signal_number: int) -> None:
        told.append(signal_number)
        if len(told) > 1:
            signal_number = signal.SIGKILL
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal_number)

    # In sessions of their own, so ^C reaches them only through `tell`, once.
    with forwarded(tell):
        for rank in range(number):
            own = {"RANK": rank, "LOCAL_RANK": rank}
            processes.append(subprocess.Popen(
                list(command), start_new_session=True,
                env=os.environ | {name: str(value) for name, value in (shared | own).items()}))
        try:
            return _first_failure(processes)
        finally:
            for process in processes:
                process.kill()


def _first_failure(processes: Sequence[subprocess.Popen]) -> int:
    """Wait for all processes, but not long once one has failed; returns that one's status."""
    failed, deadline = 0, math.inf
    while None in [process.poll() for process in processes] and time.monotonic() < deadline:
        time.sleep(0.05)
        if not failed and (failed := _failure_among(processes)):
            deadline = time.monotonic() + GRACE_SECONDS
    failed = failed or _failure_among(processes)
    if failed >= 0:
        return failed
    name, hint = signal.Signals(-failed).name, ""
    if name == "SIGKILL":
        hint = "; the system does so when memory is short"
    print(f"failed: a process was ended by {name}{hint}", file=sys.stderr)
    return 128 - failed


def _failure_among(processes: Sequence[subprocess.Popen]) -> int:
    return next((process.returncode for process in processes if process.returncode), 0)
