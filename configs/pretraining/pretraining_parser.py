"""The command line of pretrain_DeSD.py, and the settings that it makes."""

import argparse
import math
import sys
import warnings
from pathlib import Path
from typing import Any

from ..plain import defaults
from .pretraining import AMP, ARCHS, OPTIMIZERS, TINY, TOTAL_STRIDE, PretrainingConfig


def pretraining_config(argv: list[str] | None = None) -> PretrainingConfig:
    """Read the command line: flags over --tiny over the authors' values.

    With --show_settings print the result and leave.

    Raises:
        ValueError: every setting that cannot be, in one message.
    """
    flags = vars(pretraining_parser().parse_args(argv))
    show, tiny = flags.pop("show_settings", False), flags.pop("tiny", False)
    flags = {name: tuple(value) if isinstance(value, list) else value
             for name, value in flags.items()}
    values = defaults(PretrainingConfig) | (TINY if tiny else {}) | flags
    problems = range_problems(values)
    if problems:
        raise ValueError("\n".join(["These settings cannot be used:", *problems]))
    for name in ("data_dir", "tile_list"):
        values[name] = str(Path(values[name]).resolve())
    config = PretrainingConfig(**values)
    if show:
        sources = {name: "flag" if name in flags else "--tiny" if tiny and name in TINY
                   else "authors" for name in values}
        width = max(map(len, values))
        print("\n".join(f"{name:<{width}}  {str(value):<24}  {sources[name]}"
                        for name, value in config.to_dict().items()))
        sys.exit(0)
    return config


