"""The options that make training faster, chosen for the device of a run."""

import dataclasses
import warnings
from typing import Any

import torch
from torch import nn

from configs import TrainingConfig
from data import dataset_of
from networks.errors import first_line
from system.shared_memory import workers_with_room
from system.workers import num_cores

from ..compute.distributed import Processes, loader_workers
from ..compute.precision import check_amp, cpu_has_bf16

MOST_WORKERS = 8  # unless more are asked for


def settled(config: TrainingConfig, device: torch.device,
            processes: Processes | None = None) -> TrainingConfig:
    """The settings that the run uses: those left open by --fast are chosen, the rest checked.

    fp16 takes the fused optimiser, the only one that skips a step of infinite gradients without
    reading them back. What the device cannot do is left out with a warning. Only the main process
    shows progress.

    Raises:
        ValueError: --amp fp16 on a CPU.
    """
    used = fast_options(device)
    for name in used:
        if getattr(config, name) is not None:
            used[name] = getattr(config, name)
    check_amp(used["amp"], device)
    if used["amp"] == "fp16":
        used["fused"] = True
    if used["tf32"] and device.type != "cuda":
        warnings.warn(f"--tf32: has no effect on {device}.", stacklevel=2)
        used["tf32"] = False
    used["compile"] = used["compile"] and can_compile(device)
    shown = config.show_verbose and (processes is None or processes.is_main)
    return dataclasses.replace(config, **used, show_verbose=shown)


def fast_options(device: torch.device) -> dict[str, Any]:
    """What --fast stands for on a device.

    Not compilation and channels-last on a CPU: both gain a tenth for some networks and lose for
    others, and compiling takes a minute or more.
    """
    plain = {"amp": "off", "compile": False, "channels_last": False, "fused": False, "tf32": False}
    if device.type == "cpu":
        plain["fused"] = True
        if cpu_has_bf16():
            plain["amp"] = "bf16"
    elif device.type == "cuda":
        plain |= {"amp": "fp16", "fused": True, "tf32": True, "compile": True}
        if torch.cuda.is_bf16_supported(including_emulation=False):
            plain["amp"] = "bf16"
    return plain


def fast_line(asked: TrainingConfig, used: TrainingConfig, device: torch.device) -> str | None:
    """What --fast has chosen, in one line; None if it had nothing to choose.

    Args:
        asked, used: before and after `settled`.
    """
    chosen = [name for name in fast_options(device) if getattr(asked, name) is None]
    if not chosen:
        return None
    words = []
    for name in chosen:
        value = getattr(used, name)
        if name == "amp":
            words.append(f"--amp {value}")
        elif value:
            words.append(f"--{name}")
    return f"--fast on {device}: {' '.join(words)}"


def workers_of(config: TrainingConfig, device: torch.device, bytes_of_batch: int) -> int:
    """Loader processes of this process: --num_workers, as far as there are cores.

    Without it, on a GPU one for each core but this process's own, as far as /dev/shm has room; on
    a CPU none, since the step needs the cores.
    """
    if config.num_workers is not None:
        return loader_workers(config.num_workers)
    if device.type == "cpu":
        return 0
    most = min(MOST_WORKERS, loader_workers(num_cores()) - 1)
    return workers_with_room(bytes_of_batch, max(most, 0))


def needs_less(config: TrainingConfig) -> str:
    """What to do when a GPU's memory is full in training, with the present values."""
    lower = [f"--img_size (now {' '.join(map(str, config.img_size))})"]
    num_crops = dataset_of(config).augmentation.num_crops
    for name, value in (("batch_size", config.batch_size), ("num_crops", num_crops)):
        if value > 1:
            lower.append(f"--{name} (now {value})")
    lower.append(f"in validation --window_batch (now {config.window_batch})")
    advice = [f"lower {', '.join(lower)}"]
    if config.amp == "off":
        advice.append("give --amp bf16 (now off)")
    if config.network == "swinunetr" and not config.use_checkpoint:
        advice.append("give --use_checkpoint")
    return f"{'; '.join(advice)}; or end what else runs there."


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile works here, found by trying it; a warning says why not."""
    def line(values):
        return values * 2 + 1
    try:
        torch.compile(line)(torch.ones(2, device=device))
    except Exception as error:  # no compiler, no Triton, a Python that is too new, ...
        warnings.warn(f"--compile: torch.compile does not work here ({first_line(error)}); the "
                      f"network is used as it is. It needs a C++ compiler on the CPU, Triton on a "
                      f"GPU.", stacklevel=3)
        return False
    return True


def in_channels_last(network: nn.Module) -> None:
    """Lay out a network's 3D kernels with the channels last, in place."""
    for parameter in network.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
