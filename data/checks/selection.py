"""From the settings of a run to its verified cases and its split."""

import warnings
from dataclasses import dataclass

from configs import EvaluationConfig, TrainingConfig
from system.text_files import few

from ..sets.cases import Case, DataError
from ..sets.datasets import Dataset
from ..sets.definitions import dataset_of
from ..sets.split_files import read_splits
from ..sets.splits import Split, choose_fold
from .verification import verify_cases


@dataclass(frozen=True)
class Selection:
    """The cases of a run."""

    dataset: Dataset
    cases: dict[str, Case]
    folds: list[Split]
    split: Split

    def group(self, name: str) -> list[Case]:
        """The cases of "training", "validation" or "testing", in the split's order."""
        return [self.cases[case_id] for case_id in getattr(self.split, name)]


def select_cases(config: TrainingConfig, progress: bool = False) -> Selection:
    """Find the cases, split them, and read every file once to check it.

    Raises:
        ValueError: a problem of the split, before any file is read, or all problems of the files
            in one message.
    """
    dataset = dataset_of(config)
    if config.dataset_definition is not None:
        _warn_of_mirror_images(dataset)
    found, problems = dataset.find_cases(config.data_dir)
    cases = {case.case_id: case for case in found}
    passed_over = dataset.passed_over(config.data_dir)
    try:
        folds = []
        if not problems:
            folds = planned_folds(config, dataset, list(cases))
    except ValueError as error:
        # Cases that the split misses may be among the unused files.
        raise ValueError("\n".join([str(error), *map(str, passed_over)])) from error
    training: tuple[str, ...] = ()
    if folds:
        training = choose_fold(folds, config.fold).training
    verify_cases(found, dataset, problems, progress, passed_over=passed_over, training=training,
                 refuse_sheared=not config.resume)  # older runs trained on them can continue
    return Selection(dataset, cases, folds, choose_fold(folds, config.fold))


def _warn_of_mirror_images(dataset: Dataset) -> None:
    """A mirrored left kidney looks like a right one, but is still labelled as a left one."""
    how = dataset.augmentation
    if dataset.sided_classes and how.flip_prob > 0 and 0 in how.flip_axes:
        remedy = "give --augmentation anatomical"
        if dataset.symmetric:
            remedy = f'take "symmetric" out of dataset.json and {remedy}'
        warnings.warn(f"crops are flipped from left to right, so "
                      f"{', '.join(dataset.sided_classes)} can hardly be told from the other side: "
                      f"{remedy}.", stacklevel=3)


def planned_folds(config: TrainingConfig, dataset: Dataset, case_ids: list[str]) -> list[Split]:
    """All folds; the one that was asked for is among them.

    Raises:
        ValueError: there are fewer folds, or the cases cannot be split in this way.
    """
    if config.splits is not None:
        folds = read_splits(config.splits, case_ids)
    else:
        folds = dataset.split(case_ids, config.training_split, config.validation_split,
                              config.num_folds)
    choose_fold(folds, config.fold)
    return folds


def cases_to_score(config: EvaluationConfig, run: TrainingConfig,
                   split: Split) -> tuple[Dataset, dict[str, Case]]:
    """The verified cases that an evaluation asks for, by case id, from the run's own split.

    Raises:
        ValueError: the group is empty, cases are not in the data, files cannot be trusted, or
            the run was trained on some of the cases and that was not asked for.
    """
    dataset = dataset_of(run)
    wanted = list(config.cases or getattr(split, config.mode))
    if not wanted:
        groups = {name: len(getattr(split, name)) for name in ("training", "validation", "testing")}
        raise ValueError(f"--mode {config.mode}: {run.experiment} has no {config.mode} cases; its "
                         f"split has {groups}.")
    trained_on = [case_id for case_id in wanted if split.group_of(case_id) == "training"]
    if trained_on and not config.include_training_cases:
        raise ValueError(f"{run.experiment} was trained on {len(trained_on)} of these cases "
                         f"({few(trained_on, 5)}): their score says nothing about new patients. "
                         f"Give --include_training_cases to score them anyway.")
    data_dir = config.data or run.data_dir
    found = {case.case_id: case for case in dataset.find_cases(data_dir)[0]}
    lacking = [case_id for case_id in wanted if case_id not in found]
    if lacking:
        raise DataError(f"{data_dir}: lacks {len(lacking)} of the {len(wanted)} cases: "
                        f"{', '.join(lacking[:10])}. Give the folder the run was trained on.")
    cases = {case_id: found[case_id] for case_id in wanted}
    # Sheared grids only prevent scoring on the files' own grid.
    verify_cases(list(cases.values()), dataset, refuse_sheared=config.native_space)
    return dataset, cases
