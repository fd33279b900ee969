"""One experiment several times over: seeds and folds together, and what a family of tests shows.

A case that several seeds scored stays one case, whose values are the means over the seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .comparison import OVERALL, compare, higher_is_better, holm, paired_values

Row = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]

LEVEL = 0.05  # of p Holm
BETTER, WORSE, NOT_SHOWN = "better", "worse", "no difference shown"


def mean_over_seeds(tables: Sequence[Rows]) -> list[Row]:
    """Per case and class the mean of each metric over the seeds; a case stays one case.

    Args:
        tables: of each seed the rows of case_metrics with "case_id", the same cases in all.

    Raises:
        ValueError: the seeds do not have the same cases and classes.
    """
    ranked = [sorted(rows, key=lambda row: (row["case_id"], row["class"])) for rows in tables]
    who = [[(row["case_id"], row["class"]) for row in rows] for rows in ranked]
    if any(one != who[0] for one in who):
        raise ValueError("the seeds of an arm were not tested on the same cases and classes")
    return [{name: rows[0][name] for name in ("case_id", "class", "class_name")}
            | {name: float(np.mean([row[name] for row in rows]))
               for name in rows[0] if isinstance(rows[0][name], float)}
            for rows in zip(*ranked, strict=True)]


def mean_over_runs(runs: Mapping[tuple[int, int], Rows]) -> list[Row]:
    """The cases of all folds, each with its means over the runs that scored it.

    Args:
        runs: by (fold, seed), the rows of the run's cases.

    Raises:
        ValueError: the seeds of a fold do not have the same cases and classes.
    """
    found: dict[tuple[str, str], list[Row]] = {}
    for fold in sorted({fold for fold, _ in runs}):
        for row in mean_over_seeds([runs[key] for key in sorted(runs) if key[0] == fold]):
            found.setdefault((row["case_id"], row["class_name"]), []).append(row)
    return [mean_over_seeds([[row] for row in rows])[0] for rows in found.values()]


def case_means(rows: Rows, metric: str) -> np.ndarray:
    """Of each case the mean of a metric over its classes, (N,); NaN where it has none."""
    return paired_values(rows, rows, metric).a[:, 0]


def overall_comparisons(a: Rows, b: Rows, metrics: Sequence[str]) -> list[Row]:
    """The "overall" results of `compare`, B with the baseline A, in the order of `metrics`.

    Raises:
        ValueError: see `compare`.
    """
    found = {one["metric"]: one for one in compare(a, b) if one["class_name"] == OVERALL}
    return [{name: value for name, value in found[metric].items() if name != "class_name"}
            for metric in metrics if metric in found]


def judge(lines: Iterable[Row]) -> None:
    """Correct a family of tests for each other, and say what each shows; changes the lines.

    "p_holm" corrects the p of Wilcoxon's test over all lines of a metric. "verdict" is "better" or
    "worse" where p_holm is below LEVEL and the interval leaves out zero, else "no difference
    shown".

    Args:
        lines: with "metric", "p", "ci_low", "ci_high" and "mean_difference".
    """
    families: dict[str, list[Row]] = {}
    for line in lines:
        families.setdefault(line["metric"], []).append(line)
    for family in families.values():
        for line, p in zip(family, holm([line["p"] for line in family]), strict=True):
            line["p_holm"] = p
            line["verdict"] = _verdict(line)


def _verdict(line: Row) -> str:
    sure = (line["p_holm"] is not None and line["p_holm"] < LEVEL and line["ci_low"] is not None
            and not line["ci_low"] <= 0 <= line["ci_high"])
    if not sure:
        return NOT_SHOWN
    rose = line["mean_difference"] > 0
    return BETTER if rose == higher_is_better(line["metric"]) else WORSE
