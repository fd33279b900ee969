"""What the means of an epoch are made of, over several processes."""

from typing import Any

import torch

from .compute.distributed import Processes


def averaged(running: Any, processes: Processes) -> Any:
    """Numbers and tensors in dicts, each the mean of every process's."""
    if isinstance(running, dict):
        return {name: averaged(value, processes) for name, value in running.items()}
    if isinstance(running, torch.Tensor):
        return processes.mean(running)
    return float(processes.mean(torch.tensor(running, dtype=torch.float64)))
