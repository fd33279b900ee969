"""Which cases train, validate and test."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Split:
    """Case ids of one fold, in the order they are used."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    testing: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, groups: dict[str, Sequence[str]]) -> "Split":
        """The inverse of `to_dict`; values may be any sequences of ids."""
        return cls(tuple(groups["train"]), tuple(groups["val"]), tuple(groups["test"]))

    def to_dict(self) -> dict[str, list[str]]:
        """The keys of nnU-Net's splits_final.json, and "test"."""
        return {"train": list(self.training), "val": list(self.validation),
                "test": list(self.testing)}

    def group_of(self, case_id: str) -> str | None:
        """"training", "validation", "testing", or None for a case that is in none."""
        for group in ("training", "validation", "testing"):
            if case_id in getattr(self, group):
                return group
        return None


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


def equal_folds(case_ids: Sequence[str], num_folds: int,
                testing: Sequence[str] = ()) -> list[Split]:
    """Fold k validates on the k-th of `num_folds` runs of the cases and trains on all others.

    The cases are taken in the order given, and the runs differ by at most one case.

    Args:
        testing: held out for the test in every fold.

    Raises:
        ValueError: less than two folds, or a fold without a validation case.
    """
    cases = tuple(case_ids)
    if not 2 <= num_folds <= len(cases):
        number = f"{len(cases)} case(s)"
        if testing:
            number += f" beside the {len(testing)} for the test"
        most = "not be given for so few cases"
        if len(cases) >= 2:
            most = f"be between 2 and {len(cases)}"
        raise ValueError(f"--num_folds {num_folds}: the {number} cannot be split into {num_folds} "
                         f"folds that each validate and train on at least one; the number must "
                         f"{most}.")
    bounds = [fold * len(cases) // num_folds for fold in range(num_folds + 1)]
    return [Split(cases[:start] + cases[end:], cases[start:end], tuple(testing))
            for start, end in pairwise(bounds)]


def shuffled_split(case_ids: Sequence[str], num_testing: int, num_validation: int | None,
                   published_validation: int | None) -> Split:
    """Hold out the last sorted cases for the test, shuffle the others, validate on their last.

    The shuffle is Python's `random.Random(0)`, as published.

    Args:
        case_ids: all of them.
        num_testing: cases held out for the test.
        num_validation: None for the published number if at least twice as many cases remain
            besides the test set, otherwise for 15 % of the remaining cases, at least one.
        published_validation: the dataset's published number, or None.

    Raises:
        ValueError: a group would be empty; the message states the numbers.
    """
    cases = sorted(case_ids)
    remaining = len(cases) - num_testing
    if num_validation is None:
        num_validation = max(round(0.15 * remaining), 1)
        if published_validation is not None and remaining >= 2 * published_validation:
            num_validation = published_validation
    num_training = remaining - num_validation
    if min(num_training, num_validation, num_testing) < 1:
        raise ValueError(f"{len(cases)} cases cannot be split into {num_testing} for the test, "
                         f"{num_validation} for validation and {num_training} for training: no "
                         f"group may be empty. Give --training_split (test cases) and "
                         f"--validation_split that leave some for training.")
    rest = _shuffled(cases[:remaining])
    return Split(training=tuple(rest[:num_training]), validation=tuple(rest[num_training:]),
                 testing=tuple(cases[remaining:]))


def _shuffled(cases: list[str]) -> list[str]:
    shuffled = list(cases)
    random.Random(0).shuffle(shuffled)
    return shuffled


def folds_alone(case_ids: Sequence[str], held_out: int | None, num_validation: int | None,
                num_folds: int | None = None, *, fold_size: int) -> list[Split]:
    """The folds of a dataset without a test set: they validate on the cases held out.

    Args:
        held_out: cases per fold; None for the published `fold_size`.
        num_validation: None; there is no other group to give a size to.
        num_folds: that many folds of sorted cases instead, as equal as possible.

    Raises:
        ValueError: settings that exclude each other or that leave a group empty.
    """
    if num_validation is not None:
        raise ValueError(f"--validation_split {num_validation}: these folds have no test set, "
                         f"they validate on the held-out cases; use --training_split for their "
                         f"number.")
    if num_folds is None:
        if held_out is not None:
            fold_size = held_out
        return consecutive_folds(case_ids, fold_size)
    if held_out is not None:
        raise ValueError(f"--num_folds {num_folds} and --training_split {held_out}: the number "
                         f"of folds and their size exclude each other; give one.")
    return equal_folds(sorted(case_ids), num_folds)


def folds_with_test_set(case_ids: Sequence[str], held_out: int | None, num_validation: int | None,
                        num_folds: int | None = None, *, default_testing: int | None,
                        published_validation: int | None) -> list[Split]:
    """The one published split, or folds of all but its test set.

    Args:
        held_out: cases held out for the test; None for `default_testing`, 0 for folds of all cases.
        num_validation: as in shuffled_split.
        num_folds: that many folds of the cases outside the test set, shuffled as for one split.
        default_testing: None for a fifth of the cases, at least one.
        published_validation: as in shuffled_split.

    Raises:
        ValueError: settings that exclude each other or that leave a group empty.
    """
    num_testing = held_out
    if num_testing is None:
        num_testing = default_testing
    if num_testing is None:
        num_testing = max(round(0.2 * len(case_ids)), 1)
    if num_folds is None:
        return [shuffled_split(case_ids, num_testing, num_validation, published_validation)]
    if num_validation is not None:
        raise ValueError(f"--num_folds {num_folds} and --validation_split {num_validation}: the "
                         f"number of folds and the size of the validation group exclude each "
                         f"other; give one.")
    cases = sorted(case_ids)
    remaining = len(cases) - num_testing
    if num_testing < 0 or remaining < 2:
        raise ValueError(f"{len(cases)} cases cannot be split into {num_testing} for the test and "
                         f"{num_folds} folds of the others; give a --training_split (test cases) "
                         f"between 0 and {max(len(cases) - max(num_folds, 2), 0)}.")
    return equal_folds(_shuffled(cases[:remaining]), num_folds, cases[remaining:])


def choose_fold(splits: list[Split], fold: int) -> Split:
    """The split of the 1-based `fold`.

    Raises:
        ValueError: there are not so many folds.
    """
    if not 1 <= fold <= len(splits):
        raise ValueError(f"--fold {fold}: there are {len(splits)} fold(s), 1 to {len(splits)}.")
    return splits[fold - 1]
