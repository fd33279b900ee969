"""A study of pre-training with few labels, which benchmarks/desd_label_study.py runs.

    {"title": "DeSD on the hippocampus",
     "label_study": {"labels": [5, 10, 20],               labelled cases
                     "methods": ["basic", "dsd"],
                     "seeds": [0, 1, 2],
                     "flags": ["--quick"]}}               further ones of that script
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from system.files import read_json

from ..checks import checked_names, checked_numbers, checked_text, checked_words, short
from .cross_validation import METHODS
from .studies import study_path

SCRIPT = "benchmarks/desd_label_study.py"
FIELDS = ("labels", "methods", "seeds", "flags")
FLAGS = {"--quick": 0, "--arch": 1, "--images": 1, "--pretrain_epochs": 1, "--steps": 1,
         "--validations": 1, "--val_cases": 1, "--test_cases": 1}
"""Those that a file may give, and how many values each takes."""


@dataclass(frozen=True)
class LabelStudyConfig:
    """The command line of a label study, and how it is run."""

    folder: Path                    # of all that it makes
    arguments: tuple[str, ...]      # of SCRIPT
    budget_minutes: float | None
    dry_run: bool
    show_verbose: bool


def is_label_study(name: str) -> bool:
    """Whether the file of a study is one of pre-training with few labels.

    Raises:
        ValueError: there is no such file, or it is not JSON.
    """
    content = read_json(study_path(name))
    return isinstance(content, dict) and "label_study" in content


def label_study_config(args: argparse.Namespace, passed_on: tuple[str, ...]) -> LabelStudyConfig:
    """The label study that a command line of run_study.py asks for.

    Args:
        args: of `configs.study.study_plan.study_parser`.
        passed_on: what follows --.

    Raises:
        ValueError: every problem of the file, or every flag that such a study does not have.
    """
    values = _read(args.study)
    problems = [f"  --{name}: is not for the study {Path(args.study).stem}, which "
                f"{SCRIPT} runs; see its --help." for name in
                ("datasets", "networks", "folds", "epochs", "slurm", "report_only")
                if getattr(args, name)]
    problems += [f"  --executor {args.executor}: is not for it either."
                 for _ in range(args.executor != "local")]
    problems += [f"  --methods {one}: is not of the study, which has "
                 f"{', '.join(values['methods'])}."
                 for one in args.methods or () if one not in values["methods"]]
    if args.data is None:
        problems.append("  --data: give the folder Task04_Hippocampus, as downloaded.")
    if args.budget_minutes is not None and not 0 < args.budget_minutes < float("inf"):
        problems.append(f"  --budget-minutes {args.budget_minutes}: must be above 0.")
    if problems:
        raise ValueError("\n".join(["These settings cannot be used:", *problems]))
    folder = Path(args.output) / f"{study_path(args.study).stem}.study"
    lists = {"labels": values["labels"], "methods": args.methods or values["methods"],
             "seeds": args.seeds or values["seeds"]}
    words = ["--data", "hippocampus", "--hippocampus", args.data, "--output", str(folder)]
    for name, of_list in lists.items():
        words += [f"--{name}", *map(str, of_list)]
    words += ["--device", args.device] if args.device is not None else []
    words += ["--show_plan"] if args.dry_run else []
    return LabelStudyConfig(folder, (*words, *values["flags"], *passed_on), args.budget_minutes,
                            args.dry_run, args.show_verbose)


def _read(name: str) -> dict[str, Any]:
    path = study_path(name)
    content = read_json(path)
    problems = [f"{short(key)}: is unknown; known are title and label_study."
                for key in content if key not in ("title", "label_study")]
    checked_text("title", content.get("title"), problems)
    study = content["label_study"]
    values: dict[str, Any] = {}
    if not isinstance(study, dict) or set(study) != set(FIELDS):
        problems.append(f"label_study: {short(study)} must have {', '.join(FIELDS)}.")
    else:
        values = {
            "labels": checked_numbers("labels", study["labels"], problems, 1, 10**6),
            "methods": checked_names("methods", study["methods"], problems, METHODS),
            "seeds": checked_numbers("seeds", study["seeds"], problems, 0, 2**32 - 1),
            "flags": checked_words("flags", study["flags"], problems)}
        problems += _flag_problems(values["flags"])
    if problems:
        raise ValueError("\n".join([f"{path}: cannot be used:", *(f"  {p}" for p in problems)]))
    return values


def _flag_problems(words: tuple[str, ...]) -> list[str]:
    problems, at = [], 0
    while at < len(words):
        if words[at] not in FLAGS:
            problems.append(f"flags: {words[at]!r} must be one of {', '.join(FLAGS)}.")
        at += 1 + FLAGS.get(words[at], 0)
    return problems
