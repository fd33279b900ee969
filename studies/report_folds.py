"""The files of a cross-validation: cv.json, the table over its folds, its comparison."""

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs import experiment_dir
from configs.study.cross_validation import cross_validation_dir
from managers.runs.state import FINISHED
from metrics import compare, with_shared_columns
from reports import (
    fold_table,
    folds_picture,
    per_case_csv,
    read_per_case,
    summarise_folds,
)
from system.exit import LOGGER_NAME
from system.files import read_json, write_json, write_text

from .comparison_files import remove_comparisons, write_comparison_files
from .gather import Progress
from .planned_cases import planned_splits
from .plans.folds import CrossValidation, note_complete, read_about

log = logging.getLogger(LOGGER_NAME)

Row = dict[str, Any]
RESULTS = ("per_case.csv", "summary.json", "table.txt", "folds.png")


def begin(plan: CrossValidation, progress: Mapping[str, Progress]) -> None:
    """Write cv.json; remove the tables if any fold is going to change."""
    record = plan.read_record()
    unfinished = [run for run in plan.runs if progress[run.name].state != FINISHED]
    for run in unfinished:
        record.pop(run.name, None)
    if unfinished:
        for name in RESULTS:
            (plan.folder / name).unlink(missing_ok=True)
        remove_comparisons(plan.folder, "comparison_with_*")
    plan.write_record(record)


def gathered_rows(plan: CrossValidation) -> list[Row]:
    """The rows of all folds, each with its "fold" first.

    Raises:
        ValueError: the folds are not of one split, or a case is in several of them.
    """
    folder = plan.folder
    splits = {run.settings.fold: read_json(experiment_dir(run.settings.experiment) / "splits.json")
              for run in plan.runs}
    first = min(splits)
    other = [fold for fold in splits if splits[fold] != splits[first]]
    if other:
        raise ValueError(f"{folder}: folds {', '.join(map(str, other))} have another split of the "
                         f"cases than fold {first} (splits.json): the data have changed between "
                         f"them. Give --overwrite to train all folds on the same cases.")
    rows, fold_of = [], {}
    for run in plan.runs:
        fold = run.settings.fold
        for row in read_per_case(plan.rows_of(run)):
            if fold_of.setdefault(row["case_id"], fold) != fold:
                raise ValueError(f"{folder}: case {row['case_id']} is validated in folds "
                                 f"{fold_of[row['case_id']]} and {fold}; for a table over all "
                                 f"cases the folds of --splits must not share any.")
            rows.append({"fold": fold, **row})
    return with_shared_columns(rows)


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


def check_plan(plan: CrossValidation, progress: Mapping[str, Progress]) -> None:
    """Check before training that there will be a table, and a baseline to compare it with.

    Raises:
        ValueError: there are not so many folds, they share cases, or the baseline is not there,
            not finished or of other cases.
    """
    planned = None  # once all folds are trained, their rows are checked instead
    if any(one.state != FINISHED for one in progress.values()):
        planned = _planned_cases(plan)
    if plan.compare_with is None:
        return
    name = f"--compare_with {plan.compare_with}"
    folder, about, rows = read_cross_validation(plan.compare_with)
    if folder.resolve() == plan.folder.resolve():
        raise ValueError(f"{name}: is this cross-validation itself.")
    dataset = plan.runs[0].settings.dataset
    if about["dataset"] != dataset:
        raise ValueError(f"{name}: is on {about['dataset']}, this one on {dataset}.")
    if about["folds"] != list(plan.folds):
        raise ValueError(f"{name}: has the folds {about['folds']}, this one {list(plan.folds)}; a "
                         f"paired comparison needs the same cases.")
    if planned is None:
        return
    apart = sorted(planned ^ {row["case_id"] for row in rows})
    if apart:
        raise ValueError(f"{name}: {len(apart)} cases are validated in one of the two only "
                         f"({_first_five(apart)}); give the data, --training_split, --num_folds "
                         f"or --splits of {folder.name}.")


def _planned_cases(plan: CrossValidation) -> set[str]:
    """The cases that the folds will validate."""
    chosen: Counter[str] = Counter()
    for split in planned_splits(plan.runs).values():
        chosen.update(split.validation)
    twice = [case_id for case_id, times in chosen.items() if times > 1]
    if twice:
        raise ValueError(f"Cases that several of these folds validate: {_first_five(twice)}; for "
                         f"a table over all cases the folds of --splits must not share any.")
    return set(chosen)


def _first_five(case_ids: list[str]) -> str:
    more = " ..." if len(case_ids) > 5 else ""
    return f"{', '.join(case_ids[:5])}{more}"


def write_results(plan: CrossValidation, rows: list[Row]) -> str:
    """Write per_case.csv, summary.json, table.txt and folds.png; returns the table.

    cv.json says last that they are complete.
    """
    folder, summary = plan.folder, summarise_folds(rows)
    is_chosen = any(run.settings.val_every < run.settings.epochs for run in plan.runs)
    table = fold_table(summary, plan.experiments, chosen=is_chosen)
    per_case_csv(folder / "per_case.csv", rows)
    write_json(folder / "summary.json", {"group": "validation", "saved_model": "best",
                                         "experiments": plan.experiments} | summary)
    write_text(folder / "table.txt", table + "\n")
    folds_picture(folder / "folds.png", rows,
                  f"{folder.stem}: validation cases of {len(plan.runs)} folds")
    note_complete(folder)
    return table


def write_comparison(plan: CrossValidation, rows: list[Row]) -> str:
    """Compare with the baseline: comparison_with_OTHER.txt, .csv, .json, .png, _cases.csv.

    Returns the text.

    Raises:
        ValueError: the baseline is not finished, or has other cases or classes.
    """
    other, about, baseline = read_cross_validation(plan.compare_with)
    fold_of = {row["case_id"]: row["fold"] for row in rows}
    moved = {row["case_id"] for row in baseline
             if fold_of.get(row["case_id"], row["fold"]) != row["fold"]}
    if moved:
        log.warning(f"{len(moved)} cases are in another fold of {other.stem}: there the training "
                    f"cases differ as well.")
    results = compare(baseline, rows)
    path = plan.folder / f"comparison_with_{other.stem}"
    table = write_comparison_files(path, results, (other.stem, baseline),
                                   (plan.folder.stem, rows))
    write_json(f"{path}.json", {"a": other.stem, "b": plan.folder.stem,
                                "a_experiments": about["experiments"], "results": results})
    return table
