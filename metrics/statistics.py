"""Mean and spread of the metrics over cases and classes, as plain JSON-able values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .case import METRICS_MM, METRICS_VOXELS, check_class_names, metrics_in


def summarise(rows: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> dict[str, Any]:
    """Summarise the rows of `case_metrics` over cases, each row with its "case_id" added.

    "std" is the sample standard deviation (ddof=1). NaN values are left out and "n" counts the
    values that remain; "mean" and "median" are None when none does, "std" when fewer than two do.
    "metrics" pools every case and foreground class; "mean_foreground_dice" is the mean of the
    per-class mean Dice over the classes that have one, so each class weighs the same however many
    cases lack it.
    Differs from the authors' code: there one case without one class makes the mean Dice NaN.

    Args:
        rows: one per case and foreground class.
        class_names: name of each class, background first.

    Returns:
        "num_cases"; "metrics": {metric: {"mean", "std", "median", "n"}}; "per_class": {class_name:
        the same}; "mean_foreground_dice"; "num_empty": {"both", "prediction", "label"}: number of
        rows;
        "empty_cases": {"case_id", "class_name", "empty"} of each row with exactly one mask empty.

    Raises:
        ValueError: no rows, repeated rows, unknown classes, mixed mm and voxels, infinite values.
    """
    check_class_names(class_names)
    names = _check_rows(rows, class_names)
    per_class, class_dice = {}, []
    for class_name in class_names[1:]:
        of_class = _per_metric([row for row in rows if row["class_name"] == class_name], names)
        per_class[class_name] = of_class
        if of_class["dice"]["n"] > 0:
            class_dice.append(of_class["dice"]["mean"])
    num_empty = {"both": 0, "prediction": 0, "label": 0}
    empty_cases = []
    for row in rows:
        if row["empty"] in num_empty:
            num_empty[row["empty"]] += 1
        if row["empty"] in ("prediction", "label"):
            empty_cases.append({key: row[key] for key in ("case_id", "class_name", "empty")})
    return {
        "num_cases": len({row["case_id"] for row in rows}),
        "metrics": _per_metric(rows, names),
        "per_class": per_class,
        "mean_foreground_dice": _moments(class_dice)["mean"],
        "num_empty": num_empty,
        "empty_cases": empty_cases,
    }


def _per_metric(rows: Sequence[Mapping[str, Any]],
                names: Sequence[str]) -> dict[str, dict[str, float | int | None]]:
    return {name: _moments([float(row[name]) for row in rows]) for name in names}


def _moments(values: Sequence[float]) -> dict[str, float | int | None]:
    finite = [value for value in values if not math.isnan(value)]
    if not finite:
        return {"mean": None, "std": None, "median": None, "n": 0}
    return {"mean": float(np.mean(finite)), "std": sample_deviation(finite),
            "median": float(np.median(finite)), "n": len(finite)}


def sample_deviation(values: Sequence[float]) -> float | None:
    """Standard deviation with ddof=1; None for fewer than two values."""
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=1))


def _check_rows(rows: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> tuple[str, ...]:
    """The metric names that all rows share."""
    if not rows:
        raise ValueError("no rows to summarise: evaluate at least one case")
    names = metrics_in(rows[0])
    if not names:
        raise ValueError(f"rows must have the metrics {METRICS_MM} or {METRICS_VOXELS}, got "
                         f"{sorted(rows[0])}: use the rows of case_metrics")
    seen = set()
    for row in rows:
        who = f"case {row.get('case_id')!r}, class {row.get('class_name')!r}"
        missing = sorted({"case_id", "class_name", "empty", *names} - set(row))
        if missing:
            raise ValueError(f"{who}: missing {missing}; add case_id, do not mix mm and voxel rows")
        if row["class_name"] not in class_names[1:]:
            raise ValueError(f"{who}: not a foreground class, expected one of {class_names[1:]}")
        if (row["case_id"], row["class_name"]) in seen:
            raise ValueError(f"{who}: more than one row, give every case its own case_id")
        seen.add((row["case_id"], row["class_name"]))
        infinite = [name for name in names if math.isinf(float(row[name]))]
        if infinite:
            raise ValueError(f"{who}: infinite {infinite}; evaluate it again with case_metrics")
    return names
