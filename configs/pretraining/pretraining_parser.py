"""The command line of pretrain_DeSD.py, and the settings that it makes."""

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

from ..options import as_typed, option_parser, out_of_range, refuse, settings_table
from ..plain import defaults
from .pretraining import TINY, TOTAL_STRIDE, PretrainingConfig, Switches


def pretraining_config(argv: list[str] | None = None) -> PretrainingConfig:
    """Read the command line: flags over --tiny over the authors' values.

    With --show_settings print the result and leave.

    Raises:
        ValueError: all impossible settings, in one message.
    """
    flags = vars(pretraining_parser().parse_args(argv))
    show, tiny = flags.pop("show_settings", False), flags.pop("tiny", False)
    values = defaults(PretrainingConfig)
    if tiny:
        values |= TINY
    values |= flags
    refuse(range_problems(values))
    for name in ("data_dir", "tile_list"):
        values[name] = str(Path(values[name]).resolve())
    config = PretrainingConfig(**values)
    if show:
        sources = dict.fromkeys(values, "authors")
        if tiny:
            sources |= dict.fromkeys(TINY, "--tiny")
        sources |= dict.fromkeys(flags, "flag")
        print(settings_table(config.to_dict(), sources))
        sys.exit(0)
    return config


def range_problems(values: dict[str, Any]) -> list[str]:
    """Every value that is out of its range, a line for each; see also `warn_of_rates`."""
    problems = out_of_range(PretrainingConfig, values)
    for name in ("warmup_epochs", "warmup_teacher_temp_epochs"):
        if values[name] > values["epochs"] >= 1:
            problems.append(f"  --{name} {values[name]}: is longer than --epochs "
                            f"{values['epochs']}; give at most {values['epochs']}.")
    crop = values["crop_size"]
    local = (crop[0], crop[1] // 2, crop[2] // 2)
    if min(crop) < 1:
        return problems  # said already
    if _leaves_one_voxel(crop):
        problems.append(f"  --crop_size {as_typed(crop)}: leaves one voxel at the end of the "
                        f"encoder, whose norm cannot train on it; give 16 64 64 or more.")
    elif values["local_crops_number"] > 0 and _leaves_one_voxel(local):
        problems.append(f"  --local_crops_number {values['local_crops_number']}: local views of "
                        f"{as_typed(local)} voxels leave one at the end of the encoder, whose norm "
                        f"cannot train on it; give a --crop_size of 16 96 96 or more.")
    return problems


def _leaves_one_voxel(size: tuple[int, ...]) -> bool:
    return all(voxels <= stride for voxels, stride in zip(size, TOTAL_STRIDE, strict=True))


def warn_of_rates(config: PretrainingConfig, world_size: int) -> None:
    """Warn where the rate's "decay" goes upwards: the peak scales with the batch, its end not."""
    peak = config.scaled_lr(world_size)
    if peak < config.min_lr:
        batch = config.batch_size_per_gpu * world_size
        warnings.warn(f"--lr {config.lr} gives a peak of {peak:.3g} at {batch} tiles a step, which "
                      f"is below --min_lr {config.min_lr}: the learning rate rises to the end "
                      f"instead of decaying. The authors' ratio of the two would be --min_lr "
                      f"{peak * 0.048 / 0.225:.2g}.", stacklevel=2)


def pretraining_parser() -> argparse.ArgumentParser:
    """The command line of pretrain_DeSD.py; a flag that is not given leaves no trace."""
    return option_parser(
        PretrainingConfig, Switches,
        description="Pre-train a 3D ResNet on unlabelled CT by deep self-distillation (DeSD).",
        epilog="Defaults are the values of the authors' launcher (6 GPUs). Several GPUs or "
               "processes: torchrun --standalone --nproc_per_node=N pretrain_DeSD.py ...",
        groups=("run", "network and views", "self-distillation", "training", "machine"))
