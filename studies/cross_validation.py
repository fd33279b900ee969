"""A cross-validation on disk: its folder, the rows of all its folds, its tables, comparisons."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from configs import experiment_dir
from configs.study.cross_validation import CrossValidationConfig, cross_validation_dir
from data import choose_fold, dataset_of, planned_folds
from managers.runs.folder import work_folder
from metrics import compare, paired_values
from reports import (
    comparison_csv,
    comparison_picture,
    comparison_table,
    differences_csv,
    fold_table,
    folds_picture,
    per_case_csv,
    read_per_case,
    summarise_folds,
)
from system.exit import LOGGER_NAME
from system.files import read_json, write_json, write_text

from .folds import FINISHED, note_complete, read_about

log = logging.getLogger(LOGGER_NAME)

Row = dict[str, Any]


@contextmanager
def opened(config: CrossValidationConfig) -> Iterator[Path]:
    """The folder of the cross-validation, made and locked, with its log.

    Raises:
        ValueError: another process works on it.
    """
    with work_folder(config.folder, "cross_validation.log", "cross_validate.py"):
        yield config.folder


def gathered_rows(config: CrossValidationConfig, folder: Path) -> list[Row]:
    """The rows of all folds, each with its "fold" first.

    Raises:
        ValueError: the folds are not of one split, or a case is in several of them.
    """
    splits = {fold: read_json(experiment_dir(run.experiment) / "splits.json")
              for fold, run in config.folds.items()}
    first = min(splits)
    other = [fold for fold in splits if splits[fold] != splits[first]]
    if other:
        raise ValueError(f"{folder}: folds {', '.join(map(str, other))} have another split of the "
                         f"cases than fold {first} (splits.json): the data have changed between "
                         f"them. Give --overwrite to train all folds on the same cases.")
    rows, fold_of = [], {}
    for fold in config.folds:
        for row in read_per_case(folder / f"fold{fold}.csv"):
            if fold_of.setdefault(row["case_id"], fold) != fold:
                raise ValueError(f"{folder}: case {row['case_id']} is validated in folds "
                                 f"{fold_of[row['case_id']]} and {fold}; for a table over all "
                                 f"cases the folds of --splits must not share any.")
            rows.append({"fold": fold, **row})
    return rows


def read_cross_validation(name: str) -> tuple[Path, dict[str, Any], list[Row]]:
    """Folder, cv.json and rows of a finished cross-validation.

    Raises:
        ValueError: there is none of that name, or it is not finished.
    """
    folder = cross_validation_dir(name)
    if not (folder / "cv.json").is_file():
        beside = sorted(path.parent.name for path in folder.parent.glob("*.cv/cv.json"))
        raise ValueError(f"{folder}: no cross-validation here (cv.json is absent). Those in "
                         f"{folder.parent}: {', '.join(beside) or 'none'}.")
    about = read_about(folder)
    if not about.get("complete") or not (folder / "per_case.csv").is_file():
        raise ValueError(f"{folder}: is not finished; run cross_validate.py for it again first.")
    return folder, about, read_per_case(folder / "per_case.csv")


def check_plan(config: CrossValidationConfig, found: Mapping[int, str]) -> None:
    """Before anything is trained: will there be a table, and can the baseline be compared with it?

    Args:
        found: of `folds.states`; where all is trained, the rows themselves will tell.

    Raises:
        ValueError: there are not so many folds, they share cases, or the baseline is not there,
            not finished or of other cases.
    """
    planned = None if set(found.values()) == {FINISHED} else _planned_cases(config)
    if config.compare_with is None:
        return
    folder, about, rows = read_cross_validation(config.compare_with)
    if folder.resolve() == config.folder.resolve():
        raise ValueError(f"--compare_with {config.compare_with}: is this cross-validation itself.")
    first = next(iter(config.folds.values()))
    if about["dataset"] != first.dataset:
        raise ValueError(f"--compare_with {config.compare_with}: is on {about['dataset']}, this "
                         f"one on {first.dataset}.")
    if about["folds"] != list(config.folds):
        raise ValueError(f"--compare_with {config.compare_with}: has the folds {about['folds']}, "
                         f"this one {list(config.folds)}; a paired comparison needs the same "
                         f"cases.")
    apart = sorted(planned ^ {row["case_id"] for row in rows}) if planned else []
    if apart:
        raise ValueError(f"--compare_with {config.compare_with}: {len(apart)} cases are validated "
                         f"in one of the two only ({', '.join(apart[:5])}"
                         f"{' ...' if len(apart) > 5 else ''}); give the data, --training_split, "
                         f"--num_folds or --splits of {folder.name}.")


def _planned_cases(config: CrossValidationConfig) -> set[str]:
    """The cases that the folds will validate, by the names of the files."""
    first = next(iter(config.folds.values()))
    dataset = dataset_of(first)
    case_ids = [case.case_id for case in dataset.find_cases(first.data_dir)[0]]
    splits = planned_folds(first, dataset, case_ids)
    chosen = Counter(case_id for fold in config.folds
                     for case_id in choose_fold(splits, fold).validation)
    twice = [case_id for case_id, times in chosen.items() if times > 1]
    if twice:
        raise ValueError(f"Cases that several of these folds validate: {', '.join(twice[:5])}"
                         f"{' ...' if len(twice) > 5 else ''}; for a table over all cases the "
                         f"folds of --splits must not share any.")
    return set(chosen)


def write_results(config: CrossValidationConfig, folder: Path, rows: list[Row]) -> str:
    """per_case.csv, summary.json, table.txt and folds.png over all folds; returns the table.

    And, at the end, cv.json says that they are complete.
    """
    experiments = [run.experiment for run in config.folds.values()]
    summary = summarise_folds(rows)
    table = fold_table(summary, experiments, chosen=any(run.val_every < run.epochs
                                                        for run in config.folds.values()))
    per_case_csv(folder / "per_case.csv", rows)
    write_json(folder / "summary.json",
               {"group": "validation", "saved_model": "best", "experiments": experiments} | summary)
    write_text(folder / "table.txt", table + "\n")
    folds_picture(folder / "folds.png", rows,
                  f"{folder.stem}: validation cases of {len(config.folds)} folds")
    note_complete(folder)
    return table


PICTURED = ("dice", "hd95_mm", "assd_mm")


def write_comparison(config: CrossValidationConfig, folder: Path, rows: list[Row]) -> str:
    """Compare with the baseline: comparison_with_OTHER.txt, .csv, .json, .png, _cases.csv.

    Returns the text.

    Raises:
        ValueError: the baseline is not finished, or has other cases or classes.
    """
    other, about, baseline = read_cross_validation(config.compare_with)
    fold_of = {row["case_id"]: row["fold"] for row in rows}
    moved = {row["case_id"] for row in baseline
             if fold_of.get(row["case_id"], row["fold"]) != row["fold"]}
    if moved:
        log.warning(f"{len(moved)} cases are in another fold of {other.stem}: there the training "
                    f"cases differ as well.")
    results = compare(baseline, rows)
    pairs = {metric: paired_values(baseline, rows, metric) for metric in PICTURED}
    table = comparison_table(results, other.stem, folder.stem)
    path = folder / f"comparison_with_{other.stem}"
    write_text(f"{path}.txt", table + "\n")
    comparison_csv(f"{path}.csv", results)
    differences_csv(f"{path}_cases.csv", baseline, rows)
    write_json(f"{path}.json", {"a": other.stem, "b": folder.stem,
                                "a_experiments": about["experiments"], "results": results})
    comparison_picture(f"{path}.png", pairs, results,
                       f"A {other.stem}, B {folder.stem}: {len(pairs['dice'].case_ids)} cases")
    return table
