"""Where a run computes and keeps its tensors, and its random seeds."""

import ctypes
import os
import random
import warnings
from contextlib import suppress

import numpy as np
import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def choose_device(wanted: str) -> torch.device:
    """The device of that name; "auto" is the first GPU, or the CPU without one.

    Without a CUDA GPU it warns and uses the CPU, so published commands run anywhere.

    Raises:
        ValueError: no such name.
    """
    if wanted == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ValueError(f"--device {wanted}: no such device; give cpu, cuda:0, ...") from error
    mps = device.type == "mps" and torch.backends.mps.is_available()
    if device.type not in ("cpu", "cuda") and not mps:
        raise ValueError(f"--device {wanted}: this machine cannot train there; give cpu or cuda:0.")
    if device.type == "cuda" and not torch.cuda.is_available():
        warnings.warn(f"--device {wanted}: there is no CUDA GPU here; the CPU is used.",
                      stacklevel=2)
        return torch.device("cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"--device {wanted}: this machine has {torch.cuda.device_count()} GPU(s), "
                         f"cuda:0 to cuda:{torch.cuda.device_count() - 1}.")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def keep_freed_memory() -> None:
    """Have the C library keep the memory that a training step frees for the next step.

    By default it returns large tensors to the system, which has to clear all their pages again:
    on a CPU a fifth of a step of nnU-Net at 64^3. The price is memory: for nnU-Net at 96^3 a peak
    of 3.5 instead of 2.7 GB. Does nothing with a C library other than glibc.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1)):
            mallopt(parameter, value)


def seed_everything(seed: int, deterministic: bool = False) -> None:
    """Seed Python, NumPy and torch; the crops have generators of their own (data.volumes.loaders).

    Args:
        deterministic: whether to compute reproducibly; set before anything is on a GPU.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    # As in the authors' code: with fixed crop sizes it pays to try which algorithm is fastest.
    torch.backends.cudnn.benchmark = not deterministic
    torch.use_deterministic_algorithms(deterministic)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.utils.deterministic.fill_uninitialized_memory = False  # nobody reads that here


def move_state_to_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Give a resumed optimiser's state the device and the memory layout of its parameters.

    The checkpoint's may differ, and a fused step assumes that both have one layout. The number of
    steps stays on the CPU unless the step is fused.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            for name, value in state.items():
                if not isinstance(value, torch.Tensor):
                    continue
                if name != "step":
                    state[name] = _laid_out_as(parameter, value)
                elif group.get("fused"):
                    state[name] = value.to(parameter.device)


def _laid_out_as(parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    if value.shape != parameter.shape or value.stride() == parameter.stride():
        return value.to(parameter.device)
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
