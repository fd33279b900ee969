"""The plan of a study: datasets x networks x methods x folds x seeds, most informative first."""

import argparse
import sys
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from configs.study.execution import budget_problems, job_options
from configs.study.few_labels import FewLabelsCall
from configs.study.few_labels_file import call_of_file, is_label_study
from configs.study.studies import Method, Study, dataset_flag, flag_problems, read_study
from configs.study.study_parser import study_parser

from .planned import Plan, PlannedRun, settings_of


@dataclass(frozen=True, kw_only=True)
class StudyPlan(Plan):
    """The runs of a study; the arm of each is (dataset, network, name of the study's method)."""

    study: Study                # narrowed down by the command line
    dry_run: bool
    report_only: bool


def run_name(dataset: str, network: str, method: str, fold: int, seed: int) -> str:
    """The name of a run of a study, without ending."""
    return f"{dataset}_{network}_{method}_Fold{fold}_seed{seed}"


def study_plan(argv: list[str] | None = None) -> StudyPlan | FewLabelsCall:
    """Read the command line, the study's file and the flags of the training scripts.

    Raises:
        ValueError: all settings that cannot be used.
    """
    if argv is None:
        argv = sys.argv[1:]
    at = argv.index("--") if "--" in argv else len(argv)
    args, passed_on = study_parser().parse_args(argv[:at]), tuple(argv[at + 1:])
    if is_label_study(args.study):
        return call_of_file(args, passed_on)
    study = read_study(args.study)
    options, problems = job_options(args)
    if args.data is None:
        problems.append("  --data: give the folder of the images and labels.")
    problems += budget_problems(args.budget_minutes)
    if args.budget_minutes is not None and args.executor != "local":
        problems.append("  --budget-minutes: is of --executor local; jobs have --slurm "
                        "timeout_min=MINUTES.")
    if args.seeds and (min(args.seeds) < 0 or len(set(args.seeds)) < len(args.seeds)):
        problems.append(f"  --seeds {' '.join(map(str, args.seeds))}: must be different numbers "
                        f"from 0.")
    for method in sorted({method.method for method in study.methods}):
        for one in flag_problems(passed_on, method):
            if f"  --: {one}" not in problems:
                problems.append(f"  --: {one}")
    study = _narrowed(study, args, problems)
    runs: tuple[PlannedRun, ...] = ()
    if not problems:
        runs = _runs(study, args, passed_on, problems)
    if problems:
        raise ValueError("\n".join(["These settings cannot be used:", *problems]))
    return StudyPlan(folder=Path(args.output) / f"{study.name}.study", runs=runs, study=study,
                     budget_minutes=args.budget_minutes, executor=args.executor,
                     job_options=options, dry_run=args.dry_run, report_only=args.report_only,
                     show_verbose=args.show_verbose)


def _narrowed(study: Study, args: argparse.Namespace, problems: list[str]) -> Study:
    """The study narrowed down by the command line, in the study's order."""
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
    """Every (dataset, network, method, fold, seed), the most informative first.

    One seed after the other; within a seed first the baseline next to the second method on every
    fold and network, then the other methods.
    """
    pair = study.methods[:2]
    return [(dataset, network, method, fold, seed)
            for seed in study.seeds for methods in (pair, study.methods[2:])
            for fold, dataset, network, method in product(study.folds, study.datasets,
                                                          study.networks, methods)]


def _runs(study: Study, args: argparse.Namespace, passed_on: tuple[str, ...],
          problems: list[str]) -> tuple[PlannedRun, ...]:
    output = Path(args.output)
    if output == Path("."):  # a bare name would lie below experiments/ (configs.experiment_dir)
        output = Path.cwd()
    common = []
    if study.epochs is not None:
        common += ["--epochs", str(study.epochs)]
    if args.device is not None:
        common += ["--device", args.device]
    if args.show_verbose:
        common.append("--show_verbose")
    flags, runs = {}, []
    for dataset in study.datasets:
        try:
            flags[dataset] = dataset_flag(dataset, args.data)
        except ValueError as error:
            problems.append(f"  {error}")
    if problems:
        return ()
    for dataset, network, method, fold, seed in in_order(study):
        name = run_name(dataset, network, method.name, fold, seed)
        arguments = (args.data, "_", "--dataset", flags[dataset], "--network", network,
                     "--fold", str(fold), "--seed", str(seed),
                     "--experiment", str(output / f"{name}.exp"),
                     *common, *study.flags, *method.flags, *passed_on)
        try:
            settings = settings_of(method.method, arguments)
        except ValueError as error:
            text = str(error).removeprefix("These settings cannot be used:\n")
            for line in text.splitlines():
                problem = f"  {method.name}: {line.strip()}"
                if problem not in problems:
                    problems.append(problem)
            continue
        runs.append(PlannedRun(name, settings, arguments, study.group,
                               arm=(dataset, network, method.name)))
    return tuple(runs)
