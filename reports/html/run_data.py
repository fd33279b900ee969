"""What report.html says of runs, read from their folders as plain values."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from configs import experiment_dir
from configs.study.cross_validation import cross_validation_dir
from metrics import bootstrap_interval, compare, shared_metrics
from metrics.repeats import Rows, compare_runs, judge
from system.files import read_json
from system.json_files import read_lines, read_object

from ..folds import class_names_of, read_per_case
from ..scores import are_of_one_evaluation
from .views import FILE, MAX_VOXELS, CaseView, read_views, thinning

Row = dict[str, Any]
ABOUT = ("group", "saved_model", "space", "epoch", "paper_metrics")


def read_experiment(name: str) -> dict[str, Any]:
    """A run NAME.exp or a cross-validation NAME.cv that has been scored.

    Returns:
        "name", "folder", "rows" (of metrics.case_metrics), "class_names", "about" (what was
        scored), "settings", "environment" and "history" (lines of metrics.jsonl) by run, "views".

    Raises:
        ValueError: there is none, or it has not been scored.
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
    return {"name": folder.stem, "folder": folder, "rows": rows,
            "class_names": class_names_of(rows),
            "about": {key: summary[key] for key in ABOUT if summary.get(key) is not None}
            | _trained_on(folder, scored),
            "runs": {folder.stem: _read_run(folder)},
            "views": [view for view in read_views(folder / FILE) if view.case_id in scored]}


def _read_rows(path: Path) -> list[Row]:
    """The rows of per_case.csv: one of each case and class, each class by one name."""
    rows = read_per_case(path)
    names = {(row["class"], row["class_name"]) for row in rows}
    found = [(row.get("fold"), row["case_id"], row["class"]) for row in rows]
    values = [value for row in rows for value in row.values() if isinstance(value, float)]
    for wrong, says in (
            (not len(names) == len(dict(names)) == len({name for _, name in names}),
             "a class has two names"),
            (len(set(found)) != len(found), "a case has a class twice"),
            (len(found) < len({one[:2] for one in found}) * len(names), "a case lacks a class"),
            (any(map(math.isinf, values)), "a value is infinite")):
        if wrong:
            raise ValueError(f"{path}: is damaged ({says}); evaluate the run again.")
    return rows


def _read_run(folder: Path) -> dict[str, Any]:
    return {"settings": read_object(folder / "config.json"),
            "environment": read_object(folder / "environment.json"),
            "history": read_lines(folder / "metrics.jsonl", "epoch")}


def _trained_on(folder: Path, scored: set[str]) -> dict[str, int]:
    """How many of the scored cases the run was trained on, where there are such."""
    path = folder / "splits.json"
    if not path.is_file():
        return {}
    fold = read_object(folder / "config.json").get("fold") or 1
    try:
        number = len(scored & set(read_json(path)[fold - 1]["train"]))
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{path}: is damaged (no training cases of fold {fold}).") from error
    return {"trained_on": number} if number else {}


def _read_cross_validation(folder: Path) -> dict[str, Any]:
    if not (folder / "per_case.csv").is_file():
        raise ValueError(f"{folder}: has no scores of all its folds yet; run cross_validate.py for "
                         f"it again.")
    about = folder / "cv.json"
    if about.is_file() and not read_object(about).get("complete", True):
        raise ValueError(f"{folder}: is not finished; run cross_validate.py for it again.")
    rows = _read_rows(folder / "per_case.csv")
    runs, views = {}, []
    for fold in sorted({row["fold"] for row in rows}):
        of_fold = folder.with_name(f"{folder.stem}_Fold{fold}.exp")
        if (of_fold / "config.json").is_file():
            runs[of_fold.stem] = _read_run(of_fold)
            cases = {row["case_id"] for row in rows if row["fold"] == fold}
            views += [view for view in read_views(of_fold / FILE) if view.case_id in cases]
    return {"name": folder.stem, "folder": folder, "rows": rows,
            "class_names": class_names_of(rows), "runs": runs, "views": views,
            "about": {"group": "validation", "folds": len({row["fold"] for row in rows})}}


