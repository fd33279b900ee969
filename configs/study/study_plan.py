"""The command line of run_study.py, and the runs that it asks for, the most telling first."""

import argparse
import math
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from ..training.settings import resolve
from ..training.training import TrainingConfig
from ..training.training_parser import training_parser
from .cross_validation import EXECUTORS, job_options
from .label_studies import LabelStudyConfig, is_label_study, label_study_config
from .studies import Method, Study, flag_problems, read_study


@dataclass(frozen=True)
class PlannedRun:
    """One training run of a study."""

    dataset: str
    network: str
    method: str                 # name of the study's method
    fold: int
    seed: int
    settings: TrainingConfig    # as the training script reads its command line
    arguments: tuple[str, ...]  # of the training script

    @property
    def name(self) -> str:
        """Of its run folder, without ending."""
        return run_name(self.dataset, self.network, self.method, self.fold, self.seed)


@dataclass(frozen=True)
class StudyConfig:
    """Which runs of a study are wanted, and how they are run."""

    study: Study                # with what the command line leaves of it
    runs: tuple[PlannedRun, ...]
    output: str                 # run folders lie in it
    budget_minutes: float | None
    executor: str
    job_options: dict[str, Any]
    dry_run: bool
    report_only: bool
    show_verbose: bool

    @property
    def folder(self) -> Path:
        """Where tables, pictures and logs of the study go."""
        return Path(self.output) / f"{self.study.name}.study"


def run_name(dataset: str, network: str, method: str, fold: int, seed: int) -> str:
    """The name of a run of a study, without ending."""
    return f"{dataset}_{network}_{method}_Fold{fold}_seed{seed}"


def study_parser() -> argparse.ArgumentParser:
    """The command line of run_study.py, without what follows --."""
    parser = argparse.ArgumentParser(
        description="Train and score the runs of a study, skip those that are finished, continue "
                    "those that were stopped; then its tables beside the papers' gains.",
        epilog="What follows -- goes to both training scripts as it stands, such as -- --fast "
               "--val_every 2.",
        allow_abbrev=False)
    parser.add_argument("study", metavar="STUDY",
                        help="name of a file in studies/, or the path of a .json file")
    parser.add_argument("--data", metavar="DATA",
                        help="as in training; for mmwhs the folder that holds CT and MR")
    parser.add_argument("--output", metavar="FOLDER", default="experiments",
                        help="run folders are made in it, the tables are in FOLDER/STUDY.study "
                             "(default experiments)")
    parser.add_argument("--datasets", nargs="+", metavar="D", help="only these of the study's")
    parser.add_argument("--networks", nargs="+", metavar="N", help="only these of the study's")
    parser.add_argument("--methods", nargs="+", metavar="M", help="only these of the study's")
    parser.add_argument("--folds", nargs="+", type=int, metavar="K", help="only these of the "
                                                                          "study's")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="S", help="instead of the study's")
    parser.add_argument("--epochs", type=int, metavar="E", help="instead of the study's")
    parser.add_argument("--budget-minutes", "--budget_minutes", dest="budget_minutes", type=float,
                        metavar="M",
                        help="of training and scoring in this call: when they are over, the run "
                             "under way is stopped and keeps its place for the next call")
    parser.add_argument("--executor", choices=EXECUTORS, default="local",
                        help="local: one run after another, here; slurm: an array of jobs; "
                             "submitit-local: all at once, here (default local)")
    parser.add_argument("--slurm", nargs="+", default=[], metavar="KEY=VALUE",
                        help="of the jobs, as in cross_validate.py")
    parser.add_argument("--device", help="cuda:0, cpu, ... (default: cuda:0 when there is one)")
    parser.add_argument("--dry_run", action="store_true",
                        help="say how far each run is and what would be run, and stop")
    parser.add_argument("--report_only", action="store_true",
                        help="train and score nothing, make the tables from what is there")
    parser.add_argument("--show_verbose", action="store_true",
                        help="show what the scripts print")
    return parser


