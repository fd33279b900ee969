"""An experiment repeated over seeds and folds, and the verdicts of a family of tests.

A case that several seeds scored stays one case, whose values are the means over the seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .case import with_shared_columns
from .comparison import OVERALL, compare, higher_is_better, holm, paired_values
from .run_statistics import (
    MIN_RUNS,
    bootstrap_runs_and_cases,
    equivalence_p,
    most_influential_case,
    shared_by_folds,
    t_interval,
    t_test_p,
)

Row = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]

LEVEL = 0.05  # of every p, after Holm's correction
BETTER, WORSE, EQUIVALENT, NOT_SHOWN = "better", "worse", "level", "no difference shown"
TOO_FEW_RUNS = f"fewer than {MIN_RUNS} paired runs"
VERDICTS = (BETTER, WORSE, EQUIVALENT, NOT_SHOWN, TOO_FEW_RUNS)
MARGINS = {"dice": 0.003}
"""Differences up to this are called level, by metric; metrics without a margin never are."""


def mean_over_seeds(tables: Sequence[Rows]) -> list[Row]:
    """Per case and class the mean of each metric over the seeds; a case stays one case.

    Args:
        tables: of each seed the rows of case_metrics with "case_id", the same cases in all.

    Raises:
        ValueError: the seeds do not have the same cases and classes.
    """
    ranked = [sorted(rows, key=_case_and_class) for rows in tables]
    expected = list(map(_case_and_class, ranked[0]))
    if any(list(map(_case_and_class, rows)) != expected for rows in ranked):
        raise ValueError("the seeds of an arm were not tested on the same cases and classes")
    return [_mean_row(rows) for rows in zip(*ranked, strict=True)]


def _case_and_class(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["case_id"], row["class"]


def _mean_row(rows: Rows) -> Row:
    """Several scores of one case and class as one row, with the mean of each metric."""
    rows = with_shared_columns(rows)
    mean = {name: rows[0][name] for name in ("case_id", "class", "class_name")}
    for name, value in rows[0].items():
        if isinstance(value, float):
            mean[name] = float(np.mean([row[name] for row in rows]))
    return mean


def mean_over_runs(runs: Mapping[tuple[int, int], Rows]) -> list[Row]:
    """The cases of all folds, each with its means over the runs that scored it.

    Args:
        runs: by (fold, seed), the rows of the run's cases.

    Raises:
        ValueError: the seeds of a fold do not have the same cases and classes.
    """
    found: dict[tuple[str, int], list[Row]] = {}
    for fold in sorted({fold for fold, _ in runs}):
        for row in mean_over_seeds([runs[key] for key in sorted(runs) if key[0] == fold]):
            found.setdefault(_case_and_class(row), []).append(row)
    return with_shared_columns([_mean_row(rows) for rows in found.values()])


def case_means(rows: Rows, metric: str) -> np.ndarray:
    """Of each case the mean of a metric over its classes, (N,); NaN where it has none."""
    return paired_values(rows, rows, metric).a[:, 0]


def overall_comparisons(a: Rows, b: Rows, metrics: Sequence[str]) -> list[Row]:
    """The "overall" results of `compare`, B with the baseline A, in the order of `metrics`.

    Raises:
        ValueError: see `compare`.
    """
    found = {}
    for result in compare(a, b):
        if result.pop("class_name") == OVERALL:
            found[result["metric"]] = result
    return [found[metric] for metric in metrics if metric in found]


def over_runs(pairs: Mapping[Any, tuple[Rows, Rows]], metric: str) -> Row:
    """What pairs of runs show of a metric, B - A, with a run as the unit.

    Args:
        pairs: by run, such as (fold, seed), the rows of the baseline A and of B.

    Returns:
        "runs"; "run_mean", the mean over pairs of the mean difference over cases; "run_low" and
        "run_high", its 95 % t interval, and "p_run", of the t test, which both allow for the
        training cases that folds share; "both_low" and "both_high", the 95 % bootstrap interval
        over runs and cases; "gain_low" and "gain_high", the extremes of the pairs; "p_level", of
        the test of equivalence, None for a metric without a margin; "influential_case" and
        "mean_without", of the cases' means over runs. Numbers that do not exist are None.

    Raises:
        ValueError: see `metrics.paired_values`.
    """
    by_cases: dict[tuple[str, ...], list[np.ndarray]] = {}
    run_means = []
    cases_of_runs = []
    for rows_a, rows_b in pairs.values():
        paired = paired_values(rows_a, rows_b, metric)
        differences = paired.differences[:, 0]
        order = np.argsort(paired.case_ids)
        by_cases.setdefault(tuple(sorted(paired.case_ids)), []).append(differences[order])
        run_means.append(float(np.nanmean(differences)))
        cases_of_runs.append(paired.case_ids)
    case_ids, differences = _means_of_cases(by_cases)
    index, without = most_influential_case(differences)
    influential_case = p_level = None
    shared = shared_by_folds(cases_of_runs)
    if index is not None:
        influential_case = case_ids[index]
    if metric in MARGINS:
        p_level = equivalence_p(run_means, MARGINS[metric], shared)
    low, high = t_interval(run_means, test_to_train=shared)
    both_low, both_high = bootstrap_runs_and_cases(
        [np.stack(group) for group in by_cases.values()])
    return {"runs": len(run_means), "run_mean": float(np.mean(run_means)),
            "run_low": low, "run_high": high, "p_run": t_test_p(run_means, shared),
            "both_low": both_low, "both_high": both_high,
            "gain_low": min(run_means), "gain_high": max(run_means), "p_level": p_level,
            "influential_case": influential_case, "mean_without": without}


def compare_runs(pairs: Mapping[Any, tuple[Rows, Rows]], metrics: Sequence[str]) -> list[Row]:
    """A line per metric: `overall_comparisons` of the cases beside `over_runs`; not judged yet.

    Args:
        pairs: by (fold, seed), the rows of the baseline A and of B.

    Raises:
        ValueError: see `mean_over_runs` and `compare`.
    """
    baseline = mean_over_runs({run: a for run, (a, _) in pairs.items()})
    other = mean_over_runs({run: b for run, (_, b) in pairs.items()})
    return [line | over_runs(pairs, line["metric"])
            for line in overall_comparisons(baseline, other, metrics)]


def _means_of_cases(by_cases: Mapping[tuple[str, ...], Sequence[np.ndarray]],
                    ) -> tuple[list[str], np.ndarray]:
    """Each case once, and its mean difference over the runs that scored it, (N,)."""
    found: dict[str, list[float]] = {}
    for case_ids, runs in by_cases.items():
        for differences in runs:
            for case_id, value in zip(case_ids, differences, strict=True):
                found.setdefault(case_id, []).append(value)
    return list(found), np.array([np.mean(values) for values in found.values()])


def judge(lines: Iterable[Row]) -> None:
    """Add "p_holm", "p_run_holm", "p_level_holm" and "verdict" to the lines of a family of tests.

    Each test's p is corrected over all lines of a metric: Wilcoxon's over cases, the t test over
    runs and the test of equivalence. "verdict" is

    - "fewer than 3 paired runs", whatever the cases say: a run is the unit of a verdict;
    - "better" or "worse" where p_holm and p_run_holm are below LEVEL and zero lies outside the
      interval over cases;
    - "level" where p_level_holm is below LEVEL;
    - "no difference shown" otherwise.

    Args:
        lines: of `overall_comparisons` and `over_runs` together: "metric", "p", "ci_low",
            "ci_high", "mean_difference", "runs", "p_run", "p_level".
    """
    families: dict[str, list[Row]] = {}
    for line in lines:
        families.setdefault(line["metric"], []).append(line)
    for family in families.values():
        for name in ("p", "p_run", "p_level"):
            for line, p in zip(family, holm([line[name] for line in family]), strict=True):
                line[f"{name}_holm"] = p
        for line in family:
            line["verdict"] = _verdict(line)


def _verdict(line: Row) -> str:
    if line["runs"] < MIN_RUNS:
        return TOO_FEW_RUNS
    if (_is_significant(line["p_holm"]) and _is_significant(line["p_run_holm"])
            and _leaves_out_zero(line["ci_low"], line["ci_high"])):
        rose = line["mean_difference"] > 0
        if rose == higher_is_better(line["metric"]):
            return BETTER
        return WORSE
    if _is_significant(line["p_level_holm"]):
        return EQUIVALENT
    return NOT_SHOWN


def _is_significant(p: float | None) -> bool:
    return p is not None and p < LEVEL


def _leaves_out_zero(low: float | None, high: float | None) -> bool:
    return low is not None and not low <= 0 <= high
