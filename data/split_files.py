"""Folds in files of nnU-Net's splits_final.json structure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.files import read_json, write_json

from .splits import Split


def write_splits(path: str | Path, splits: Sequence[Split]) -> None:
    """Write folds, whole, as `read_splits` and nnU-Net read them; "test" is ours."""
    write_json(path, [split.to_dict() for split in splits])


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
