"""What makes training faster, settled for the device that a run has."""

import dataclasses
import warnings
from typing import Any

import torch
from torch import nn

from configs import TrainingConfig
from data import dataset_of
from system.shared_memory import workers_with_room
from system.workers import num_cores

from ..compute.distributed import Processes, loader_workers
from ..compute.precision import check_amp, cpu_has_bf16

MOST_WORKERS = 8  # unless more are asked for


def settled(config: TrainingConfig, device: torch.device,
            processes: Processes | None = None) -> TrainingConfig:
    """The settings as the run will have them: what --fast left open chosen, the rest checked.

    Of several processes the main one alone shows progress.

    fp16 takes the fused optimiser, the only one that skips a step of infinite gradients without
    reading them back. What the device cannot do is warned of and left out.

    Raises:
        ValueError: --amp fp16 on a CPU.
    """
    chosen = fast_options(device)
    given = {name: getattr(config, name) for name in chosen}
    used = {name: chosen[name] if value is None else value for name, value in given.items()}
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

    On a CPU compilation and channels-last are left out: either gains a tenth for some networks
    and loses for others, and compiling takes a minute or more.
    """
    plain = {"amp": "off", "compile": False, "channels_last": False, "fused": False, "tf32": False}
    if device.type == "cpu":
        return plain | {"amp": "bf16" if cpu_has_bf16() else "off", "fused": True}
    if device.type != "cuda":
        return plain
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return plain | {"amp": "bf16" if has_bf16 else "fp16", "fused": True, "tf32": True,
                    "compile": True}


def fast_line(asked: TrainingConfig, used: TrainingConfig, device: torch.device) -> str | None:
    """What --fast has chosen, in one line; None where nothing was left open.

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
    """Loader processes of this process: those asked for, as far as there are cores.

    Where none are: on a GPU a core each but this process's own, as many as /dev/shm has room for;
    on a CPU none, since the step needs the cores.
    """
    if config.num_workers is not None:
        return loader_workers(config.num_workers)
    if device.type == "cpu":
        return 0
    most = min(MOST_WORKERS, loader_workers(num_cores()) - 1)
    return workers_with_room(bytes_of_batch, max(most, 0))


def needs_less(config: TrainingConfig) -> str:
    """What to do about a GPU's memory that was full in training, with the present values."""
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
    """Whether torch.compile works here, found by compiling a line; a warning says why not."""
    try:
        torch.compile(_line)(torch.ones(2, device=device))
    except Exception as error:  # no compiler, no Triton, a Python that is too new, ...
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        warnings.warn(f"--compile: torch.compile does not work here ({reason}); the network is "
                      f"used as it is. It needs a C++ compiler on the CPU, Triton on a GPU.",
                      stacklevel=3)
        return False
    return True


def _line(values: torch.Tensor) -> torch.Tensor:
    return values * 2 + 1


def in_channels_last(network: nn.Module) -> None:
    """Lay out a network's 3D kernels with the channels last, in place."""
    for parameter in network.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