def study_config(argv: list[str] | None = None) -> StudyConfig | LabelStudyConfig:
    """Read the command line, the study's file and all that the training scripts are told.

    Raises:
        ValueError: every setting that cannot be.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    at = argv.index("--") if "--" in argv else len(argv)
    args, passed_on = study_parser().parse_args(argv[:at]), tuple(argv[at + 1:])
    if is_label_study(args.study):
        return label_study_config(args, passed_on)
    study = read_study(args.study)
    options, problems = job_options(args)
    if args.data is None:
        problems.append("  --data: give the folder of the images and labels.")
    if args.budget_minutes is not None and not (math.isfinite(args.budget_minutes)
                                                and args.budget_minutes > 0):
        problems.append(f"  --budget-minutes {args.budget_minutes}: must be above 0.")
    if args.budget_minutes is not None and args.executor != "local":
        problems.append("  --budget-minutes: is of --executor local; jobs have --slurm "
                        "timeout_min=MINUTES.")
    if args.seeds and (min(args.seeds) < 0 or len(set(args.seeds)) < len(args.seeds)):
        problems.append(f"  --seeds {' '.join(map(str, args.seeds))}: must be different numbers "
                        f"from 0.")
    known = {method.method for method in study.methods}
    problems += [f"  --: {one}" for one in dict.fromkeys(
        one for method in sorted(known) for one in flag_problems(passed_on, method))]
    study = _narrowed(study, args, problems)
    runs: tuple[PlannedRun, ...] = ()
    if not problems:
        runs = _runs(study, args, passed_on, problems)
    if problems:
        raise ValueError("\n".join(["These settings cannot be used:", *problems]))
    return StudyConfig(study, runs, args.output, args.budget_minutes, args.executor, options,
                       args.dry_run, args.report_only, args.show_verbose)


def _narrowed(study: Study, args: argparse.Namespace, problems: list[str]) -> Study:
    """The study with what the command line leaves of it, in the study's order."""
    kept: dict[str, Any] = {}
    for field in ("datasets", "networks", "methods", "folds"):
        asked, there = getattr(args, field), getattr(study, field)
        if asked is None:
            continue
        names = [one.name if isinstance(one, Method) else one for one in there]
        problems += [f"  --{field} {one}: is not of the study {study.name}, which has "
                     f"{', '.join(map(str, names))}." for one in asked if one not in names]
        kept[field] = tuple(one for one, name in zip(there, names, strict=True) if name in asked)
    if args.seeds:
        kept["seeds"] = tuple(args.seeds)
    if args.epochs is not None:
        kept["epochs"] = args.epochs
    return replace(study, **kept)


def in_order(study: Study) -> list[tuple[str, str, Method, int, int]]:
    """Every (dataset, network, method, fold, seed), the most telling first.

    The first seed before the others; in it, the baseline and the method after it on every fold and
    network, side by side, before any other method.
    """
    pair = study.methods[:2]
    return [(dataset, network, method, fold, seed)
            for seed in study.seeds for methods in (pair, study.methods[2:])
            for fold, dataset, network, method in product(study.folds, study.datasets,
                                                          study.networks, methods)]


def _runs(study: Study, args: argparse.Namespace, passed_on: tuple[str, ...],
          problems: list[str]) -> tuple[PlannedRun, ...]:
    # A bare "." would put them below experiments/ (see configs.experiment_dir).
    output = Path.cwd() if Path(args.output) == Path(".") else Path(args.output)
    runs, warned = [], set()
    for dataset, network, method, fold, seed in in_order(study):
        name = run_name(dataset, network, method.name, fold, seed)
        arguments = [args.data, "_", "--dataset", dataset, "--network", network,
                     "--fold", str(fold), "--seed", str(seed),
                     "--experiment", str(output / f"{name}.exp"),
                     *(("--epochs", str(study.epochs)) if study.epochs is not None else ()),
                     *(("--device", args.device) if args.device is not None else ()),
                     *(("--show_verbose",) if args.show_verbose else ()),
                     *study.flags, *method.flags, *passed_on]
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                settings = _settings(method.method, arguments)
            except ValueError as error:
                text = str(error).removeprefix("These settings cannot be used:\n")
                problems += [one for one in (f"  {method.name}: {line.strip()}"
                                             for line in text.splitlines())
                             if one not in problems]
                continue
        for warning in told:
            if str(warning.message) not in warned:
                warned.add(str(warning.message))
                warnings.warn(str(warning.message), stacklevel=2)
        runs.append(PlannedRun(dataset, network, method.name, fold, seed, settings,
                               tuple(arguments)))
    return tuple(runs)


def _settings(method: str, arguments: Sequence[str]) -> TrainingConfig:
    """The settings of a training script's command line, whose errors are ValueErrors here."""
    parser = training_parser(method)

    def refuse(message: str) -> None:
        raise ValueError(f"{message}.")

    parser.error = refuse
    flags = vars(parser.parse_args(arguments))
    flags.pop("show_settings", None)
    values, sources = resolve(method, flags)
    said = [f"{name} {values[name]}" for name, source in sources.items() if source == "name"]
    if said:
        raise ValueError(f"its name says {' and '.join(said)}, its flags do not; give it the "
                         f"flags, or another name.")
    return TrainingConfig(**values)
