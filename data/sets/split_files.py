"""Folds in files of nnU-Net's splits_final.json structure."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from system.files import read_json, write_json
from system.text_files import few

from .splits import Split


def write_splits(path: str | Path, splits: Sequence[Split]) -> None:
    """Write folds as `read_splits` and nnU-Net read them, except that "test" is ours."""
    write_json(path, [split.to_dict() for split in splits])


def read_splits(path: str | Path, case_ids: Sequence[str]) -> list[Split]:
    """Read folds from a file of nnU-Net's splits_final.json structure.

    The file is a list of {"train": [ids], "val": [ids]}, one per fold, "test" optional. Warns of
    cases that a fold leaves out, and how many there are.

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
    _warn_of_left_out(path, splits, case_ids)
    return splits


def _warn_of_left_out(path: str | Path, splits: Sequence[Split], case_ids: Sequence[str]) -> None:
    """One warning of all cases in no group, together for the folds that leave out the same ones.

    They are a sign of a file made for other data, or before cases were added.
    """
    folds_of: dict[tuple[str, ...], list[str]] = {}
    for number, split in enumerate(splits, start=1):
        used = {*split.training, *split.validation, *split.testing}
        left_out = tuple(sorted(set(case_ids) - used))
        if left_out:
            folds_of.setdefault(left_out, []).append(str(number))
    lines = [f"  fold {', '.join(folds)}: {len(left_out)} of {len(case_ids)} cases are in no group "
             f"and not used: {few(left_out, 3)}" for left_out, folds in folds_of.items()]
    if lines:
        warnings.warn(f"{path}: leaves cases out:\n" + "\n".join(lines), stacklevel=3)


def _read_fold(fold: Any, number: int, known: set[str], problems: list[str]) -> Split:
    groups = {}
    if isinstance(fold, dict):
        groups = {key: fold.get(key, []) for key in ("train", "val", "test")}
    if not groups or not all(map(_are_texts, groups.values())):
        problems.append(f'  fold {number}: must be {{"train": [ids], "val": [ids]}}.')
        return Split((), ())
    every = groups["train"] + groups["val"] + groups["test"]
    unknown = sorted(set(every) - known)
    twice = sorted({case_id for case_id in every if every.count(case_id) > 1})
    if unknown:
        problems.append(f"  fold {number}: not in the data: {few(unknown, 10)}.")
    if twice:
        problems.append(f"  fold {number}: listed more than once: {', '.join(twice[:10])}.")
    if not groups["train"] or not groups["val"]:
        problems.append(f"  fold {number}: {len(groups['train'])} cases train and "
                        f"{len(groups['val'])} validate; neither may be 0.")
    return Split.from_dict(groups)


def _are_texts(ids: Any) -> bool:
    return isinstance(ids, list) and all(isinstance(case_id, str) for case_id in ids)
