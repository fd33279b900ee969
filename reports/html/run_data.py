"""All that report.html shows, computed from what `experiments` has read."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metrics import (
    METRICS_MM,
    METRICS_VOXELS,
    bootstrap_interval,
    compare,
    higher_is_better,
    shared_metrics,
)
from metrics.repeats import Rows, compare_runs, judge

from ..tables import metric_digits, metric_title
from ..volumes import volume_agreement
from .facts import result_of_one, result_of_two, training_facts
from .views import MAX_VOXELS, CaseView, thinning

Row = dict[str, Any]


def headline(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """Mean over cases of each case's mean over classes, with its 95 % bootstrap interval."""
    found = []
    for metric in metrics:
        means = np.array(list(means_of_cases(rows, metric).values()))
        low, high = bootstrap_interval(means)
        mean = None
        if means.size:
            mean = float(means.mean())
        found.append({"metric": metric, "mean": mean, "low": low, "high": high,
                      "n": int(means.size)})
    return found


def means_of_cases(rows: Sequence[Mapping[str, Any]], metric: str) -> dict[str, float]:
    """By case, the mean of a metric over the classes that have it; without cases that have none."""
    per_case: dict[str, list[float]] = {}
    for row in rows:
        if not math.isnan(row[metric]):
            per_case.setdefault(row["case_id"], []).append(row[metric])
    return {case_id: float(np.mean(values)) for case_id, values in per_case.items()}


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
    metrics = [key for key in first["rows"][0] if key in (*METRICS_MM, *METRICS_VOXELS)]
    metric_info = {metric: _metric_info(metric) for metric in metrics}
    comparisons, results = [], []
    for other in experiments[1:]:
        metrics = [m for m in metrics if m in shared_metrics(first["rows"], other["rows"])]
        verdicts = _verdicts(first["rows"], other["rows"], metrics)
        comparisons.append({"a": first["name"], "b": other["name"],
                            "results": compare(first["rows"], other["rows"]),
                            "verdicts": verdicts})
        results.append(result_of_two(first["name"], other["name"], verdicts[0]))
    if not comparisons:
        dice = means_of_cases(first["rows"], metrics[0])
        results.append(result_of_one(headline(first["rows"], metrics)[0], dice,
                                     first["about"].get("group", "")))
    return _finite({
        "metrics": metrics, "metric_info": metric_info,
        "class_names": first["class_names"], "results": results, "comparisons": comparisons,
        "experiments": [_shown_experiment(one, metrics) for one in experiments]})


def _metric_info(metric: str) -> Row:
    return {"title": metric_title(metric), "digits": metric_digits(metric),
            "rises": higher_is_better(metric)}


def _shown_experiment(one: Mapping[str, Any], metrics: Sequence[str]) -> Row:
    wanted = ("case_id", "class_name", "empty", "fold", *metrics)
    rows = [{key: row[key] for key in wanted if key in row} for row in one["rows"]]
    return {"name": one["name"], "about": one["about"],
            "facts": training_facts(list(one["runs"].values())),
            "headline": headline(one["rows"], metrics), "rows": rows, "runs": one["runs"],
            "volumes": one["volumes"], "agreement": volume_agreement(one["volumes"])}


def _verdicts(rows_a: Rows, rows_b: Rows, metrics: Sequence[str]) -> list[Row]:
    """What B shows against A, per metric; the folds of two cross-validations are pairs of runs."""
    folds_a, folds_b = _by_fold(rows_a), _by_fold(rows_b)
    pairs = {(1, 0): (rows_a, rows_b)}
    if _cases_by_fold(folds_a) == _cases_by_fold(folds_b):
        pairs = {(fold, 0): (rows, folds_b[fold]) for fold, rows in folds_a.items()}
    lines = compare_runs(pairs, metrics)
    judge(lines)
    shown = ("metric", "mean_difference", "ci_low", "ci_high", "runs", "run_low", "run_high",
             "verdict")
    return [{key: line[key] for key in shown} for line in lines]


def _by_fold(rows: Rows) -> dict[int, list[Mapping[str, Any]]]:
    found: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row.get("fold", 1), []).append(row)
    return found


def _cases_by_fold(folds: Mapping[int, Rows]) -> dict[int, set[str]]:
    return {fold: {row["case_id"] for row in rows} for fold, rows in folds.items()}


def shown_views(experiments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The cases of the viewer: the first experiment's volumes, with every one's prediction.

    A prediction of another grid is left out. The volumes of several folds are thinned again, to
    what those of one run may have.
    """
    others = [{view.case_id: view for view in one["views"]} for one in experiments]
    most = MAX_VOXELS // max(len(others[0]), 1)
    shown = []
    for case_id, view in others[0].items():
        names, volumes = [], [view.image, view.label]
        for one, found in zip(experiments, others, strict=True):
            if case_id in found and _same_grid(found[case_id], view):
                names.append(one["name"])
                volumes.append(found[case_id].prediction)
        steps = thinning(view.image.shape, view.spacing_mm, most)
        thin = tuple(slice(None, None, step) for step in steps)
        volumes = [volume[thin] for volume in volumes]
        spacing = [mm * step for mm, step in zip(view.spacing_mm, steps, strict=True)]
        shown.append({"case_id": case_id, "shape": list(volumes[0].shape), "spacing_mm": spacing,
                      "of": names, "volumes": volumes})
    return shown


def _same_grid(one: CaseView, other: CaseView) -> bool:
    return one.image.shape == other.image.shape and one.spacing_mm == other.spacing_mm


def _finite(value: Any) -> Any:
    """JSON has no NaN: null in its place."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return value
