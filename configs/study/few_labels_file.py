"""run_study.py with the file of a study of pre-training with few labels.

    {"title": "DeSD on the hippocampus",
     "label_study": {"labels": [5, 10, 20],               labelled cases
                     "methods": ["basic", "dsd"],
                     "seeds": [0, 1, 2],
                     "flags": ["--quick"]}}               more of FILE_FLAGS
"""

import argparse
from pathlib import Path
from typing import Any

from system.files import read_json

from ..checks import checked_names, checked_numbers, checked_text, checked_words, short
from .cross_validation import METHODS
from .execution import budget_problems
from .few_labels import FewLabelsCall, few_labels_call, few_labels_parser
from .line_parser import LineParser
from .studies import study_path

FIELDS = ("labels", "methods", "seeds", "flags")
FILE_FLAGS = {"--quick": 0, "--arch": 1, "--images": 1, "--pretrain_epochs": 1, "--steps": 1,
              "--validations": 1, "--val_cases": 1, "--test_cases": 1}
"""Flags of desd_label_study.py that a file may have, and the number of values of each."""
OF_OTHER_STUDIES = ("datasets", "networks", "folds", "epochs", "slurm", "report_only")


def is_label_study(name: str) -> bool:
    """Whether the file of a study is one of pre-training with few labels.

    Raises:
        ValueError: there is no such file, or it is not JSON.
    """
    content = read_json(study_path(name))
    return isinstance(content, dict) and "label_study" in content


def call_of_file(args: argparse.Namespace, passed_on: tuple[str, ...]) -> FewLabelsCall:
    """The study that a command line of run_study.py asks for.

    Args:
        args: of `configs.study.study_parser.study_parser`.
        passed_on: what follows --.

    Raises:
        ValueError: every problem of the file, or every flag that such a study does not have.
    """
    path = study_path(args.study)
    values = _read(path)
    problems = []
    for name in OF_OTHER_STUDIES:
        if getattr(args, name):
            problems.append(f"  --{name}: is not for the study {path.stem}, which takes the flags "
                            f"of benchmarks/desd_label_study.py; see its --help.")
    if args.executor != "local":
        problems.append(f"  --executor {args.executor}: is not for it either.")
    for one in args.methods or ():
        if one not in values["methods"]:
            problems.append(f"  --methods {one}: is not in the study, which has "
                            f"{', '.join(values['methods'])}.")
    if args.data is None:
        problems.append("  --data: give the folder Task04_Hippocampus, as downloaded.")
    problems += budget_problems(args.budget_minutes)
    if problems:
        raise ValueError("\n".join(["These settings cannot be used:", *problems]))
    words = ["--data", "hippocampus", "--hippocampus", args.data,
             "--output", str(Path(args.output) / f"{path.stem}.study"),
             "--labels", *map(str, values["labels"]),
             "--methods", *(args.methods or values["methods"]),
             "--seeds", *map(str, args.seeds or values["seeds"])]
    if args.device is not None:
        words += ["--device", args.device]
    if args.dry_run:
        words.append("--show_plan")
    parser = LineParser(parents=[few_labels_parser()], add_help=False)
    try:
        flags = vars(parser.parse_args([*words, *values["flags"], *passed_on]))
        return few_labels_call(flags, args.budget_minutes, args.show_verbose)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path)
    problems: list[str] = []
    for key in content:
        if key not in ("title", "label_study"):
            problems.append(f"{short(key)}: is unknown; known are title and label_study.")
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
        if words[at] not in FILE_FLAGS:
            problems.append(f"flags: {words[at]!r} must be one of {', '.join(FILE_FLAGS)}.")
        at += 1 + FILE_FLAGS.get(words[at], 0)
    return problems
