"""A study in numbers: a line per arm, and per comparison with the baseline.

An arm is (dataset, network, method). Differences are of the same case, method - baseline; a
positive one of Dice and a negative one of a distance are gains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metrics.repeats import Rows, case_means, compare_runs, judge, mean_over_runs
from metrics.statistics import sample_deviation

METRICS = ("dice", "hd95_mm", "msd_mm")

Row = dict[str, Any]
Arm = tuple[str, str, str]                  # dataset, network, method
Runs = Mapping[tuple[int, int], Rows]       # by (fold, seed), the rows of the run's cases
Pairs = dict[tuple[int, int], tuple[Rows, Rows]]    # by (fold, seed), of the baseline and the arm


def arm_lines(arms: Mapping[Arm, Runs]) -> list[Row]:
    """A line per arm: of each metric its mean, and how far runs and cases lie apart.

    "METRIC_mean" is the mean over the runs (folds and seeds) of the run's mean over its cases,
    "METRIC_std" the sample standard deviation between the runs (None for a single one),
    "METRIC_case_std" and "METRIC_case_median" those of the cases, each the mean over its classes
    and runs.
    """
    lines = []
    for (dataset, network, method), runs in arms.items():
        line: Row = {"dataset": dataset, "network": network, "method": method, "runs": len(runs),
                     "seeds": len({seed for _, seed in runs}),
                     "folds": len({fold for fold, _ in runs})}
        pooled = mean_over_runs(runs)
        for metric in METRICS:
            means = [float(np.nanmean(case_means(rows, metric))) for rows in runs.values()]
            cases = case_means(pooled, metric)
            line |= {"cases": cases.size, f"{metric}_mean": float(np.mean(means)),
                     f"{metric}_std": sample_deviation(means),
                     f"{metric}_case_std": sample_deviation(cases[~np.isnan(cases)]),
                     f"{metric}_case_median": float(np.nanmedian(cases))}
        lines.append(line)
    return lines


def paired_runs(arms: Mapping[Arm, Runs], baseline: str) -> dict[Arm, Pairs]:
    """Per arm except the baseline's, the pairs of runs with the baseline's fold and seed.

    Arms without a pair are left out.

    Args:
        baseline: name of a method.
    """
    found = {}
    for arm, runs in arms.items():
        dataset, network, method = arm
        others = arms.get((dataset, network, baseline), {})
        pairs = {key: (others[key], runs[key]) for key in sorted(runs) if key in others}
        if method != baseline and pairs:
            found[arm] = pairs
    return found


def gain_lines(arms: Mapping[Arm, Runs], baseline: str) -> list[Row]:
    """A line per metric and arm but the baseline's: the paired comparison with the baseline.

    The keys of `metrics.compare` ("mean_a" the baseline's) and of `metrics.repeats.over_runs`;
    the corrected p and "verdict" of `metrics.repeats.judge`, over all lines of a metric. "runs"
    counts the pairs of runs, "seeds" their seeds.
    """
    lines = []
    for (dataset, network, method), pairs in paired_runs(arms, baseline).items():
        about = {"dataset": dataset, "network": network, "method": method, "baseline": baseline,
                 "seeds": len({seed for _, seed in pairs})}
        lines += [about | line for line in compare_runs(pairs, METRICS)]
    lines.sort(key=lambda line: METRICS.index(line["metric"]))  # stable: arms stay in order
    judge(lines)
    return lines


def average_gain(gains: Sequence[Mapping[str, Any]], method: str, metric: str) -> Row | None:
    """The mean difference of a method, averaged over datasets and networks as the papers do.

    Returns:
        "mean", "lowest", "highest", "n" (datasets x networks); None where there is no comparison.
    """
    values = [line["mean_difference"] for line in gains
              if (line["method"], line["metric"]) == (method, metric)
              and line["mean_difference"] is not None]
    if not values:
        return None
    return {"mean": float(np.mean(values)), "lowest": min(values), "highest": max(values),
            "n": len(values)}
