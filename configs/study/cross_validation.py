"""What a cross-validation is: the folds of one experiment, and how they are run."""

import argparse
import json
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..experiment_name import read_experiment_name, refuse_control_characters
from ..training.settings import training_config
from ..training.training import TrainingConfig

EXECUTORS = ("local", "submitit-local", "slurm")
METHODS = ("basic", "dsd")
# Their published split is in folds already; another set gets --num_folds where folds are asked for.
PUBLISHED_FOLDS = ("mmwhs-ct", "mmwhs-mr")


@dataclass(frozen=True)
class CrossValidationConfig:
    """Which folds are trained, with which command lines, and where."""

    name: str                           # a name below experiments/, or a path; without ending
    method: str
    folds: dict[int, TrainingConfig]    # by 1-based fold, each as its training script reads it
    arguments: dict[int, list[str]]     # command line of each fold's training script
    executor: str
    job_options: dict[str, Any]         # of submitit, by submitit's names
    overwrite: bool                     # train finished folds again
    compare_with: str | None            # another cross-validation, the baseline
    show_verbose: bool

    @property
    def folder(self) -> Path:
        """Where tables, pictures and logs over all folds go."""
        return cross_validation_dir(self.name)


def cross_validation_dir(name: str) -> Path:
    """The folder of a cross-validation: NAME.cv below experiments/; a path is itself.

    NAME and NAME.cv are the same cross-validation.

    Raises:
        ValueError: the name has control characters.
    """
    refuse_control_characters("--experiment", name)
    path = Path(name)
    if path.suffix != ".cv":
        path = path.with_name(f"{path.name}.cv")
    return path if path.parent != Path(".") else Path("experiments") / path


def cross_validation_parser() -> argparse.ArgumentParser:
    """The command line of cross_validate.py; what it does not know goes to the training script."""
    parser = argparse.ArgumentParser(
        description="Train all folds of one experiment, skip those that are finished, continue "
                    "those that were interrupted; then the table over folds and, on request, the "
                    "paired comparison with another cross-validation.",
        epilog="Every other flag goes to the training script of each fold as it stands: see "
               "train_basic.py --help and train_SelfDistil_Original.py --help.",
        allow_abbrev=False)  # an abbreviated flag of the training script must not end up here
    parser.add_argument("data_dir", metavar="DATA", help="as in training; comes first")
    parser.add_argument("--method", choices=METHODS, required=True,
                        help="basic: train_basic.py; dsd: train_SelfDistil_Original.py")
    parser.add_argument("--dataset", metavar="D", help="as in training")
    parser.add_argument("--network", metavar="N", help="as in training")
    parser.add_argument("--folds", type=int, nargs="+", default=[1, 2, 3, 4, 5], metavar="K",
                        help="1-based (default: 1 2 3 4 5); where the published split has no "
                             "folds, --num_folds is the highest of them unless it is given")
    parser.add_argument("--experiment", "-exp", metavar="NAME",
                        help="run folders are NAME_FoldK.exp, the tables are in NAME.cv (default: "
                             "DATASET_NETWORK_METHOD)")
    parser.add_argument("--overwrite", action="store_true",
                        help="train all these folds from the start, replacing what there is")
    parser.add_argument("--compare_with", metavar="OTHER",
                        help="another finished cross-validation of the same cases: the baseline of "
                             "the paired comparison")
    parser.add_argument("--executor", choices=EXECUTORS, default="local",
                        help="local: one fold after another, here; slurm: an array of jobs; "
                             "submitit-local: all at once, here, as submitit runs them (default "
                             "local)")
    parser.add_argument("--slurm", nargs="+", default=[], metavar="KEY=VALUE",
                        help="of the jobs, by submitit's names: timeout_min=2880 partition=gpu "
                             "gpus_per_node=1 cpus_per_task=8 mem_gb=64 array_parallelism=2 "
                             "'setup=[\"module load cuda\"]' ...")
    parser.add_argument("--show_verbose", action="store_true",
                        help="show what the training scripts print")
    parser.add_argument("--fold", help=argparse.SUPPRESS)
    parser.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
    return parser