def range_problems(values: dict[str, Any]) -> list[str]:
    """Every value that is out of its range, a line for each; see also `warn_of_rates`."""
    problems = [f"  --{name} {values[name]}: must be at least {least}."
                for name, least in AT_LEAST.items() if not _at_least(values[name], least)]
    problems += [f"  --{name} {values[name]}: must be above 0." for name in ABOVE_ZERO
                 if not (math.isfinite(values[name]) and values[name] > 0)]
    problems += [f"  --{name} {values[name]}: must be between 0 and 1." for name in FRACTIONS
                 if not 0 <= values[name] <= 1]
    for name in ("warmup_epochs", "warmup_teacher_temp_epochs"):
        if values[name] > values["epochs"] >= 1:
            problems.append(f"  --{name} {values[name]}: is longer than --epochs "
                            f"{values['epochs']}; give at most {values['epochs']}.")
    crop = values["crop_size"]
    local = (crop[0], crop[1] // 2, crop[2] // 2)
    if min(crop) < 1:
        problems.append(f"  --crop_size {_words(crop)}: every number must be at least 1.")
    elif _leaves_one_voxel(crop):
        problems.append(f"  --crop_size {_words(crop)}: leaves one voxel at the end of the "
                        f"encoder, whose norm cannot train on it; give 16 64 64 or more.")
    elif values["local_crops_number"] > 0 and _leaves_one_voxel(local):
        problems.append(f"  --local_crops_number {values['local_crops_number']}: local views of "
                        f"{_words(local)} voxels leave one at the end of the encoder, whose norm "
                        f"cannot train on it; give a --crop_size of 16 96 96 or more.")
    return problems


def _leaves_one_voxel(size: tuple[int, ...]) -> bool:
    return all(voxels <= stride for voxels, stride in zip(size, TOTAL_STRIDE, strict=True))


AT_LEAST = {"epochs": 1, "batch_size_per_gpu": 1, "out_dim": 2, "saveckp_freq": 1,
            "local_crops_number": 0, "warmup_epochs": 0, "warmup_teacher_temp_epochs": 0,
            "freeze_last_layer": 0, "num_workers": 0, "seed": 0, "min_lr": 0, "weight_decay": 0,
            "weight_decay_end": 0, "clip_grad": 0}
ABOVE_ZERO = ("lr", "teacher_temp", "warmup_teacher_temp", "student_temp")
FRACTIONS = ("momentum_teacher", "center_momentum")


def _at_least(value: float, least: float) -> bool:
    return math.isfinite(value) and value >= least


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
    parser = argparse.ArgumentParser(
        description="Pre-train a 3D ResNet on unlabelled CT by deep self-distillation (DeSD).",
        epilog="Defaults are the values of the authors' launcher (6 GPUs). Several GPUs or "
               "processes: torchrun --standalone --nproc_per_node=N pretrain_DeSD.py ...",
        allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("data_dir", metavar="DATA", help="folder that the list's lines are below")
    parser.add_argument("tile_list", metavar="LIST",
                        help="text file with a tile's path per line, as "
                             "scripts/preprocess_deeplesion.py writes it")
    run = parser.add_argument_group("run")
    run.add_argument("--output_dir", required=True, metavar="NAME.exp",
                     help="run folder: a name below experiments/, or a path")
    run.add_argument("--tiny", action="store_true",
                     help="a recipe for CPUs: " + ", ".join(
                         f"{name} {_words(value)}" for name, value in TINY.items()))
    run.add_argument("--show_settings", action="store_true",
                     help="print every setting and where it comes from, and stop")
    exists = run.add_mutually_exclusive_group()
    exists.add_argument("--resume", action="store_true",
                        help="continue the run where it was stopped")
    exists.add_argument("--overwrite", action="store_true",
                        help="replace a run of that name instead of refusing")
    _network(parser.add_argument_group("network and views"))
    _distillation(parser.add_argument_group("self-distillation"))
    _training(parser.add_argument_group("training"))
    _machine(parser.add_argument_group("machine"))
    return parser


def _network(group):
    group.add_argument("--arch", choices=ARCHS, help="encoder (default res3d50)")
    group.add_argument("--out_dim", type=int, help="outputs of a head (default 60000)")
    group.add_argument("--use_bn_in_head", type=_boolean, metavar="BOOL",
                       help="batch norm in the heads (default true)")
    group.add_argument("--norm_last_layer", type=_boolean, metavar="BOOL",
                       help="keep the rows of the heads' last layers at unit length (default true)")
    group.add_argument("--crop_size", type=int, nargs=3, metavar=("D", "H", "W"),
                       help="of the global views, voxels (default 16 96 96); local ones are half "
                            "as high and wide")
    group.add_argument("--local_crops_number", type=int,
                       help="local views of a tile besides the two global ones (default 0)")


def _distillation(group):
    group.add_argument("--teacher_temp", type=float, help="temperature (default 0.07)")
    group.add_argument("--warmup_teacher_temp", type=float, help="that it starts at (default 0.04)")
    group.add_argument("--warmup_teacher_temp_epochs", type=int,
                       help="epochs until it is reached (default 20)")
    group.add_argument("--student_temp", type=float, help="temperature (default 0.1)")
    group.add_argument("--center_momentum", type=float, help="of the centre (default 0.9)")
    group.add_argument("--momentum_teacher", type=float,
                       help="of the teacher's weights at the start; a cosine leads to 1 (default "
                            "0.996)")


def _training(group):
    group.add_argument("--epochs", type=int, help="default 300")
    group.add_argument("--batch_size_per_gpu", type=int,
                       help="tiles a step and process (default 32)")
    group.add_argument("--optimizer", choices=OPTIMIZERS, help="default sgd")
    group.add_argument("--lr", type=float,
                       help="peak for 256 tiles a step over all processes; scales with them "
                            "(default 0.3)")
    group.add_argument("--min_lr", type=float,
                       help="at the end; does not scale (default 0.048)")
    group.add_argument("--warmup_epochs", type=int, help="of the learning rate (default 10)")
    group.add_argument("--weight_decay", type=float, help="at the start (default 1e-6)")
    group.add_argument("--weight_decay_end", type=float, help="at the end (default 1e-6)")
    group.add_argument("--clip_grad", type=float,
                       help="largest norm of each tensor's gradient; 0: none (default 0)")
    group.add_argument("--freeze_last_layer", type=int,
                       help="epochs in which the heads' last layers stay (default 1)")
    precision = group.add_mutually_exclusive_group()
    precision.add_argument("--amp", choices=AMP, help="mixed precision (default none)")
    precision.add_argument("--use_fp16", dest="amp", metavar="BOOL",
                           type=lambda text: "fp16" if _boolean(text) else "none",
                           help="the same as --amp fp16")


def _machine(group):
    group.add_argument("--device", help="cuda, cpu, ... (default: GPUs where there are any)")
    group.add_argument("--num_workers", type=int,
                       help="loader processes; the views do not depend on it (default 10, at most "
                            "one a core)")
    group.add_argument("--saveckp_freq", type=int, metavar="EPOCHS",
                       help="epochs between the teachers that are kept (default 50)")
    group.add_argument("--seed", type=int, help="default 0")
    group.add_argument("--deterministic", action="store_true",
                       help="the same bits for the same seed on a GPU too, where steps become "
                            "slower; on a CPU they are the same anyway")
    group.add_argument("--show_verbose", action="store_true", help="progress bars")


def _boolean(text: str) -> bool:
    """true/false in the spellings of the authors' launcher."""
    words = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r}: must be true or false")
    return words[text.lower()]


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
