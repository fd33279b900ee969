"""The plan of a cross-validation: one run per fold of one experiment."""

import argparse
import sys
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import data
from configs import TrainingConfig, read_experiment_name, training_config
from configs.experiment_name import refuse_control_characters
from configs.study.cross_validation import cross_validation_dir, cross_validation_parser
from configs.study.execution import job_options
from system.files import write_json
from system.json_files import read_object

from .planned import Plan, PlannedRun, checked_record

# Their published split is in folds already; other sets get --num_folds.
PUBLISHED_FOLDS = ("mmwhs-ct", "mmwhs-mr")


@dataclass(frozen=True, kw_only=True)
class CrossValidation(Plan):
    """The runs "fold 1", "fold 2", ..., and the cross-validation to compare them with."""

    compare_with: str | None        # name of the baseline

    score_ending = "_eval"
    skipped_as = "finished before"
    refusal = "These folds cannot be used:"
    remedy = ("Choose another --experiment, ask for the same settings, or give --overwrite to "
              "train all folds from the start.")

    @property
    def folds(self) -> tuple[int, ...]:
        """1-based, in ascending order."""
        return tuple(run.settings.fold for run in self.runs)

    @property
    def experiments(self) -> list[str]:
        """The names of the run folders."""
        return [run.settings.experiment for run in self.runs]

    @property
    def logs(self) -> Path:
        """foldK.log lies beside the tables."""
        return self.folder

    def rows_of(self, run: PlannedRun) -> Path:
        """foldK.csv beside the tables."""
        return self.folder / f"fold{run.settings.fold}.csv"

    def head(self, name: str) -> str:
        """The fold itself."""
        return name

    def read_record(self) -> dict[str, str]:
        """What cv.json says about the folds that are scored."""
        scored = checked_record(self.folder / "cv.json", read_about(self.folder).get("scored", {}))
        return {f"fold {fold}": f"validation {course}" for fold, course in scored.items()}

    def write_record(self, record: dict[str, str]) -> None:
        """Write cv.json, which says that the tables are not complete; see `note_complete`."""
        settings = self.runs[0].settings.to_dict()
        for name in ("fold", "experiment", "resume", "overwrite", "output_model"):
            del settings[name]
        scored = {name.removeprefix("fold "): entry.removeprefix("validation ")
                  for name, entry in record.items()}
        write_json(self.folder / "cv.json", {
            "experiments": self.experiments, "folds": list(self.folds),
            "dataset": settings["dataset"], "network": settings["network"],
            "method": settings["method"], "complete": False, "scored": scored,
            "settings": settings})


def read_about(folder: Path) -> dict[str, Any]:
    """The content of cv.json; nothing where there is none."""
    path = folder / "cv.json"
    if not path.is_file():
        return {}
    return read_object(path)


def note_complete(folder: Path) -> None:
    """Mark the tables as complete in cv.json; call this last."""
    write_json(folder / "cv.json", read_about(folder) | {"complete": True})


def cross_validation(argv: list[str] | None = None) -> CrossValidation:
    """Read the command line, the training script's part of it included.

    Raises:
        ValueError: all settings that cannot be used.
    """
    if argv is None:
        argv = sys.argv[1:]
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
    if args.dataset is not None:
        common += ["--dataset", args.dataset]
    if args.network is not None:
        common += ["--network", args.network]
    if args.show_verbose:
        common.append("--show_verbose")
    name, num_folds = _name_and_num_folds(args, common)
    common += num_folds

    runs = []
    replacing = ["--overwrite"] if args.overwrite else []  # data of one's own are planned anew
    read = partial(training_config, data=data)
    for fold in sorted(args.folds):
        line = [*common, "--fold", str(fold), "--experiment", f"{name}_Fold{fold}.exp", "_"]
        runs.append(PlannedRun(f"fold {fold}", read(args.method, [*line, *replacing]),
                               tuple(line), "validation"))
        read = _quietly  # the other folds would repeat the first one's warnings
    return CrossValidation(folder=cross_validation_dir(name), runs=tuple(runs),
                           executor=args.executor, job_options=options, overwrite=args.overwrite,
                           show_verbose=args.show_verbose, compare_with=args.compare_with)


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


def _name_and_num_folds(args: argparse.Namespace, common: list[str]) -> tuple[str, list[str]]:
    """The name without ending, and --num_folds if nothing else defines the folds.

    The name is the given one, or the training script's default without its fold.
    """
    line = [*common, "--fold", "1", "_"]
    if args.experiment is None:
        first = _quietly(args.method, line)
        name = first.experiment.removesuffix(".exp").removesuffix("_Fold1")
    else:
        name = args.experiment.rstrip("/").removesuffix(".cv").removesuffix(".exp")
        first = _quietly(args.method, [*line, "--experiment", f"{name}_Fold1.exp"])
    highest = max(args.folds)
    if (highest == 1 or first.num_folds is not None or first.splits is not None
            or first.dataset in PUBLISHED_FOLDS):
        return name, []
    return name, ["--num_folds", str(highest)]


def _quietly(method: str, line: list[str]) -> TrainingConfig:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return training_config(method, line, data=data)