def told_apart(experiments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The experiments, those of the same name with as much of their path as tells them apart."""
    paths = [one["folder"].resolve().parts for one in experiments]
    for length in range(1, max(map(len, paths)) + 1):
        names = [Path(*parts[-length:]).as_posix() for parts in paths]
        if len(set(names)) == len(set(paths)):
            break
    times = Counter(one["name"] for one in experiments)
    return [dict(one) | ({"name": name} if times[one["name"]] > 1 else {})
            for one, name in zip(experiments, names, strict=True)]


def headline(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """Mean over cases of each case's mean over classes, with its 95 % bootstrap interval."""
    found = []
    for metric in metrics:
        per_case: dict[str, list[float]] = {}
        for row in rows:
            per_case.setdefault(row["case_id"], []).append(row[metric])
        means = np.array([np.nanmean(values) for values in per_case.values()
                          if not np.isnan(values).all()])
        low, high = bootstrap_interval(means)
        found.append({"metric": metric, "mean": float(means.mean()) if means.size else None,
                      "low": low, "high": high, "n": int(means.size)})
    return found


def page_data(experiments: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All that the page shows, as JSON values; the first experiment is the baseline.

    Raises:
        ValueError: several experiments of other cases or classes, or scored on other grids.
    """
    first = experiments[0]
    spaces = [one["about"].get("space", "resampled") for one in experiments]
    if len(set(spaces)) > 1:
        told = ", ".join(f"{one['name']}: {space}"
                         for one, space in zip(experiments, spaces, strict=True))
        raise ValueError(f"scored on different grids ({told}); evaluate all in the same way.")
    metrics = [key for key in first["rows"][0] if key.startswith(("dice", "hd95", "msd", "assd"))]
    comparisons = []
    for other in experiments[1:]:
        metrics = [m for m in metrics if m in shared_metrics(first["rows"], other["rows"])]
        comparisons.append({"a": first["name"], "b": other["name"],
                            "results": compare(first["rows"], other["rows"]),
                            "verdicts": _verdicts(first["rows"], other["rows"], metrics)})
    return _finite({
        "metrics": metrics, "class_names": first["class_names"], "comparisons": comparisons,
        "experiments": [{
            "name": one["name"], "about": one["about"],
            "headline": headline(one["rows"], metrics),
            "rows": [{key: row.get(key) for key in ("case_id", "class_name", "empty", "fold",
                                                    *metrics) if key in row}
                     for row in one["rows"]],
            "runs": one["runs"]} for one in experiments]})


def _verdicts(rows_a: Rows, rows_b: Rows, metrics: Sequence[str]) -> list[Row]:
    """What B shows against A, per metric; the folds of two cross-validations are pairs of runs."""
    folds_a, folds_b = _by_fold(rows_a), _by_fold(rows_b)
    same_folds = {fold: _case_ids(rows) for fold, rows in folds_a.items()} == {
        fold: _case_ids(rows) for fold, rows in folds_b.items()}
    pairs = {(1, 0): (rows_a, rows_b)}
    if same_folds:
        pairs = {(fold, 0): (rows, folds_b[fold]) for fold, rows in folds_a.items()}
    lines = compare_runs(pairs, metrics)
    judge(lines)
    return [{key: line[key] for key in ("metric", "mean_difference", "runs", "run_low",
                                        "run_high", "verdict")} for line in lines]


def _by_fold(rows: Rows) -> dict[int, list[Mapping[str, Any]]]:
    found: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row.get("fold", 1), []).append(row)
    return found


def _case_ids(rows: Rows) -> set[str]:
    return {row["case_id"] for row in rows}


def shown_views(experiments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The cases of the viewer: the first experiment's volumes, with every one's prediction.

    A prediction of another grid is left out. The volumes of several folds are thinned again, to
    what those of one run may have.
    """
    others = [{view.case_id: view for view in one["views"]} for one in experiments]
    most = MAX_VOXELS // max(len(others[0]), 1)
    shown = []
    for case_id, view in others[0].items():
        same = [(one["name"], found[case_id]) for one, found in zip(experiments, others,
                                                                    strict=True)
                if case_id in found and _same_grid(found[case_id], view)]
        steps = thinning(view.image.shape, view.spacing_mm, most)
        volumes = [volume[tuple(slice(None, None, step) for step in steps)] for volume in (
            view.image, view.label, *(one.prediction for _, one in same))]
        spacing = [mm * step for mm, step in zip(view.spacing_mm, steps, strict=True)]
        shown.append({"case_id": case_id, "shape": list(volumes[0].shape), "spacing_mm": spacing,
                      "of": [name for name, _ in same], "volumes": volumes})
    return shown


def _same_grid(one: CaseView, other: CaseView) -> bool:
    return one.image.shape == other.image.shape and one.spacing_mm == other.spacing_mm


def _finite(value: Any) -> Any:
    """JSON has no NaN: null in its place."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, (list, tuple)) else value
