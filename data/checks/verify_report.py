"""Everything wrong or doubtful in a dataset as one report: text for people, JSON for scripts.

The checks are those at the start of every run (data/checks/verification.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from system.workers import for_each, num_cores

from ..sets.cases import Case, Problem
from ..sets.datasets import Dataset
from ..sets.split_files import read_splits
from ..sets.splits import Split
from .grouped_findings import grouped
from .verification import Findings, case_findings, class_problems, twin_problems, twins


@dataclass(frozen=True)
class Report:
    """What reading a whole dataset has shown; errors keep it from being used."""

    dataset: str
    data_dir: str
    num_cases: int
    errors: list[Problem]
    warnings: list[Problem]

    @property
    def text(self) -> str:
        """A headline, one line for each error, and the warnings, grouped by kind."""
        lines = [f"{self.data_dir}: {self.num_cases} cases of {self.dataset}, "
                 f"{len(self.errors)} error(s), {len(self.warnings)} warning(s)"]
        lines += [f"error: {problem}" for problem in self.errors]
        lines += [f"warning: {line}" for line in grouped(self.warnings)]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {"dataset": self.dataset, "data_dir": self.data_dir, "num_cases": self.num_cases,
                "errors": [_plain(problem) for problem in self.errors],
                "warnings": [_plain(problem) for problem in self.warnings]}


def _plain(problem: Problem) -> dict[str, str]:
    return {"case_id": problem.case_id, "path": str(problem.path), "found": problem.found,
            "remedy": problem.remedy}


def verify_dataset(data_dir: str | Path, dataset: Dataset, crop: tuple[int, int, int] | None,
                   splits: str | Path | None = None, num_workers: int | None = None,
                   progress: bool = True) -> Report:
    """Read every file of a dataset once and report all problems.

    Args:
        crop: (X, Y, Z) voxels of the dataset's recipe; None: not checked.
        splits: file of folds, in which no image may be in two groups, whatever its case id.
        num_workers: parallel processes; None for one per core.

    Raises:
        ValueError: no such folder, no cases there, an unusable file of folds, or less than one
            worker.
    """
    if num_workers is None:
        num_workers = num_cores()
    if num_workers < 1:
        raise ValueError(f"--workers {num_workers}: must be at least 1.")
    cases, errors = dataset.find_cases(data_dir)
    folds = []
    if splits is not None:
        folds = read_splits(splits, [case.case_id for case in cases])
    check = partial(case_findings, dataset=dataset, crop=crop)
    found = sorted(for_each(check, cases, num_workers, "verifying", "case", progress),
                   key=lambda one: one.case.case_id)
    doubtful = dataset.passed_over(data_dir)
    for one in found:
        errors += one.errors
        doubtful += one.warnings
    errors += leak_problems(twins(found), folds)
    doubtful += twin_problems(found)
    if not errors:  # a label that could not be read may have the class
        doubtful += _class_problems(found, folds, dataset)
    return Report(dataset.name, str(data_dir), len(cases), errors, doubtful)


def _class_problems(found: Sequence[Findings], folds: Sequence[Split],
                    dataset: Dataset) -> list[Problem]:
    if not folds:
        everything = [one.case.case_id for one in found]
        return class_problems(found, everything, dataset, "all cases")
    problems = []
    for number, fold in enumerate(folds, start=1):
        problems += class_problems(found, fold.training, dataset,
                                   f"training cases of fold {number}")
    return problems


def leak_problems(groups: Sequence[Sequence[Case]], folds: Sequence[Split]) -> list[Problem]:
    """A problem for each image that a fold has in two of its groups, under two case ids."""
    problems = []
    for number, fold in enumerate(folds, start=1):
        for first, *others in groups:
            home = fold.group_of(first.case_id)
            for other in others:
                group = fold.group_of(other.case_id)
                if home is None or group is None or group == home:
                    continue
                problems.append(Problem(
                    other.case_id, other.image, f"is the image of {first.case_id}: fold {number} "
                    f"has one in {home}, the other in {group}",
                    "keep both in one group, or remove one"))
    return problems
