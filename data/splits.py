"""Which cases train, validate and test."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.files import read_json


@dataclass(frozen=True)
class Split:
    """Case ids of one fold, in the order they are used."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    testing: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, list[str]]:
        """The keys of nnU-Net's splits_final.json, and "test"."""
        return {"train": list(self.training), "val": list(self.validation),
                "test": list(self.testing)}

    def group_of(self, case_id: str) -> str | None:
        """"training", "validation", "testing", or None for a case that is in none."""
        return next((group for group in ("training", "validation", "testing")
                     if case_id in getattr(self, group)), None)


def consecutive_folds(case_ids: Sequence[str], fold_size: int) -> list[Split]:
    """Fold k validates on the k-th run of `fold_size` sorted cases and trains on all others.

    Differs from the authors' code: theirs is right for 20 cases in folds of 4 only, and trains
    fold 1 whatever the experiment is called.

    Raises:
        ValueError: a fold would have no validation or no training case.
    """
    cases = sorted(case_ids)
    if fold_size < 1 or fold_size >= len(cases):
        raise ValueError(f"{len(cases)} cases cannot be split into folds of {fold_size}: one "
                         f"fold validates and at least one case must train. Give "
                         f"--training_split between 1 and {max(len(cases) - 1, 1)}.")
    return [Split(training=tuple(cases[:start] + cases[start + fold_size:]),
                  validation=tuple(cases[start:start + fold_size]))
            for start in range(0, len(cases) - fold_size + 1, fold_size)]


def shuffled_split(case_ids: Sequence[str], num_testing: int, num_validation: int | None,
                   published_validation: int) -> Split:
    """Hold out the last sorted cases for the test, shuffle the rest, validate on its last ones.

    The shuffle is Python's `random.Random(0)`, as published.

    Args:
        case_ids: all of them.
        num_testing: cases held out for the test.
        num_validation: None for the published number where at least twice as many cases remain
            after the test set, else 15 % of what remains, at least one.
        published_validation: the dataset's published number.

    Raises:
        ValueError: a group would be empty; the message states the numbers.
    """
    cases = sorted(case_ids)
    remaining = len(cases) - num_testing
    if num_validation is None:
        num_validation = (published_validation if remaining >= 2 * published_validation
                          else max(round(0.15 * remaining), 1))
    num_training = remaining - num_validation
    if min(num_training, num_validation, num_testing) < 1:
        raise ValueError(f"{len(cases)} cases cannot be split into {num_testing} for the test, "
                         f"{num_validation} for validation and {num_training} for training: no "
                         f"group may be empty. Give --training_split (test cases) and "
                         f"--validation_split that leave some for training.")
    rest = cases[:remaining]
    random.Random(0).shuffle(rest)
    return Split(training=tuple(rest[:num_training]), validation=tuple(rest[num_training:]),
                 testing=tuple(cases[remaining:]))


def read_splits(path: str | Path, case_ids: Sequence[str]) -> list[Split]:
    """Read folds from a file of nnU-Net's splits_final.json structure.

    The file is a list of {"train": [ids], "val": [ids]}, one per fold, "test" optional.

    Raises:
        ValueError: another structure, ids that are not in the data, an empty group, or a case
            in two groups of one fold.
    """
    folds = read_json(path)
    if not isinstance(folds, list) or not folds:
        raise ValueError(f'{path}: must be a list of folds, each {{"train": [...], "val": [...]}}.')
    problems: list[str] = []
    splits = [_read_fold(fold, number, set(case_ids), problems)
              for number, fold in enumerate(folds, start=1)]
    if problems:
        raise ValueError(f"{path}: cannot be used:\n" + "\n".join(problems))
    return splits


def _read_fold(fold: Any, number: int, known: set[str], problems: list[str]) -> Split:
    groups = {key: fold.get(key, []) if isinstance(fold, dict) else None
              for key in ("train", "val", "test")}
    if not all(isinstance(ids, list) and all(isinstance(i, str) for i in ids)
               for ids in groups.values()):
        problems.append(f'  fold {number}: must be {{"train": [ids], "val": [ids]}}.')
        return Split((), ())
    every = [case_id for ids in groups.values() for case_id in ids]
    unknown = sorted(set(every) - known)
    twice = sorted({case_id for case_id in every if every.count(case_id) > 1})
    if unknown:
        problems.append(f"  fold {number}: not in the data: {', '.join(unknown[:10])}"
                        f"{' ...' if len(unknown) > 10 else ''}.")
    if twice:
        problems.append(f"  fold {number}: listed more than once: {', '.join(twice[:10])}.")
    if not groups["train"] or not groups["val"]:
        problems.append(f"  fold {number}: {len(groups['train'])} cases train and "
                        f"{len(groups['val'])} validate; neither may be 0.")
    return Split(*(tuple(groups[key]) for key in ("train", "val", "test")))


def choose_fold(splits: list[Split], fold: int) -> Split:
    """The split of the 1-based `fold`.

    Raises:
        ValueError: there are not so many folds.
    """
    if not 1 <= fold <= len(splits):
        raise ValueError(f"--fold {fold}: there are {len(splits)} fold(s), 1 to {len(splits)}.")
    return splits[fold - 1]