def cross_validation_config(argv: list[str] | None = None) -> CrossValidationConfig:
    """Read the command line, the training script's part of it included.

    Raises:
        ValueError: every setting that cannot be.
    """
    argv = sys.argv[1:] if argv is None else argv
    parser = cross_validation_parser()
    if argv and argv[0].startswith("-") and not {"-h", "--help"} & set(argv):
        parser.error("DATA comes first: the folder of the dataset, as in training")
    args, passed_on = parser.parse_known_args(argv)
    options, problems = job_options(args)
    problems += _problems(args)
    if problems:
        raise ValueError("\n".join(["These settings cannot be used:", *problems]))

    # "DATA _" is what the training scripts are called with.
    common = [args.data_dir, *(word for word in passed_on if word != "_")]
    for flag in ("dataset", "network"):
        if getattr(args, flag) is not None:
            common += [f"--{flag}", getattr(args, flag)]
    common += ["--show_verbose"] if args.show_verbose else []
    name = _name(args, common)
    common += _num_folds(args, common, name)

    arguments = {fold: [*common, "--fold", str(fold), "--experiment", f"{name}_Fold{fold}.exp", "_"]
                 for fold in sorted(args.folds)}
    folds = {}
    for fold, line in arguments.items():
        with warnings.catch_warnings():
            if folds:
                warnings.simplefilter("ignore")  # the first fold's warnings hold for all
            folds[fold] = training_config(args.method, line)
    return CrossValidationConfig(name, args.method, folds, arguments, args.executor, options,
                                 args.overwrite, args.compare_with, args.show_verbose)


def _problems(args: argparse.Namespace) -> list[str]:
    problems = []
    if min(args.folds) < 1 or len(set(args.folds)) < len(args.folds):
        problems.append(f"  --folds {' '.join(map(str, args.folds))}: must be different numbers "
                        f"from 1.")
    if args.fold is not None:
        problems.append("  --fold: is given to each training run by --folds.")
    if args.resume:
        problems.append("  --resume: leave it out; what is not finished is continued anyway.")
    try:
        refuse_control_characters("--experiment", args.experiment or "")
    except ValueError as error:
        problems.append(f"  {error}")
    said = read_experiment_name(Path(args.experiment or "").name).fold
    if said:
        problems.append(f"  --experiment {args.experiment}: leave Fold{said[0]} out of the name; "
                        f"each run's fold is added to it.")
    return problems


def _name(args: argparse.Namespace, common: list[str]) -> str:
    """What was given, without ending, or the training script's own default without its fold."""
    if args.experiment is not None:
        return args.experiment.rstrip("/").removesuffix(".cv").removesuffix(".exp")
    first = _quietly(args.method, [*common, "--fold", "1", "_"])
    return first.experiment.removesuffix(".exp").removesuffix("_Fold1")


def _num_folds(args: argparse.Namespace, common: list[str], name: str) -> list[str]:
    """--num_folds where the published split has no folds and nothing else makes them."""
    highest = max(args.folds)
    first = _quietly(args.method, [*common, "--fold", "1", "--experiment", f"{name}_Fold1.exp",
                                   "_"])
    if (highest == 1 or first.num_folds is not None or first.splits is not None
            or first.dataset in PUBLISHED_FOLDS):
        return []
    return ["--num_folds", str(highest)]


def _quietly(method: str, line: list[str]) -> TrainingConfig:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return training_config(method, line)


# What submitit calls the same for every kind of job; the rest is Slurm's.
SHARED_OPTIONS = {"name": str, "timeout_min": int, "mem_gb": (int, float), "nodes": int,
                  "cpus_per_task": int, "gpus_per_node": int, "tasks_per_node": int,
                  "stderr_to_stdout": bool}


def job_options(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """KEY=VALUE pairs of --slurm by submitit's names, and what is wrong with them.

    Args:
        args: with "slurm" and "executor".
    """
    options, problems = {}, []
    for pair in args.slurm:
        key, equals, text = pair.partition("=")
        key = key.removeprefix("slurm_")
        if not (key and equals):
            problems.append(f"  --slurm {pair}: must be KEY=VALUE.")
            continue
        try:
            refuse_control_characters("--slurm", pair)
        except ValueError as error:
            problems.append(f"  {error}")
            continue
        value = _plain(text)
        kind = SHARED_OPTIONS.get(key)
        if kind is str:
            value = text
        elif kind and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            problems.append(f"  --slurm {pair}: must be a number or true or false, as its name "
                            f"says.")
        if key == "time" and not isinstance(value, int):
            problems.append(f"  --slurm {pair}: must be whole minutes.")
        options[key if key in SHARED_OPTIONS else f"slurm_{key}"] = value
    if args.slurm and args.executor == "local":
        problems.append("  --slurm: is of --executor slurm.")
    if args.executor == "slurm" and not {"timeout_min", "slurm_time"} & set(options):
        problems.append("  --executor slurm: give --slurm timeout_min=MINUTES; submitit's own "
                        "default is five minutes.")
    return options, problems


def _plain(text: str) -> Any:
    """JSON where it is JSON (numbers, true, lists), else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
