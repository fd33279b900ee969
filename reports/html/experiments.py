"""Scored runs and cross-validations, read from their folders as plain values."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configs import experiment_dir
from configs.study.cross_validation import cross_validation_dir
from system.files import read_json
from system.json_files import read_lines, read_object

from ..folds import class_names_of, read_per_case
from ..scores import are_of_one_evaluation
from ..volumes import read_volumes
from .views import FILE, read_views

Row = dict[str, Any]
ABOUT = ("group", "saved_model", "space", "epoch", "paper_metrics")


def read_experiment(name: str) -> dict[str, Any]:
    """A run NAME.exp or a cross-validation NAME.cv that has been scored.

    Returns:
        "name", "folder", "rows" (of metrics.case_metrics), "class_names", "about" (what was
        scored), "views", "volumes" (see `read_volumes`), and "runs": by name, of each run its
        "settings", "environment", "history" (lines of metrics.jsonl), "training_cases",
        "parameters" and "seconds" of training; the last three are None if the folder lacks them.

    Raises:
        ValueError: there is no such experiment, or it has not been scored.
    """
    if name.rstrip("/").endswith(".cv"):
        return _read_cross_validation(cross_validation_dir(name.rstrip("/")))
    folder = experiment_dir(name.rstrip("/"))
    if not (folder / "config.json").is_file():
        beside = sorted(path.parent.name for path in folder.parent.glob("*.exp/config.json"))
        raise ValueError(f"{folder}: no run here (config.json is absent). Runs in "
                         f"{folder.parent}: {', '.join(beside) or 'none'}.")
    if not (folder / "per_case.csv").is_file():
        raise ValueError(f"{folder}: has no scores yet; run: python eval.py --experiment {folder}")
    if not (folder / "summary.json").is_file():
        raise ValueError(f"{folder}: its evaluation was stopped before its end; run again: "
                         f"python eval.py --experiment {folder}")
    summary = read_object(folder / "summary.json")
    if not are_of_one_evaluation(folder, summary):
        raise ValueError(f"{folder}: per_case.csv is not that of summary.json; run again: "
                         f"python eval.py --experiment {folder}")
    rows = _read_rows(folder / "per_case.csv")
    scored = {row["case_id"] for row in rows}
    run, training = _read_run(folder), _training_cases(folder)
    about = {key: summary[key] for key in ABOUT if summary.get(key) is not None}
    if training is not None and scored & training:
        about["trained_on"] = len(scored & training)
    return {"name": folder.stem, "folder": folder, "rows": rows,
            "class_names": class_names_of(rows), "about": about, "runs": {folder.stem: run},
            "views": [view for view in read_views(folder / FILE) if view.case_id in scored],
            "volumes": read_volumes(folder, folder / "per_case.csv")}


def _read_rows(path: Path) -> list[Row]:
    """The rows of per_case.csv: one for each case and class, each class with one name."""
    rows = read_per_case(path)
    problem = _problem(rows)
    if problem is not None:
        raise ValueError(f"{path}: is damaged ({problem}); evaluate the run again.")
    return rows


def _problem(rows: Sequence[Row]) -> str | None:
    classes, names, cases, cells = set(), set(), set(), set()
    for row in rows:
        case = (row.get("fold"), row["case_id"])
        classes.add((row["class"], row["class_name"]))
        names.add(row["class_name"])
        cases.add(case)
        cells.add((case, row["class"]))
        if any(isinstance(value, float) and math.isinf(value) for value in row.values()):
            return "a value is infinite"
    if not len(classes) == len(names) == len(dict(classes)):
        return "a class has two names"
    if len(cells) < len(rows):
        return "a case has a class twice"
    if len(cells) < len(cases) * len(classes):
        return "a case lacks a class"
    return None


def _read_run(folder: Path) -> dict[str, Any]:
    run: dict[str, Any] = {"settings": read_object(folder / "config.json"),
                           "environment": read_object(folder / "environment.json"),
                           "history": read_lines(folder / "metrics.jsonl", "epoch"),
                           "training_cases": None, "parameters": None,
                           "seconds": training_seconds(folder)}
    training = _training_cases(folder)
    if training is not None:
        run["training_cases"] = len(training)
    if (folder / "summary.json").is_file():
        parameters = read_object(folder / "summary.json").get("parameters")
        if isinstance(parameters, int):
            run["parameters"] = parameters
    return run


def training_seconds(folder: Path) -> float | None:
    """The time of a run's epochs, without start and scoring; None if the folder does not tell."""
    lines = read_lines(folder / "timing.jsonl", "seconds")
    if not lines:
        return None
    return float(sum(line["seconds"] for line in lines))


def _training_cases(folder: Path) -> set[str] | None:
    """The training cases of the run's fold; None if the folder has no splits.json."""
    path = folder / "splits.json"
    if not path.is_file():
        return None
    fold = read_object(folder / "config.json").get("fold") or 1
    try:
        return set(read_json(path)[fold - 1]["train"])
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{path}: is damaged (no training cases of fold {fold}).") from error


def _read_cross_validation(folder: Path) -> dict[str, Any]:
    if not (folder / "per_case.csv").is_file():
        raise ValueError(f"{folder}: has no scores of all its folds yet; run cross_validate.py for "
                         f"it again.")
    about = folder / "cv.json"
    if about.is_file() and not read_object(about).get("complete", True):
        raise ValueError(f"{folder}: is not finished; run cross_validate.py for it again.")
    rows = _read_rows(folder / "per_case.csv")
    runs, views, volumes = {}, [], []
    for fold in sorted({row["fold"] for row in rows}):
        of_fold = folder.with_name(f"{folder.stem}_Fold{fold}.exp")
        if (of_fold / "config.json").is_file():
            runs[of_fold.stem] = _read_run(of_fold)
            cases = {row["case_id"] for row in rows if row["fold"] == fold}
            views += [view for view in read_views(of_fold / FILE) if view.case_id in cases]
            volumes += read_volumes(of_fold, folder / f"fold{fold}.csv")
    return {"name": folder.stem, "folder": folder, "rows": rows,
            "class_names": class_names_of(rows), "runs": runs, "views": views,
            "volumes": volumes,
            "about": {"group": "validation", "folds": len({row["fold"] for row in rows})}}


def told_apart(experiments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The experiments; those of the same name are named by as much of their path as needed."""
    paths = [one["folder"].resolve().parts for one in experiments]
    for length in range(1, max(map(len, paths)) + 1):
        names = [Path(*parts[-length:]).as_posix() for parts in paths]
        if len(set(names)) == len(set(paths)):
            break
    times = Counter(one["name"] for one in experiments)
    found = []
    for one, name in zip(experiments, names, strict=True):
        if times[one["name"]] == 1:
            name = one["name"]
        found.append(dict(one) | {"name": name})
    return found
